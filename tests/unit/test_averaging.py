import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from finetext.evaluation import compute_metrics
from finetext.training import TrainConfig, override, run_trial, train
from finetext.training.averaging import WeightAverage, holds
from finetext.training.checkpoints import save_checkpoint
from finetext.training.progress import Silent

NAMES = ("ham", "spam")


def test_the_mean_is_numpys():
    random = torch.Generator().manual_seed(1)
    epochs = [torch.randn(7, 5, generator=random) for _ in range(6)]
    average = WeightAverage()
    for own in epochs:
        average.add({"w": own})
    assert average.epochs == 6
    np.testing.assert_allclose(average.weights["w"], np.mean([e.numpy() for e in epochs], axis=0), atol=1e-6)


def test_what_is_taken_in_may_change_afterwards():
    parameter, average = torch.nn.Parameter(torch.ones(3)), WeightAverage()
    average.add({"w": parameter})
    with torch.no_grad():
        parameter.zero_()
    assert average.weights["w"].tolist() == [1, 1, 1] and not average.weights["w"].requires_grad


def guesses(wrong, sure=0.9, texts=100):
    """Probabilities of two classes in turn; those at the places in `wrong` go to the other class."""
    targets = np.arange(texts) % 2
    right = np.where(np.isin(np.arange(texts), list(wrong)), 1 - sure, sure).astype(np.float32)
    spam = np.where(targets == 1, right, 1 - right)
    probs = np.stack([1 - spam, spam], axis=1)
    return probs, compute_metrics(targets, probs, NAMES, "binary")


@pytest.mark.parametrize(
    ("average", "best", "metric", "expected"),
    [
        (guesses([]), guesses([]), "accuracy", True),  # a tie
        (guesses([0]), guesses([1, 2]), "macro_f1", True),
        (
            guesses([0, 1]),
            guesses([2]),
            "accuracy",
            True,
        ),  # one text fewer, and a log loss that chance explains
        (guesses([0, 1], 0.8), guesses([2], 0.9), "accuracy", False),  # every text is less sure
        (guesses([0, 1], 0.99), guesses([2], 0.8), "accuracy", True),  # one text fewer, a lower log loss
        # Two texts fewer of two: the root of two is less. Three of seven: the root of seven is not.
        (guesses([0, 1], 0.99), guesses([], 0.8), "accuracy", False),
        (guesses([0, 1, 2, 3], 0.99), guesses([4, 5, 6], 0.6), "accuracy", True),
        (guesses([0, 1, 2, 3, 7], 0.99), guesses([4], 0.6), "accuracy", False),
        (guesses([0], 0.8), guesses([1], 0.9), "log_loss", False),
        (guesses([0], 0.9), guesses([1], 0.8), "log_loss", True),
    ],
)
def test_the_mean_holds_unless_validation_finds_it_worse(average, best, metric, expected):
    assert holds(np.arange(100) % 2, average, best, "binary", metric) is expected


def test_a_mean_whose_metric_is_not_defined_is_not_kept():
    targets = np.zeros(10, dtype=int)  # one class: no ROC curve
    probs = np.tile(np.array([[0.9, 0.1]], dtype=np.float32), (10, 1))
    own = probs, compute_metrics(targets, probs, NAMES, "binary")
    assert not holds(targets, own, own, "binary", "roc_auc")


class Listens(Silent):
    def __init__(self):
        self.means = []

    def averaged(self, metrics, epochs, kept):
        self.means.append((metrics, epochs, kept))


@pytest.fixture(scope="module")
def options(checkpoint, messages):
    model = str(checkpoint("bert"))
    return {"source": str(messages), "model": model, "epochs": 3, "trainable": "last-block"}


@pytest.fixture
def epoch_weights(monkeypatch):
    """The weights of every checkpoint that is saved."""
    saved = []

    def keep(folder, checkpoint):
        saved.append({name: own.clone() for name, own in checkpoint.weights.items()})
        return save_checkpoint(folder, checkpoint)

    monkeypatch.setattr("finetext.training.trainer.save_checkpoint", keep)
    return saved


def test_a_run_keeps_the_mean_of_its_epochs(tmp_path, options, epoch_weights, monkeypatch):
    monkeypatch.setattr("finetext.training.trainer.holds", lambda *_: True)
    listener = Listens()
    run = train(output=tmp_path / "run", progress=listener, **options)
    assert len(epoch_weights) == 3
    [(metrics, epochs, kept)] = listener.means
    assert (epochs, kept) == (3, True)
    best = json.loads(run.folder.metrics.read_text())["best"]
    assert best["averaged_epochs"] == 3 and best["epoch"] == 3
    assert best["value"] == run.metrics.validation.macro_f1 == metrics.macro_f1
    saved = load_file(run.folder.model / "model.safetensors")
    for name in epoch_weights[0]:
        mean = np.mean([own[name].numpy() for own in epoch_weights], axis=0)
        np.testing.assert_allclose(saved[name], mean, atol=1e-6)
    assert "mean of the weights after each of 3 epochs" in run.folder.report.read_text(encoding="utf-8")


def test_a_mean_that_does_not_hold_leaves_the_best_epoch(options, monkeypatch):
    config = override(TrainConfig(), options)
    monkeypatch.setattr("finetext.training.trainer.holds", lambda *_: False)
    listener = Listens()
    refused = run_trial(config, progress=listener)
    without = run_trial(override(config, {"weight_averaging": False}))
    assert [kept for _, _, kept in listener.means] == [False]
    assert refused.selection.averaged_epochs == 0
    np.testing.assert_array_equal(refused.test, without.test)


def test_without_a_second_epoch_there_is_no_mean(options):
    listener = Listens()
    run_trial(override(TrainConfig(), options | {"epochs": 1}), progress=listener)
    run_trial(override(TrainConfig(), options | {"weight_averaging": False}), progress=listener)
    assert listener.means == []
