"""Comparisons read the predictions of runs, whatever their texts contain."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from finetext.errors import DataError
from finetext.evaluation import write_predictions
from finetext.experiments import compare
from finetext.experiments.paired_predictions import align
from finetext.reporting.folder import read_predictions

TARGETS = np.array([1, 0, 1])
PROBS = np.array([[0.1, 0.9], [0.8, 0.2], [0.6, 0.4]])


@pytest.mark.parametrize(
    "text",
    ["one\rtwo", "at its end\r", "word " * 40_000, 'a "quoted", text\nin two lines', "NA", ""],
    ids=["return", "return at the end", "long", "quoted", "NA", "empty"],
)
def test_texts_survive_the_round_trip_through_the_predictions_file(tmp_path, text):
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
        (folder / "metrics.json").write_text(json.dumps({"task": "binary"}))
        write_predictions(
            folder / "predictions.csv", [text, "tea", "x"], TARGETS, PROBS, ["ham", "spam"], "binary"
        )
    assert read_predictions(folders[0] / "predictions.csv", ["ham", "spam"], "binary").texts[0] == text
    comparison = compare(folders)
    assert comparison.texts == 3 and comparison.runs[0].accuracy == pytest.approx(2 / 3)


def test_damaged_optional_files_are_no_obstacle(tmp_path):
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder, environment in zip(folders, ("{", "[1]"), strict=True):
        folder.mkdir()
        (folder / "metrics.json").write_text(json.dumps({"task": "binary"}))
        (folder / "config.toml").write_text("not TOML")
        (folder / "environment.json").write_text(environment)
        write_predictions(
            folder / "predictions.csv", ["a", "b", "c"], TARGETS, PROBS, ["ham", "spam"], "binary"
        )
    for run in compare(folders).runs:
        assert run.model is None and run.trainable is None and run.train_seconds is None


def test_repeated_texts_are_paired_by_occurrence_in_any_order():
    rows = [
        ("tea", "ham", "ham", 0.9),
        ("tea", "ham", "spam", 0.4),
        ("tea", "spam", "spam", 0.2),
        ("x", "ham", "ham", 1),
    ]
    columns = ["text", "label", "predicted", "prob_ham"]
    table = pl.DataFrame(rows, schema=columns, orient="row")
    other = pl.DataFrame([rows[3], rows[2], *rows[:2]], schema=columns, orient="row")
    aligned = align(other, Path("other"), table, Path("first"))
    assert aligned.select(columns).rows() == rows
    with pytest.raises(DataError, match="1 of its 5 are others, such as 'tea', 0 are missing"):
        align(pl.concat([other, table[:1]]), Path("other"), table, Path("first"))
