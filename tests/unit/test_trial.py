import dataclasses

import numpy as np
import polars as pl
import pytest

from finetext.errors import Interrupted
from finetext.training import TrainConfig, override, run_trial, train
from finetext.training.progress import Progress
from finetext.training.signals import StopRequest


@pytest.fixture(scope="module")
def options(checkpoint, messages):
    return {"source": str(messages), "model": str(checkpoint("bert")), "epochs": 2, "trainable": "last-block"}


def test_a_trial_gives_the_metrics_of_a_run(tmp_path, options):
    run = train(output=tmp_path / "run", **options)
    trial = run_trial(override(TrainConfig(), options))
    for name, metrics in (("test", trial.test_metrics()), ("validation", trial.validation_metrics())):
        assert metrics == dataclasses.replace(getattr(run.metrics, name), intervals={})
    written = pl.read_csv(run.folder.predictions)
    probs = written.select("prob_ham", "prob_spam").to_numpy()
    np.testing.assert_allclose(probs, trial.test, atol=1e-6)


def test_a_trial_can_leave_the_test_split_unread_and_writes_no_file(tmp_path, monkeypatch, options):
    monkeypatch.chdir(tmp_path)
    trial = run_trial(override(TrainConfig(), options), read_test=False)
    assert trial.test.shape == trial.test_logits.shape == (0, 2)
    assert list(tmp_path.iterdir()) == []


def test_a_second_trial_reuses_all_cached_activations(options):
    config = override(TrainConfig(), options)
    run_trial(config)
    other = run_trial(override(config, {"learning_rate": 1e-3}))
    assert other.computed_tokens == 0


class Prunes(Progress):
    def __init__(self):
        self.values = []

    def evaluated(self, evaluation):
        self.values.append(evaluation.value)
        raise InterruptedError


def test_an_exception_from_a_listener_ends_the_trial(options):
    listener = Prunes()
    with pytest.raises(InterruptedError):
        run_trial(override(TrainConfig(), options | {"metric": "balanced_accuracy"}), progress=listener)
    assert len(listener.values) == 1 and 0 <= listener.values[0] <= 1


def test_the_frozen_layers_do_not_run_for_an_unread_test_split(options, monkeypatch, tmp_path):
    monkeypatch.setenv("FINETEXT_HOME", str(tmp_path))
    trial = run_trial(override(TrainConfig(), options), read_test=False)
    splits = trial.setup.splits
    read = {
        tuple(encoded[0])
        for encoded in trial.setup.model.encode(splits.train.texts + splits.validation.texts)
    }
    assert trial.computed_tokens == sum(map(len, read))
    assert len(shelved(tmp_path)) == len(read)


def shelved(home):
    return [digest for path in (home / "features").glob("*/*.npz") for digest in np.load(path)["digests"]]


def test_a_stop_request_ends_the_pass_through_the_frozen_layers(options, monkeypatch, tmp_path):
    monkeypatch.setenv("FINETEXT_HOME", str(tmp_path))
    stop = StopRequest()
    stop.signal_number = 2
    with pytest.raises(Interrupted):
        run_trial(override(TrainConfig(), options), stop=stop)
