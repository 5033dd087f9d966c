import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from finetext.evaluation import compute_metrics
from finetext.training import TrainConfig, override, run_trial, train
from finetext.training.checkpoints import save_checkpoint
from finetext.training.progress import Progress
from finetext.training.selection import WeightAverage, is_no_worse

NAMES = ("ham", "spam")


def test_the_mean_matches_numpy():
    random = torch.Generator().manual_seed(1)
    epochs = [torch.randn(7, 5, generator=random) for _ in range(6)]
    average = WeightAverage()
    for weights in epochs:
        average.add({"w": weights})
    assert average.epochs == 6
    np.testing.assert_allclose(average.weights["w"], np.mean([e.numpy() for e in epochs], axis=0), atol=1e-6)


def test_the_mean_is_independent_of_later_updates():
    parameter, average = torch.nn.Parameter(torch.ones(3)), WeightAverage()
    average.add({"w": parameter})
    with torch.no_grad():
        parameter.zero_()
    assert average.weights["w"].tolist() == [1, 1, 1] and not average.weights["w"].requires_grad


def predictions(wrong, sure=0.9, texts=100):
    """Probabilities for alternating classes that favour the other class at the positions in `wrong`."""
    targets = np.arange(texts) % 2
    right = np.where(np.isin(np.arange(texts), list(wrong)), 1 - sure, sure).astype(np.float32)
    spam = np.where(targets == 1, right, 1 - right)
    probs = np.stack([1 - spam, spam], axis=1)
    return probs, compute_metrics(targets, probs, NAMES, "binary")


@pytest.mark.parametrize(
    ("average", "best", "metric", "expected"),
    [
        (predictions([]), predictions([]), "accuracy", True),  # a tie
        (predictions([0]), predictions([1, 2]), "macro_f1", True),
        (
            predictions([0, 1]),
            predictions([2]),
            "accuracy",
            True,
        ),  # one text fewer, and a difference in log loss within chance
        (predictions([0, 1], 0.8), predictions([2], 0.9), "accuracy", False),  # every text is less confident
        (
            predictions([0, 1], 0.99),
            predictions([2], 0.8),
            "accuracy",
            True,
        ),  # one text fewer, a lower log loss
        # A net loss of 2 out of 2 differing texts exceeds sqrt(2), 1 out of 7 is within sqrt(7), 4 out of 6 exceeds
        # sqrt(6).
        (predictions([0, 1], 0.99), predictions([], 0.8), "accuracy", False),
        (predictions([0, 1, 2, 3], 0.99), predictions([4, 5, 6], 0.6), "accuracy", True),
        (predictions([0, 1, 2, 3, 7], 0.99), predictions([4], 0.6), "accuracy", False),
        (predictions([0], 0.8), predictions([1], 0.9), "log_loss", False),
        (predictions([0], 0.9), predictions([1], 0.8), "log_loss", True),
    ],
)
def test_the_mean_is_kept_unless_it_is_worse_on_validation(average, best, metric, expected):
    assert is_no_worse(np.arange(100) % 2, average, best, "binary", metric) is expected


def test_a_mean_with_an_undefined_metric_is_not_kept():
    targets = np.zeros(10, dtype=int)  # one class: no ROC curve
    probs = np.tile(np.array([[0.9, 0.1]], dtype=np.float32), (10, 1))
    result = probs, compute_metrics(targets, probs, NAMES, "binary")
    assert not is_no_worse(targets, result, result, "binary", "roc_auc")


class Listener(Progress):
    def __init__(self):
        self.averages = []

    def averaged(self, average):
        self.averages.append(average)


@pytest.fixture(scope="module")
def options(checkpoint, messages):
    model = str(checkpoint("bert"))
    return {"source": str(messages), "model": model, "epochs": 3, "trainable": "last-block"}


@pytest.fixture
def epoch_weights(monkeypatch):
    """The weights of every checkpoint that is saved."""
    saved = []

    def keep(folder, checkpoint):
        saved.append({name: tensor.clone() for name, tensor in checkpoint.weights.items()})
        return save_checkpoint(folder, checkpoint)

    monkeypatch.setattr("finetext.training.recorder.save_checkpoint", keep)
    return saved


def test_a_run_keeps_the_mean_of_its_epochs(tmp_path, options, epoch_weights, monkeypatch):
    monkeypatch.setattr("finetext.training.trainer.is_no_worse", lambda *_: True)
    listener = Listener()
    run = train(output=tmp_path / "run", progress=listener, **options)
    assert len(epoch_weights) == 3
    [average] = listener.averages
    assert (average.epochs, average.kept) == (3, True)
    best = json.loads(run.folder.metrics.read_text())["best"]
    assert best["averaged_epochs"] == 3 and best["epoch"] == 3
    assert best["value"] == run.metrics.validation.macro_f1 == average.metrics.macro_f1
    saved = load_file(run.folder.model / "model.safetensors")
    for name in epoch_weights[0]:
        mean = np.mean([weights[name].numpy() for weights in epoch_weights], axis=0)
        np.testing.assert_allclose(saved[name], mean, atol=1e-6)
    assert "mean of the weights after each of 3 epochs" in run.folder.report.read_text(encoding="utf-8")


def test_a_worse_mean_is_discarded_for_the_best_epoch(options, monkeypatch):
    config = override(TrainConfig(), options)
    monkeypatch.setattr("finetext.training.trainer.is_no_worse", lambda *_: False)
    listener = Listener()
    refused = run_trial(config, progress=listener)
    without = run_trial(override(config, {"weight_averaging": False}))
    assert [average.kept for average in listener.averages] == [False]
    assert refused.selection.averaged_epochs == 0
    np.testing.assert_array_equal(refused.test, without.test)


def test_without_a_second_epoch_there_is_no_mean(options):
    listener = Listener()
    run_trial(override(TrainConfig(), options | {"epochs": 1}), progress=listener)
    run_trial(override(TrainConfig(), options | {"weight_averaging": False}), progress=listener)
    assert listener.averages == []
