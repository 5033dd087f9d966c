"""The options of reading, checking, splitting and balancing data: the table `[data]`."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from finetext.options import LibraryOnly

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
    """Name of the column with the texts; found by its name (text, message, body, …) if not given."""
    label_column: str | None = None
    """Name of the column with the labels; found by its name (label, class, category, …) if not given."""
    split_column: str | None = None
    """Name of a column that says train, validation or test for each row."""
    format: Literal["auto", "csv", "tsv", "two-column", "jsonl", "parquet"] = "auto"
    """How the file is written; `auto` looks at its name and content. Each may also be gzipped."""
    encoding: str = "utf-8"
    """Character encoding of text files."""
    quoting: Literal["auto", "csv", "none"] = "auto"
    """Whether quotation marks enclose fields (`csv`) or are plain characters (`none`)."""
    task: Literal["auto", "single-label", "multi-label"] = "auto"
    """One label a text, or several joined by `|`; `auto` is multi-label if any label holds a `|`."""
    label_map: dict[str, str] = field(default_factory=dict)
    """Rename or merge labels as they are read, such as `--label-map.INFJ introvert`."""
    validation: float = 0.1
    """Share of the examples that goes into the validation split."""
    test: float = 0.2
    """Share of the examples that goes into the test split."""
    limit: float | None = None
    """Take only this many examples, stratified by label; below 1 it is a share."""
    balance: Literal["none", "undersample", "oversample", "weights"] = "none"
    """Against imbalance: drop to the smallest class, repeat up to the largest, or weigh the loss."""
    balance_scope: Literal["train", "all"] = "train"
    """What undersampling applies to: the training split alone, or the whole set before it is split."""
    class_weights: dict[str, float] = field(default_factory=dict)
    """Weight of each class with `--balance weights`, such as `--class-weights.spam 3`; else inverse frequency."""
