"""The test predictions of finished runs, in the same order of texts."""

import json
from pathlib import Path
from typing import Any

import polars as pl

from finetext.errors import DataError, RunError
from finetext.runs import RunFolder

PROB = "prob_"
"""What the columns of probabilities begin with; the name of the class follows."""


def read_test_predictions(folder: Path) -> pl.DataFrame:
    """Read `predictions.csv` of a finished run: text, label, predicted, and `prob_CLASS` as numbers.

    Raises:
        RunError: The folder holds no finished run.
        DataError: The file cannot be read or is empty.
    """
    run = RunFolder(folder)
    for path in (run.metrics, run.predictions):
        if not path.is_file():
            raise RunError(f"{folder}: holds no {path.name}. Name the folder of a finished run.")
    try:
        cells = pl.read_csv(run.predictions, infer_schema=False, empty_string_is_null=False, glob=False)
        probs = [name for name in cells.columns if name.startswith(PROB)]
        table = cells.select("text", "label", "predicted", pl.col(probs).cast(pl.Float64))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{run.predictions}: is not a file of predictions ({error}).") from error
    if not probs or table.is_empty():
        raise DataError(f"{run.predictions}: holds no predictions.")
    return table


def class_names(table: pl.DataFrame) -> tuple[str, ...]:
    """Return the classes, in the order of their columns."""
    return tuple(name.removeprefix(PROB) for name in table.columns if name.startswith(PROB))


def read_task(folder: Path, table: pl.DataFrame) -> str:
    """Return the task that `metrics.json` names; without one, the task that the labels show."""
    path = RunFolder(folder).metrics
    try:
        metrics: Any = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: is not valid JSON ({error}).") from error
    if isinstance(metrics, dict) and "task" in metrics:
        return str(metrics["task"])
    classes = class_names(table)
    if not {*table["label"], *table["predicted"]} <= set(classes):
        return "multi-label"
    return "multi-class" if len(classes) > 2 else "binary"


def align(table: pl.DataFrame, path: Path, reference: pl.DataFrame, reference_path: Path) -> pl.DataFrame:
    """Return a run's predictions in the order of the reference's texts.

    Args:
        table: Its predictions.
        path: Its folder, for messages.
        reference: The predictions of the reference.
        reference_path: Its folder.

    Raises:
        DataError: It has other classes, other texts, or other labels.
    """
    if set(class_names(table)) != set(class_names(reference)):
        raise DataError(
            f"{path}: its classes ({', '.join(class_names(table)[:10])}) are not those of {reference_path} "
            f"({', '.join(class_names(reference)[:10])})."
        )
    strange = _rows_only_in(table, reference, ["text"])
    missing = len(_rows_only_in(reference, table, ["text"]))
    if len(strange) or missing:
        shown = f", such as {strange['text'][0][:60]!r}" if len(strange) else ""
        raise DataError(
            f"{path}: was not tested on the texts of {reference_path}: {len(strange):,} of its {len(table):,} "
            f"are others{shown}, {missing:,} are missing. "
            "Train with the same data, shares and seed, or evaluate both on one file."
        )
    differing = _rows_only_in(table, reference, ["text", "label"])
    if len(differing):
        raise DataError(
            f"{path}: {len(differing):,} test texts have another label than in {reference_path}, such as "
            f"{differing['text'][0][:60]!r} ({differing['label'][0]}). Evaluate both on one file."
        )
    keys = ["text", "label", "occurrence"]
    order = _with_occurrence(reference, keys[:2]).select(keys)
    return order.join(_with_occurrence(table, keys[:2]), on=keys, how="left", maintain_order="left")


def _with_occurrence(table: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Number the rows of equal keys, so that each row of one table has one partner in another."""
    return table.with_columns(pl.int_range(pl.len()).over(keys).alias("occurrence"))


def _rows_only_in(table: pl.DataFrame, other: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    table, other = _with_occurrence(table, keys), _with_occurrence(other, keys)
    return table.join(other, on=[*keys, "occurrence"], how="anti", maintain_order="left")
