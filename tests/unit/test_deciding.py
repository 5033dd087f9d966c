"""Calibration, thresholds and abstention are chosen by a run, saved with its model and applied after loading."""

import json
import shutil

import numpy as np
import polars as pl
import pytest
import torch
from transformers import pipeline

import finetext
from finetext.cli import main
from finetext.errors import UsageError
from finetext.models import load_bundle, predict_logits
from finetext.training import train


@pytest.fixture(scope="module")
def pair(tmp_path_factory, checkpoint, messages):
    """The same run without and with calibration, thresholds and abstention."""
    folder = tmp_path_factory.mktemp("runs")
    options = {
        "model": str(checkpoint("bert")),
        "epochs": 2,
        "trainable": "last-block",
        "head_start": "none",
    }
    plain = train(messages, output=folder / "plain", **options)
    chosen = train(
        messages, output=folder / "chosen", calibrate=True, threshold="f1", abstain_below=0.6, **options
    )
    return plain, chosen


def test_the_temperature_is_folded_into_the_saved_head(pair, messages):
    _, chosen = pair
    texts = pl.read_csv(messages)["text"].to_list()[:10]
    temperature = chosen.metrics.decision.temperature
    before, after = (predict_logits(load_bundle(run.folder.model), texts) for run in pair)
    assert temperature != 1
    np.testing.assert_allclose(after * temperature, before, rtol=1e-4, atol=1e-5)


def test_plain_transformers_gets_the_calibrated_scores(pair, messages):
    _, chosen = pair
    texts = pl.read_csv(messages)["text"].to_list()[:10]
    plain = pipeline(
        "text-classification", model=str(chosen.folder.model), top_k=None, device=torch.device("cpu")
    )
    probs = chosen.classifier().predict_proba(texts)
    for row, answers in zip(probs, plain(texts), strict=True):
        scores = {answer["label"]: answer["score"] for answer in answers}
        assert [scores["ham"], scores["spam"]] == pytest.approx(row.tolist(), abs=1e-5)


def test_few_validation_texts_lead_to_cross_fitting(pair):
    decision = pair[1].metrics.decision
    assert decision.chosen_on == "cross-fitting"
    assert decision.examples == 48  # all but the test split


def test_predictions_file_and_classifier_follow_the_saved_rule(pair):
    _, run = pair
    decision = run.metrics.decision
    frame = pl.read_csv(run.folder.predictions)
    classifier = finetext.load(run.folder.path)
    threshold = decision.thresholds[0]
    assert classifier.decision.thresholds == (threshold,)
    for text, predicted, spam, abstained in frame.select(
        "text", "predicted", "prob_spam", "abstained"
    ).iter_rows():
        assert predicted == ("spam" if spam >= threshold else "ham")
        sure = spam if predicted == "spam" else 1 - spam
        assert abstained == (sure < 0.6)
        assert classifier(text)[0]["label"] == (None if abstained else predicted)
        assert classifier.predict([text]) == [() if abstained else (predicted,)]
    kept = frame.filter(pl.col("abstained") == 0)
    assert decision.test.texts == kept.height
    assert decision.test.coverage == pytest.approx(kept.height / frame.height)


def test_the_command_line_shows_no_prediction_where_the_model_abstains(pair, tmp_path, capsys):
    _, run = pair
    path = tmp_path / "bundle"
    shutil.copytree(run.folder.model, path)
    document = json.loads((path / "finetext.json").read_text())
    document["decision"]["abstain_below"] = 1.0
    (path / "finetext.json").write_text(json.dumps(document))
    frame = pl.read_csv(run.folder.predictions)
    unsure = frame.filter(pl.max_horizontal("prob_ham", "prob_spam") < 0.9999)["text"][0]
    with pytest.raises(SystemExit) as end:
        main(["predict", str(path), unsure, "--format", "json"])
    assert end.value.code == 0
    captured = capsys.readouterr()
    row = json.loads(captured.out)[0]
    assert row["predicted"] is None
    assert 0 < row["score"] < 1
    assert "abstains on 1" in captured.err


@pytest.mark.parametrize(
    "damage", [{"thresholds": [0.2, 0.3]}, {"thresholds": ["x"]}, {"abstain_below": 7}, {"thresholds": [-1]}]
)
def test_a_damaged_rule_is_refused(pair, tmp_path, damage):
    path = tmp_path / "bundle"
    shutil.copytree(pair[1].folder.model, path)
    document = json.loads((path / "finetext.json").read_text())
    document["decision"] |= damage
    (path / "finetext.json").write_text(json.dumps(document))
    with pytest.raises(finetext.ModelError, match="damaged"):
        finetext.load(path)


def test_decisions_that_do_not_fit_the_task_are_refused_before_training(tmp_path, checkpoint):
    def table(rows):
        path = tmp_path / "data.csv"
        pl.DataFrame(rows, schema=["text", "label"], orient="row").write_csv(path)
        return path

    many = table([(f"text {n}", "abc"[n % 3]) for n in range(60)])
    with pytest.raises(UsageError, match="--threshold is for two classes"):
        train(many, output=tmp_path / "run", model=str(checkpoint("bert")), threshold="f1")
    several = table([(f"text {n}", ("a", "b", "a|b")[n % 3]) for n in range(60)])
    with pytest.raises(UsageError, match="--abstain-below is for one label"):
        train(several, output=tmp_path / "run", model=str(checkpoint("bert")), abstain_below=0.6)
    assert not (tmp_path / "run").exists()


def test_multi_label_thresholds_are_saved_per_label(tmp_path, checkpoint):
    rows = [
        (
            f"{'win ' * (n % 2)}{'tea ' * (n % 3 == 0)}number {n}",
            "|".join(
                [
                    name
                    for name, has in (("prize", n % 2), ("drink", n % 3 == 0), ("other", n % 5 == 0))
                    if has
                ]
            )
            or "other",
        )
        for n in range(90)
    ]
    path = tmp_path / "data.csv"
    pl.DataFrame(rows, schema=["text", "label"], orient="row").write_csv(path)
    run = train(path, output=tmp_path / "run", model=str(checkpoint("bert")), threshold="f1", epochs=1)
    thresholds = run.metrics.decision.thresholds
    assert len(thresholds) == 3
    frame = pl.read_csv(run.folder.predictions)
    names = run.metrics.class_names
    for row in frame.iter_rows(named=True):
        chosen = [n for n, t in zip(names, thresholds, strict=True) if row[f"prob_{n}"] >= t]
        assert (row["predicted"] or "") == "|".join(chosen)
