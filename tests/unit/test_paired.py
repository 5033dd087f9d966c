"""The paired bootstrap matches scikit-learn and a plain loop."""

import numpy as np
import pytest
from sklearn import metrics as sk

from finetext.evaluation import PairedDifference, decision_metrics, paired_differences


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
def test_metrics_match_scikit_learn(seed):
    targets, first, _ = predictions(seed)
    assert decision_metrics(targets, first, 3) == pytest.approx(reference(targets, first, 3))
    one_hot, predicted = np.eye(3, dtype=int)[targets], np.eye(3, dtype=int)[first]
    predicted[:40, 1] = 1
    differences = decision_metrics(one_hot, predicted, 3)
    labels = zip(one_hot.T, predicted.T, strict=True)
    assert differences["mcc"] == pytest.approx(np.mean([sk.matthews_corrcoef(t, p) for t, p in labels]))
    assert differences["macro_f1"] == pytest.approx(sk.f1_score(one_hot, predicted, average="macro"))
    assert differences["accuracy"] == pytest.approx(sk.accuracy_score(one_hot, predicted))


def test_a_class_without_texts_or_predictions_has_an_f1_of_zero():
    targets, predicted = np.array([0, 1, 1, 0]), np.array([0, 1, 0, 0])
    differences = decision_metrics(targets, predicted, 3)
    assert differences == pytest.approx(reference(targets, predicted, 3))


def test_intervals_match_resampling_texts_one_by_one():
    targets, first, second = predictions(7, texts=200)
    differences = paired_differences(targets, first, second, 3, resamples=4000, seed=1)
    random = np.random.default_rng(2)
    members = [np.flatnonzero(targets == label) for label in range(3)]
    drawn = {name: [] for name in differences}
    for _ in range(1500):
        chosen = np.concatenate([random.choice(rows, len(rows)) for rows in members])
        before, after = (reference(targets[chosen], labels[chosen], 3) for labels in (first, second))
        for name in drawn:
            drawn[name].append(after[name] - before[name])
    for name, paired in differences.items():
        low, high = np.quantile(drawn[name], [0.025, 0.975])
        assert (paired.low, paired.high) == (pytest.approx(low, abs=0.012), pytest.approx(high, abs=0.012))
        assert paired.low < paired.difference < paired.high


def test_one_hot_labels_and_ids_give_equal_differences_and_similar_intervals():
    targets, first, second = predictions(3)
    ids = paired_differences(targets, first, second, 3)
    eye = np.eye(3, dtype=int)
    labels = paired_differences(eye[targets], eye[first], eye[second], 3)
    assert labels["accuracy"].difference == pytest.approx(ids["accuracy"].difference)
    assert labels["macro_f1"].difference == pytest.approx(ids["macro_f1"].difference)
    assert labels["accuracy"].high - labels["accuracy"].low == pytest.approx(
        ids["accuracy"].high - ids["accuracy"].low, rel=0.2
    )


def test_differences_to_itself_are_zero_and_swapping_changes_the_sign():
    targets, first, second = predictions(5)
    same = paired_differences(targets, first, first, 3)
    assert set(same.values()) == {PairedDifference(0.0, 0.0, 0.0)}
    there, back = paired_differences(targets, first, second, 3), paired_differences(targets, second, first, 3)
    for name in there:
        assert there[name].difference == pytest.approx(-back[name].difference)
    assert paired_differences(targets, first, second, 3) == there


def test_many_texts_are_drawn_in_chunks(monkeypatch):
    monkeypatch.setattr("finetext.evaluation.resampling._CELL_CHUNK", 2000)
    targets, first, second = predictions(5)
    eye = np.eye(3, dtype=int)
    differences = paired_differences(eye[targets], eye[first], eye[second], 3, resamples=100)
    assert differences["accuracy"].low < differences["accuracy"].difference < differences["accuracy"].high
