"""`compare()`: finished runs side by side, with paired differences on their common test texts."""

import dataclasses
import json
import math
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from finetext import files
from finetext.errors import UsageError
from finetext.evaluation import (
    PairedDifference,
    Targets,
    compute_metrics,
    decision_metrics,
    encode_targets,
    mcnemar,
    paired_differences,
    verdict,
    wilson_interval,
)
from finetext.experiments.paired_predictions import PROB, align, class_names, read_task, read_test_predictions
from finetext.reporting import Number, Row, Table, render
from finetext.runs import RunFolder

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class RunSummary:
    """A run within a comparison.

    Attributes:
        name: Its folder, as the user named it.
        model: Its backbone; None if the folder does not say.
        trainable: What was trained.
        accuracy: On the test texts.
        accuracy_low: Lower end of its 95 % Wilson interval.
        accuracy_high: Upper end.
        macro_f1: Mean F1 of the classes.
        mcc: Matthews correlation coefficient.
        log_loss: Mean negative log-likelihood in nats.
        parameters: Number of parameters of the saved model.
        train_seconds: Time of the training, frozen layers included.
    """

    name: str
    model: str | None
    trainable: str | None
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    macro_f1: float
    mcc: float
    log_loss: float
    parameters: int | None
    train_seconds: float | None


@dataclass(frozen=True)
class Difference:
    """How a run differs from the reference.

    Attributes:
        name: The run.
        metrics: By metric: how much higher it is, with the interval of the paired bootstrap.
        mcnemar_p_value: Two-sided exact p-value for equal error rates.
        verdict: `better`, `worse` or `no difference shown`, by that test at the 5 % level.
    """

    name: str
    metrics: dict[str, PairedDifference]
    mcnemar_p_value: float
    verdict: str


@dataclass(frozen=True)
class Comparison:
    """Runs side by side.

    Attributes:
        texts: Number of test texts they share.
        task: binary, multi-class or multi-label.
        class_names: The classes.
        reference: Name of the run that the others are compared with.
        runs: The runs, in the order they were named.
        differences: Each run but the reference, compared with it.
    """

    texts: int
    task: str
    class_names: tuple[str, ...]
    reference: str
    runs: tuple[RunSummary, ...]
    differences: tuple[Difference, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        values = {"schema_version": SCHEMA_VERSION, **dataclasses.asdict(self)}
        values["entrants"], values["against"] = values.pop("runs"), values.pop("differences")
        for difference in values["against"]:
            difference["differences"] = difference.pop("metrics")
        return values

    def tables(self) -> tuple[Table, Table]:
        """Return the metrics of each run, and the differences from the reference, as they are shown."""
        metrics: list[Row] = [
            (
                run.name,
                run.model or "–",
                run.trainable or "–",
                Number(
                    run.accuracy,
                    f"{run.accuracy:.4f}",
                    below=f"{run.accuracy_low:.3f}–{run.accuracy_high:.3f}",
                ),
                *(Number(value, f"{value:.4f}") for value in (run.macro_f1, run.mcc, run.log_loss)),
                Number(run.parameters, f"{run.parameters / 1e6:.1f} M" if run.parameters else "–"),
                Number(run.train_seconds, "–" if run.train_seconds is None else f"{run.train_seconds:.1f} s"),
            )
            for run in self.runs
        ]
        differences: list[Row] = []
        for run in self.differences:
            cells = [
                Number(
                    value.difference,
                    f"{value.difference:+.4f}",
                    below=f"{value.low:+.3f} to {value.high:+.3f}",
                )
                for value in run.metrics.values()
            ]
            p_value = Number(run.mcnemar_p_value, f"{run.mcnemar_p_value:.2g}")
            differences.append((run.name, *cells, p_value, run.verdict))
        columns = (
            "run",
            "model",
            "trained",
            "accuracy (95 %)",
            "macro-F1",
            "MCC",
            "log loss",
            "parameters",
            "training",
        )
        title = f"Differences from {self.reference} (95 %, paired bootstrap; p of McNemar's exact test)"
        reference = [run.name for run in self.runs].index(self.reference)
        return (
            Table(f"The same {self.texts:,} test texts", columns, metrics, marked=[reference]),
            Table(title, ("run", "accuracy", "macro-F1", "MCC", "p", "verdict"), differences),
        )


def compare(paths: Sequence[str | Path], *, best: bool = False, seed: int = 0) -> Comparison:
    """Compare finished runs, or folders with `metrics.json` and `predictions.csv`.

    Args:
        paths: Two or more folders.
        best: Compare with the run of the highest accuracy, not with the first one.
        seed: Of the bootstrap.

    Raises:
        RunError: A folder holds no finished run.
        DataError: They were not tested on the same texts with the same labels.
        UsageError: Fewer than two folders.
    """
    folders = [Path(path) for path in paths]
    if len({folder.resolve() for folder in folders}) < max(2, len(folders)):
        raise UsageError("name two or more different run folders to compare.")
    tables = [read_test_predictions(folder) for folder in folders]
    first = tables[0]
    tables = [align(table, path, first, folders[0]) for table, path in zip(tables, folders, strict=True)]
    names, task = class_names(first), read_task(folders[0], first)
    targets = _encode(first["label"], names, task)
    predicted = [_encode(table["predicted"], names, task) for table in tables]
    right = [_is_right(targets, labels) for labels in predicted]
    runs = []
    for path, table, labels, hits in zip(folders, tables, predicted, right, strict=True):
        probs = table.select(f"{PROB}{name}" for name in names).to_numpy()
        log_loss = compute_metrics(targets, probs, names, task).log_loss
        # From the predicted labels, not the likeliest class: a run may have a threshold.
        decided = decision_metrics(targets, labels, len(names))
        runs.append(_summarise(RunFolder(path), hits, log_loss=log_loss, **decided))
    chosen = max(range(len(runs)), key=lambda index: runs[index].accuracy) if best else 0
    differences = []
    for index, run in enumerate(runs):
        if index != chosen:
            metrics = paired_differences(targets, predicted[chosen], predicted[index], len(names), seed=seed)
            p_value = mcnemar(right[chosen], right[index])
            conclusion = verdict(p_value, metrics["accuracy"].difference)
            differences.append(Difference(run.name, metrics, p_value, conclusion))
    return Comparison(len(targets), task, names, runs[chosen].name, tuple(runs), tuple(differences))


def _encode(cells: pl.Series, names: Sequence[str], task: str) -> NDArray[np.int64]:
    multi = task == "multi-label"
    labels = [tuple(filter(None, cell.split("|"))) if multi else (cell,) for cell in cells]
    return encode_targets(labels, names, task)


def _summarise(folder: RunFolder, right: NDArray[np.bool_], **metrics: float) -> RunSummary:
    low, high = wilson_interval(int(right.sum()), len(right))
    model = _read(folder.config, tomllib.loads).get("model", {})
    seconds = _read(folder.environment, json.loads).get("seconds", {})
    return RunSummary(
        name=str(folder.path),
        model=Path(model["model"]).name if model.get("model") else None,
        trainable=model.get("trainable"),
        accuracy_low=low,
        accuracy_high=high,
        **metrics,
        parameters=_count_parameters(folder.model),
        train_seconds=seconds["training"] + seconds.get("features", 0.0) if "training" in seconds else None,
    )


def _is_right(targets: Targets, predicted: Targets) -> NDArray[np.bool_]:
    equal = predicted == targets
    return np.asarray(equal.all(axis=1) if equal.ndim == 2 else equal)


def _read(path: Path, parse: Callable[[str], Any]) -> dict[str, Any]:
    """Return a file's content; an empty one without such a file, which a comparison does not need."""
    try:
        content = parse(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _count_parameters(folder: Path) -> int | None:
    """Count the parameters of a model by the headers of its safetensors files."""
    from safetensors import safe_open

    total = 0
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "np") as file:
            total += sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())
    return total or None


def write_page(comparison: Comparison, path: Path) -> None:
    """Write the comparison as one self-contained HTML file."""
    metrics, differences = comparison.tables()
    sections = [("metrics", "Metrics", [metrics]), ("differences", "Differences", [differences])]
    files.write_text(path, render("comparison.html", comparison=comparison, sections=sections))
