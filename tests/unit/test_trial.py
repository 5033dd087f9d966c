import json

import numpy as np
import polars as pl
import pytest

from finetext.training import TrainConfig, override, run_trial, train


@pytest.fixture(scope="module")
def options(checkpoint, messages):
    return {"source": str(messages), "model": str(checkpoint("bert")), "epochs": 2, "trainable": "last-block"}


def test_a_trial_finds_what_a_run_finds(tmp_path, options):
    run = train(output=tmp_path / "run", **options)
    trial = run_trial(override(TrainConfig(), options))
    assert json.loads(json.dumps(trial.test_metrics().to_dict())) == run.metrics["test"]
    assert json.loads(json.dumps(trial.validation_metrics().to_dict())) == run.metrics["validation"]
    written = pl.read_csv(run.folder.predictions)
    probs = written.select("prob_ham", "prob_spam").to_numpy()
    np.testing.assert_allclose(probs, trial.test, atol=1e-6)


def test_a_trial_leaves_the_test_split_unread_and_no_file(tmp_path, monkeypatch, options):
    monkeypatch.chdir(tmp_path)
    trial = run_trial(override(TrainConfig(), options), read_test=False)
    assert trial.test is None
    assert list(tmp_path.iterdir()) == []


def test_a_second_trial_runs_the_frozen_layers_for_no_token(options):
    config = override(TrainConfig(), options)
    run_trial(config)
    other = run_trial(override(config, {"learning_rate": 1e-3}))
    assert other.computed_tokens == 0
