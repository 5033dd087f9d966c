"""What a run folder or an evaluation's folder holds, read for the report."""

import json
import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from finetext.evaluation import encode_targets
from finetext.reporting.blocks import Figures
from finetext.runs import RunFolder

SPLITS = ("train", "validation", "test")
EVALUATED = ("validation_loss", "accuracy", "macro_f1", "mcc")

Floats = NDArray[np.float64]
Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Predictions:
    """The test texts with what was predicted for them.

    Attributes:
        texts: `N` texts.
        targets: `(N,)` class ids, or `(N, C)` zeros and ones if multi-label.
        predicted: Likewise.
        probs: `(N, C)`.
        abstained: `(N,)`, whether the classifier gave no label; None if it always does.
    """

    texts: list[str]
    targets: Ids
    predicted: Ids
    probs: Floats
    abstained: NDArray[np.bool_] | None

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
class History:
    """The course of a training.

    Attributes:
        examples: `(S,)`, examples seen after each step.
        loss: `(S,)`, training loss of each step.
        evaluated: `(E,)`, examples seen at each evaluation.
        scores: Figures on validation by name, `(E,)` each.
    """

    examples: Floats
    loss: Floats
    evaluated: Floats
    scores: Mapping[str, Floats]


@dataclass(frozen=True)
class Split:
    """The texts of a split."""

    texts: pl.Series
    labels: pl.Series

    def class_counts(self, multi: bool) -> Counter[str]:
        """Return how many texts carry each class."""
        counted = self.labels.value_counts()
        counts: Counter[str] = Counter()
        for cell, number in zip(counted[self.labels.name], counted["count"], strict=True):
            for name in cell.split("|") if multi else [cell]:
                counts[name] += number
        return counts


@dataclass(frozen=True)
class Material:
    """Everything a report is made from; what the folder does not hold is None or empty.

    Attributes:
        figures: What `metrics.json` holds.
        name: The folder's name.
        predictions: Of the test split.
        history: Of the training.
        splits: By name.
        config: The tables of `config.toml`.
        environment: What `environment.json` holds.
        bundle: What `model/finetext.json` holds.
    """

    figures: Figures
    name: str
    predictions: Predictions | None
    history: History | None
    splits: Mapping[str, Split]
    config: Mapping[str, Mapping[str, Any]]
    environment: Mapping[str, Any]
    bundle: Mapping[str, Any]

    @property
    def task(self) -> str:
        """Binary, multi-class or multi-label."""
        task: str = self.figures["task"]
        return task

    @property
    def class_names(self) -> list[str]:
        """The classes in the order of their ids."""
        names: list[str] = self.figures["class_names"]
        return names

    @property
    def data_name(self) -> str:
        """What the data is called: the last part of where it came from."""
        source = self.figures.get("source") or self.environment.get("data", {}).get("source") or self.name
        return last_part(str(source))

    @property
    def model_name(self) -> str:
        """What the model, or the backbone of a run, is called."""
        name = self.figures.get("model") or self.environment.get("model", {}).get("name") or ""
        return last_part(str(name))


def last_part(path: str) -> str:
    """Return the file or folder name of a path of any system; the name itself if it is none."""
    if path.startswith("hf:"):
        return path[3:]
    return path.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1] or path


def read_folder(path: Path, figures: Figures) -> Material:
    """Read what a report needs from a run folder or an evaluation's folder.

    Args:
        path: The folder.
        figures: What its `metrics.json` holds or will hold.
    """
    folder = RunFolder(path)
    names, task = figures["class_names"], figures["task"]
    return Material(
        figures,
        path.resolve().name,
        read_predictions(folder.predictions, names, task) if folder.predictions.is_file() else None,
        read_history(folder.history) if folder.history.is_file() else None,
        read_split_files(folder.splits),
        tomllib.loads(folder.config.read_text(encoding="utf-8")) if folder.config.is_file() else {},
        _read_json(folder.environment),
        _read_json(folder.model / "finetext.json"),
    )


def read_predictions(path: Path, class_names: list[str], task: str) -> Predictions:
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
        parts = [tuple(filter(None, c.split("|"))) if task == "multi-label" else (c,) for c in labels]
        return encode_targets(parts, class_names, task)

    return Predictions(
        cells["text"].to_list(),
        ids("label"),
        ids("predicted"),
        cells.select(pl.col(columns).cast(pl.Float64)).to_numpy(),
        (cells["abstained"] == "1").to_numpy() if cells.columns[-1] == "abstained" else None,
    )


def read_history(path: Path) -> History | None:
    """Read `history.csv`; None if no step was taken."""
    cells = _read_csv(path)
    if not len(cells):
        return None
    values = cells.cast({pl.String: pl.Float64}, strict=False)
    evaluations = values.filter(pl.col("validation_loss").is_not_null())
    return History(
        values["examples"].to_numpy(),
        values["loss"].to_numpy(),
        evaluations["examples"].to_numpy(),
        {name: evaluations[name].to_numpy() for name in EVALUATED},
    )


def read_split_files(folder: Path) -> dict[str, Split]:
    """Read the texts and labels of a run's splits, by the split's name."""
    found = {}
    for name in SPLITS:
        path = folder / f"{name}.csv"
        if path.is_file():
            cells = _read_csv(path)
            found[name] = Split(cells["text"], cells["label"])
    return found


def _read_csv(path: Path) -> pl.DataFrame:
    # By position and as text: class names are whatever their author chose.
    return pl.read_csv(path, infer_schema=False, empty_string_is_null=False, glob=False)


def _read_json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return content
