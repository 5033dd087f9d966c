"""The options of reading, checking, splitting and balancing data: the table `[data]`."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Literal

from finetext.options import Above0, Bounds, LibraryOnly, Share

Task = Literal["binary", "multi-class", "multi-label"]
SplitName = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class DataConfig:
    """Data."""

    source: Annotated[str, LibraryOnly] = ""
    """A file, a folder with train/validation/test files, `hf:owner/name`, or a built-in name."""
    validation_data: str | None = None
    """A file with the validation examples; by default they are split off the training data."""
    test_data: str | None = None
    """A file with the test examples; by default they are split off the training data."""
    text_column: str | None = None
    """Name of the column with the texts; by default recognised by its name (text, message, body, …)."""
    label_column: str | None = None
    """Name of the column with the labels; by default recognised by its name (label, class, category, …)."""
    split_column: str | None = None
    """Name of a column that says train, validation or test for each row."""
    format: Literal["auto", "csv", "tsv", "two-column", "jsonl", "parquet"] = "auto"
    """File format; `auto` looks at the file's name and content. Any of them may be gzipped."""
    encoding: str = "utf-8"
    """Character encoding of text files."""
    quoting: Literal["auto", "csv", "none"] = "auto"
    """Whether quotation marks enclose fields (`csv`) or are plain characters (`none`)."""
    task: Literal["auto", "single-label", "multi-label"] = "auto"
    """One label per text, or several joined by `|`; `auto` is multi-label if any label contains a `|`."""
    label_map: dict[str, str] = field(default_factory=dict)
    """Rename or merge labels as they are read, such as `--label-map.INFJ introvert`."""
    validation: Annotated[float, Share] = 0.1
    """Share of the examples in the validation split."""
    test: Annotated[float, Share] = 0.2
    """Share of the examples in the test split."""
    limit: Annotated[float | None, Above0] = None
    """Use only this many examples, stratified by label; below 1 it is a share."""
    balance: Literal["none", "undersample", "oversample", "weights"] = "none"
    """Against class imbalance: undersample to the smallest class, oversample to the largest, or weight the loss."""
    balance_scope: Literal["train", "all"] = "train"
    """What to undersample: only the training split, or the whole dataset before it is split."""
    class_weights: Annotated[dict[str, float], Bounds(above=0, below=math.inf)] = field(default_factory=dict)
    """Weight of each class with `--balance weights`, such as `--class-weights.spam 3`; else inverse frequency."""

    def problems(self) -> Iterator[str]:
        """Yield contradictions between options."""
        if self.validation + self.test >= 1:
            yield "`validation` and `test` together must leave something to train on (below 1)."
        if self.class_weights and self.balance != "weights":
            yield "`class_weights` needs `balance = weights` (--balance weights)."
