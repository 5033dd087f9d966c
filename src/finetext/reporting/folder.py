"""The files of a run folder or an evaluation's folder, read for the report."""

import json
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from finetext.evaluation import RunMetrics, encode_targets
from finetext.runs import RunFolder

SPLITS = ("train", "validation", "test")

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Predictions:
    """The test texts with their predictions.

    Attributes:
        texts: `N` texts.
        targets: `(N,)` class ids, or `(N, C)` zeros and ones if multi-label.
        predicted: Likewise.
        probs: `(N, C)`.
    """

    texts: list[str]
    targets: Ids
    predicted: Ids
    probs: Floats

    @property
    def multi(self) -> bool:
        """Whether a text can have several labels."""
        return self.targets.ndim == 2

    @property
    def right(self) -> NDArray[np.bool_]:
        """`(N,)`, whether each prediction is right; for multi-label, all its labels."""
        right = self.predicted == self.targets
        return np.asarray(right.all(axis=1) if self.multi else right, dtype=np.bool_)

    @property
    def confidence(self) -> Floats:
        """`(N,)`, the probability of the predicted class; for multi-label of the least certain decision."""
        if self.multi:
            return np.asarray(np.where(self.predicted == 1, self.probs, 1 - self.probs).min(axis=1))
        return np.asarray(self.probs[np.arange(len(self.probs)), self.predicted])

    def one_hot(self) -> Ids:
        """Return the targets as `(N, C)` zeros and ones."""
        return self.targets if self.multi else np.eye(self.probs.shape[1], dtype=np.int64)[self.targets]


@dataclass(frozen=True)
class ReportInputs:
    """Everything a report is made from; what the folder does not contain is None or empty.

    Attributes:
        metrics: The content of `metrics.json`.
        name: The folder's name.
        predictions: Of the test split.
        history: `history.csv` as numbers, a row per step; validation metrics are null between evaluations.
        splits: The columns `text` and `label` of each split, by its name.
        config: The tables of `config.toml`.
        environment: The content of `environment.json`.
        bundle: The content of `model/finetext.json`.
    """

    metrics: RunMetrics
    name: str
    predictions: Predictions | None
    history: pl.DataFrame | None
    splits: Mapping[str, pl.DataFrame]
    config: Mapping[str, Mapping[str, Any]]
    environment: Mapping[str, Any]
    bundle: Mapping[str, Any]

    @property
    def multi(self) -> bool:
        """Whether a text can have several labels."""
        return self.metrics.task == "multi-label"

    @property
    def costs(self) -> Mapping[str, Mapping[str, float]]:
        """Training time and time per 1,000 texts of the classifier and of each baseline, in seconds."""
        return self.environment.get("costs") or {}

    @property
    def sizes(self) -> str:
        """The size of each split, in words."""
        sizes = self.metrics.examples
        return ", ".join(f"{split} {sizes[split]:,}" for split in SPLITS if split in sizes)

    @property
    def data_name(self) -> str:
        """The last part of the data's source; empty if that is not known, as is the model's name."""
        return last_part(self.metrics.source or self.environment.get("data", {}).get("source") or "")

    @property
    def model_name(self) -> str:
        """The last part of the name of the model, or of a run's backbone."""
        return last_part(self.metrics.model or self.environment.get("model", {}).get("name") or "")

    def class_counts(self) -> dict[str, Counter[str]]:
        """Return how many texts of each split have each class."""
        counts = {}
        for name, split in self.splits.items():
            labels = split["label"].str.split("|").explode() if self.multi else split["label"]
            counts[name] = Counter(dict(labels.value_counts().iter_rows()))
        return counts


def last_part(path: str) -> str:
    """Return the file or folder name of a path on any system; a name that is no path as it is."""
    if path.startswith("hf:"):
        return path[3:]
    return path.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1] or path


def read_folder(path: Path, metrics: RunMetrics) -> ReportInputs:
    """Read what a report needs from a run folder or an evaluation's folder.

    Args:
        path: The folder.
        metrics: The content of its `metrics.json`, which may not be written yet.
    """
    folder = RunFolder(path)
    return ReportInputs(
        metrics=metrics,
        name=path.resolve().name,
        predictions=read_predictions(folder.predictions, metrics.class_names, metrics.task)
        if folder.predictions.is_file()
        else None,
        history=_read_csv(folder.history).cast({pl.String: pl.Float64}, strict=False)
        if folder.history.is_file()
        else None,
        splits=read_splits(folder.splits),
        config=tomllib.loads(folder.config.read_text(encoding="utf-8")) if folder.config.is_file() else {},
        environment=_read_json(folder.environment),
        bundle=_read_json(folder.model / "finetext.json"),
    )


def read_predictions(path: Path, class_names: Sequence[str], task: str) -> Predictions:
    """Read `predictions.csv`.

    Args:
        path: The file.
        class_names: The classes in the order of their ids, which is that of its columns.
        task: binary, multi-class or multi-label.
    """
    cells = _read_csv(path)
    columns = cells.columns[3 : 3 + len(class_names)]

    def ids(column: str) -> Ids:
        labels = cells[column].to_list()
        names = [tuple(filter(None, c.split("|"))) if task == "multi-label" else (c,) for c in labels]
        return encode_targets(names, class_names, task)

    return Predictions(
        cells["text"].to_list(),
        ids("label"),
        ids("predicted"),
        cells.select(pl.col(columns).cast(pl.Float64)).to_numpy(),
    )


def read_splits(folder: Path) -> dict[str, pl.DataFrame]:
    """Read the texts and labels of a run's splits, by the split's name."""
    paths = {name: folder / f"{name}.csv" for name in SPLITS}
    return {name: _read_csv(path) for name, path in paths.items() if path.is_file()}


def _read_csv(path: Path) -> pl.DataFrame:
    # As text, and class columns by position: class names can be anything.
    return pl.read_csv(path, infer_schema=False, empty_string_is_null=False, glob=False)


def _read_json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return content
