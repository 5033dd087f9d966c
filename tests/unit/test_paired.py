"""The paired bootstrap and its figures, beside scikit-learn and a plain loop."""

import numpy as np
import pytest
from sklearn import metrics as sk

from finetext.evaluation import decision_figures, paired_differences


def predictions(seed, texts=300, classes=3):
    random = np.random.default_rng(seed)
    targets = random.choice(classes, size=texts, p=[0.6, 0.3, 0.1][:classes])
    first = np.where(random.random(texts) < 0.7, targets, random.integers(classes, size=texts))
    second = np.where(random.random(texts) < 0.85, targets, random.integers(classes, size=texts))
    return targets, first, second


def reference(targets, predicted, classes):
    ids = list(range(classes))
    return {
        "accuracy": sk.accuracy_score(targets, predicted),
        "macro_f1": sk.f1_score(targets, predicted, average="macro", labels=ids, zero_division=0),
        "mcc": sk.matthews_corrcoef(targets, predicted),
    }


@pytest.mark.parametrize("seed", range(4))
def test_figures_are_those_of_scikit_learn(seed):
    targets, first, _ = predictions(seed)
    assert decision_figures(targets, first, 3) == pytest.approx(reference(targets, first, 3))
    one_hot, guess = np.eye(3, dtype=int)[targets], np.eye(3, dtype=int)[first]
    guess[:40, 1] = 1
    found = decision_figures(one_hot, guess, 3)
    labels = zip(one_hot.T, guess.T, strict=True)
    assert found["mcc"] == pytest.approx(np.mean([sk.matthews_corrcoef(t, p) for t, p in labels]))
    assert found["macro_f1"] == pytest.approx(sk.f1_score(one_hot, guess, average="macro"))
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(one_hot, guess))


def test_a_class_that_is_never_there_nor_predicted_has_an_f1_of_zero():
    targets, predicted = np.array([0, 1, 1, 0]), np.array([0, 1, 0, 0])
    found = decision_figures(targets, predicted, 3)
    assert found == pytest.approx(reference(targets, predicted, 3))


def test_intervals_are_those_of_drawing_texts_one_by_one():
    targets, first, second = predictions(7, texts=200)
    found = paired_differences(targets, first, second, 3, resamples=4000, seed=1)
    random = np.random.default_rng(2)
    members = [np.flatnonzero(targets == own) for own in range(3)]
    drawn = {name: [] for name in found}
    for _ in range(1500):
        chosen = np.concatenate([random.choice(own, len(own)) for own in members])
        before, after = (reference(targets[chosen], own[chosen], 3) for own in (first, second))
        for name in drawn:
            drawn[name].append(after[name] - before[name])
    for name, own in found.items():
        low, high = np.quantile(drawn[name], [0.025, 0.975])
        assert (own.low, own.high) == (pytest.approx(low, abs=0.012), pytest.approx(high, abs=0.012))
        assert own.low < own.difference < own.high


def test_the_whole_is_the_same_for_one_hot_and_for_ids_and_of_like_width():
    targets, first, second = predictions(3)
    ids = paired_differences(targets, first, second, 3)
    eye = np.eye(3, dtype=int)
    labels = paired_differences(eye[targets], eye[first], eye[second], 3)
    assert labels["accuracy"].difference == pytest.approx(ids["accuracy"].difference)
    assert labels["macro_f1"].difference == pytest.approx(ids["macro_f1"].difference)
    assert labels["accuracy"].high - labels["accuracy"].low == pytest.approx(
        ids["accuracy"].high - ids["accuracy"].low, rel=0.2
    )


def test_a_classifier_differs_from_itself_by_nothing_and_the_other_way_round_by_the_opposite():
    targets, first, second = predictions(5)
    assert {
        (own.difference, own.low, own.high) for own in paired_differences(targets, first, first, 3).values()
    } == {(0.0, 0.0, 0.0)}
    there, back = paired_differences(targets, first, second, 3), paired_differences(targets, second, first, 3)
    for name in there:
        assert there[name].difference == pytest.approx(-back[name].difference)
    assert paired_differences(targets, first, second, 3) == there


def test_many_texts_are_drawn_in_parts(monkeypatch):
    monkeypatch.setattr("finetext.evaluation.paired._CHUNK", 2000)
    targets, first, second = predictions(5)
    eye = np.eye(3, dtype=int)
    found = paired_differences(eye[targets], eye[first], eye[second], 3, resamples=100)
    assert found["accuracy"].low < found["accuracy"].difference < found["accuracy"].high
