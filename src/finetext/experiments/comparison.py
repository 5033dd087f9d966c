"""`compare()`: finished runs side by side, with paired differences on their common test texts."""

import dataclasses
import json
import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from finetext import files
from finetext.errors import DataError, RunError, UsageError
from finetext.evaluation import (
    PairedDifference,
    Probs,
    Targets,
    compute_metrics,
    decision_metrics,
    encode_targets,
    mcnemar,
    paired_differences,
    verdict,
    wilson_interval,
)
from finetext.reporting import render
from finetext.runs import RunFolder

SCHEMA_VERSION = 1
_PREFIX = "prob_"


@dataclass(frozen=True)
class Entrant:
    """A run as it stands in a comparison.

    Attributes:
        name: Its folder, as it was named.
        model: Its backbone; None where the folder does not say.
        trainable: What was trained.
        accuracy: On the test texts.
        accuracy_low: Lower end of its 95 % Wilson interval.
        accuracy_high: Upper end.
        macro_f1: Mean F1 of the classes.
        mcc: Matthews correlation coefficient.
        log_loss: Mean negative log-likelihood in nats.
        parameters: Numbers in the saved model.
        train_seconds: Time of the training, the frozen layers included.
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
class Against:
    """A run beside the one that it is compared with.

    Attributes:
        name: The run.
        differences: By figure: how much higher it is, with the paired bootstrap's interval.
        mcnemar_p_value: Two-sided exact p-value that both err alike.
        verdict: `better`, `worse` or `no difference shown`, by that test at the 5 % level.
    """

    name: str
    differences: dict[str, PairedDifference]
    mcnemar_p_value: float
    verdict: str


@dataclass(frozen=True)
class Comparison:
    """Runs side by side.

    Attributes:
        texts: How many test texts they share.
        task: binary, multi-class or multi-label.
        class_names: The classes.
        reference: Name of the run that the others are compared with.
        entrants: The runs, as they were named.
        against: Each but the reference, beside it.
    """

    texts: int
    task: str
    class_names: tuple[str, ...]
    reference: str
    entrants: tuple[Entrant, ...]
    against: tuple[Against, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {"schema_version": SCHEMA_VERSION, **dataclasses.asdict(self)}


@dataclass(frozen=True)
class _Read:
    """What `predictions.csv` of a folder holds."""

    path: Path
    keys: list[tuple[str, str]]
    predicted: list[str]
    class_names: tuple[str, ...]
    probs: Probs


def compare(paths: Sequence[str | Path], *, best: bool = False, seed: int = 0) -> Comparison:
    """Put finished runs, or folders with `metrics.json` and `predictions.csv`, side by side.

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
    if len(dict.fromkeys(folder.resolve() for folder in folders)) < max(2, len(folders)):
        raise UsageError("name two or more different run folders to compare.")
    found = [_read(folder) for folder in folders]
    places = [_places(found[0], own) for own in found]
    names, task = found[0].class_names, _task(folders[0], found[0])
    targets = _encode([label for _, label in found[0].keys], names, task)
    predicted = [
        _encode([own.predicted[place] for place in order], names, task)
        for own, order in zip(found, places, strict=True)
    ]
    probs = [
        own.probs[order][:, [own.class_names.index(name) for name in names]]
        for own, order in zip(found, places, strict=True)
    ]
    entrants = [
        _entrant(own.path, targets, guess, chances, names, task)
        for own, guess, chances in zip(found, predicted, probs, strict=True)
    ]
    first = max(range(len(entrants)), key=lambda place: entrants[place].accuracy) if best else 0
    against = [
        _against(entrants[place], targets, predicted[first], predicted[place], len(names), seed)
        for place in range(len(entrants))
        if place != first
    ]
    return Comparison(len(targets), task, names, entrants[first].name, tuple(entrants), tuple(against))


def _read(folder: Path) -> _Read:
    run = RunFolder(folder)
    for path in (run.metrics, run.predictions):
        if not path.is_file():
            raise RunError(f"{folder}: holds no {path.name}. Name the folder of a finished run.")
    try:
        cells = pl.read_csv(run.predictions, infer_schema=False, empty_string_is_null=False, glob=False)
        columns = [name for name in cells.columns if name.startswith(_PREFIX)]
        names = tuple(name.removeprefix(_PREFIX) for name in columns)
        probs = cells.select(pl.col(columns).cast(pl.Float64)).to_numpy()
        keys = list(cells.select("text", "label").iter_rows())
        predicted = cells["predicted"].to_list()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{run.predictions}: is no file of predictions ({error}).") from error
    if not keys or not names:
        raise DataError(f"{run.predictions}: holds no predictions.")
    return _Read(folder, keys, predicted, names, probs)


def _places(first: _Read, other: _Read) -> list[int]:
    """Return where each text of the first run stands in the other."""
    if set(first.class_names) != set(other.class_names):
        raise DataError(
            f"{other.path}: its classes ({', '.join(other.class_names[:10])}) are not those of {first.path} "
            f"({', '.join(first.class_names[:10])})."
        )
    if first.keys == other.keys:
        return list(range(len(first.keys)))
    _refuse_other_texts(first, other)
    places: dict[tuple[str, str], list[int]] = {}
    for place in range(len(other.keys) - 1, -1, -1):
        places.setdefault(other.keys[place], []).append(place)
    return [places[key].pop() for key in first.keys]


def _refuse_other_texts(first: _Read, other: _Read) -> None:
    texts = Counter(text for text, _ in other.keys)
    texts.subtract(text for text, _ in first.keys)
    strange = [text for text, count in texts.items() if count > 0]
    missing = sum(-count for count in texts.values() if count < 0)
    if strange or missing:
        shown = f", such as {strange[0][:60]!r}" if strange else ""
        raise DataError(
            f"{other.path}: was not tested on the texts of {first.path}: {sum(texts[t] for t in strange):,} of its "
            f"{len(other.keys):,} are others{shown}, {missing:,} are missing. "
            "Train with the same data, shares and seed, or evaluate both on one file."
        )
    labels = Counter(other.keys)
    labels.subtract(first.keys)
    differing = [(text, label) for (text, label), count in labels.items() if count > 0]
    if differing:
        raise DataError(
            f"{other.path}: {len(differing):,} test texts have another label than in {first.path}, such as "
            f"{differing[0][0][:60]!r} ({differing[0][1]}). Evaluate both on one file."
        )


def _task(folder: Path, own: _Read) -> str:
    """Return the task that `metrics.json` names, or what the labels tell."""
    try:
        figures: Any = json.loads(RunFolder(folder).metrics.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{RunFolder(folder).metrics}: is no JSON ({error}).") from error
    if isinstance(figures, dict) and "task" in figures:
        return str(figures["task"])
    known = set(own.class_names)
    if any(word not in known for word in [*(label for _, label in own.keys), *own.predicted]):
        return "multi-label"
    return "multi-class" if len(known) > 2 else "binary"


def _encode(labels: Sequence[str], names: Sequence[str], task: str) -> NDArray[np.int64]:
    if task != "multi-label":
        return encode_targets([(label,) for label in labels], names, task)
    return encode_targets([tuple(filter(None, label.split("|"))) for label in labels], names, task)


def _entrant(
    folder: Path, targets: Targets, predicted: Targets, probs: Probs, names: Sequence[str], task: str
) -> Entrant:
    same = predicted == targets
    right = same.all(axis=1) if same.ndim == 2 else same
    low, high = wilson_interval(int(right.sum()), len(right))
    # Of what was predicted, which need not be the likeliest class: a run may decide otherwise.
    figures = decision_metrics(targets, predicted, len(names))
    model, trainable = _options(RunFolder(folder).config)
    return Entrant(
        name=str(folder),
        model=model,
        trainable=trainable,
        accuracy=figures["accuracy"],
        accuracy_low=low,
        accuracy_high=high,
        macro_f1=figures["macro_f1"],
        mcc=figures["mcc"],
        log_loss=compute_metrics(targets, probs, names, task).log_loss,
        parameters=_parameters(RunFolder(folder).model),
        train_seconds=_train_seconds(RunFolder(folder).environment),
    )


def _against(
    entrant: Entrant, targets: Targets, first: Targets, second: Targets, classes: int, seed: int
) -> Against:
    differences = paired_differences(targets, first, second, classes, seed=seed)
    rights = [own == targets if own.ndim == 1 else (own == targets).all(axis=1) for own in (first, second)]
    p_value = mcnemar(*rights)
    return Against(entrant.name, differences, p_value, verdict(p_value, differences["accuracy"].difference))


def _options(path: Path) -> tuple[str | None, str | None]:
    if not path.is_file():
        return None, None
    try:
        model: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8")).get("model", {})
    except ValueError:
        return None, None
    name = model.get("model")
    return Path(name).name if name else None, model.get("trainable")


def _train_seconds(path: Path) -> float | None:
    if not path.is_file():
        return None
    try:
        seconds = json.loads(path.read_text(encoding="utf-8"))["seconds"]
        return float(seconds["training"]) + float(seconds.get("features", 0.0))
    except (ValueError, KeyError, TypeError):
        return None


def _parameters(folder: Path) -> int | None:
    """Count the numbers in a model's safetensors files by their headers."""
    total = 0
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        shapes = [own["shape"] for name, own in header.items() if name != "__metadata__"]
        total += sum(int(np.prod(shape, dtype=np.int64)) for shape in shapes)
    return total or None


def write_page(comparison: Comparison, path: Path) -> None:
    """Write the comparison as one HTML file that needs no other."""
    files.write_text(path, render("comparison.html", comparison=comparison))
