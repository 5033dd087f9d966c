"""Labelled texts, and where they came from."""

import functools
import hashlib
import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from finetext.data.config import SplitName, Task
from finetext.data.findings import Findings
from finetext.errors import DataError


def fold(text: str) -> str:
    r"""Return the key by which texts count as equal: case folded, white space collapsed, NFC normalised.

    Example:
        >>> fold("  Free\tENTRY ")
        'free entry'
    """
    if text.isascii():
        return " ".join(text.lower().split())
    folded = unicodedata.normalize("NFC", text).casefold()
    return " ".join(unicodedata.normalize("NFC", folded).split())


def order_classes(names: Iterable[str]) -> tuple[str, ...]:
    """Return the distinct class names in id order: by value if all are whole numbers, else sorted."""
    distinct = set(names)
    if all(name.removeprefix("-").isdecimal() and name.isascii() for name in distinct):
        return tuple(sorted(distinct, key=lambda name: (int(name), name)))
    return tuple(sorted(distinct))


def name_task(multi: bool, classes: int) -> Task:
    """Return the task of so many classes, `multi` if a text may have several of them."""
    return "multi-label" if multi else "multi-class" if classes > 2 else "binary"


@dataclass(frozen=True)
class Source:
    """Where examples came from."""

    name: str
    """What the user typed."""
    files: tuple[Path, ...]
    digest: str
    """SHA-256 over the bytes of the files, 64 hexadecimal digits."""
    format: str = ""
    text_column: str = ""
    """Name of the column with the texts; `column 2` where the file has no header."""
    label_column: str = ""
    synthetic: bool = False
    """Whether the texts were written for finetext (the built-in `sample`)."""
    revision: str | None = None
    """Commit of a Hub dataset."""


@dataclass(frozen=True)
class Dataset:
    """Labelled texts, checked and usable."""

    texts: list[str]
    labels: list[tuple[str, ...]]
    """The class names of each text: exactly one, unless the task is multi-label."""
    rows: list[int]
    """Row of each example in its file, counted from 1 as a spreadsheet does (the header is row 1)."""
    class_names: tuple[str, ...]
    """Class names in id order; of two, the positive class is id 1."""
    task: Task
    source: Source
    findings: Findings = field(default_factory=Findings)
    given_splits: list[SplitName] | None = None
    """The split of each example, if the source defines splits."""

    def __len__(self) -> int:
        return len(self.texts)

    @functools.cached_property
    def keys(self) -> list[str]:
        """The folded texts: equal keys are equal texts."""
        return [fold(text) for text in self.texts]

    @functools.cached_property
    def strata(self) -> list[str]:
        """The class by which each example is stratified: its label, or the rarest of several."""
        if self.task != "multi-label":
            return [label for (label,) in self.labels]
        counts = self.count_labels()
        return [min(names, key=lambda name: (counts[name], name), default="") for names in self.labels]

    def subset(self, indices: Sequence[int]) -> "Dataset":
        """Return the examples at `indices`, in that order; an index may occur more than once."""
        return replace(
            self,
            texts=[self.texts[index] for index in indices],
            labels=[self.labels[index] for index in indices],
            rows=[self.rows[index] for index in indices],
            given_splits=None if self.given_splits is None else [self.given_splits[i] for i in indices],
        )

    def count_labels(self) -> dict[str, int]:
        """Return how many examples carry each class, in id order."""
        counts = Counter(name for names in self.labels for name in names)
        return {name: counts[name] for name in self.class_names}


def dataset_from_memory(
    texts: Sequence[str], labels: Sequence[tuple[str, ...]], class_names: Sequence[str], *, multi: bool
) -> Dataset:
    """Return texts and labels in memory as a dataset; rows count from 1.

    Args:
        texts: The texts.
        labels: The class names of each: exactly one, unless `multi`.
        class_names: In the order of their ids; of two, the second is the positive one.
        multi: Whether a text may have any number of labels.

    Raises:
        DataError: There are no texts, or only one class.
    """
    if not texts:
        raise DataError("there are no texts to learn from.")
    if len(class_names) < 2:
        raise DataError("the labels name only one class; at least two are needed to tell texts apart.")
    content = json.dumps([list(texts), [list(names) for names in labels]], ensure_ascii=True)
    digest = hashlib.sha256(content.encode()).hexdigest()
    return Dataset(
        texts=list(texts),
        labels=list(labels),
        rows=list(range(1, len(texts) + 1)),
        class_names=tuple(class_names),
        task=name_task(multi, len(class_names)),
        source=Source("the given texts", (), digest, "memory", "text", "label"),
    )
