"""Comparisons read the predictions of runs, whatever their texts contain."""

import json

import numpy as np
import pytest

from finetext.evaluation import write_predictions
from finetext.experiments import compare
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
