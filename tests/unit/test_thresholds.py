import itertools

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sklearn import metrics as sk

from finetext.decision import Decision, abstains, confidence, decide
from finetext.errors import UsageError
from finetext.evaluation import (
    choose_thresholds,
    count_at,
    fit_temperature,
    parse_criterion,
    scaled_probabilities,
)
from finetext.evaluation.thresholds import choose_threshold

SCORED = st.lists(st.tuples(st.integers(0, 1), st.floats(1e-6, 1 - 1e-6)), min_size=1, max_size=40)


@given(SCORED)
def test_counts_at_a_threshold_match_scikit_learn(scored):
    target, probs = np.array([s[0] for s in scored]), np.array([s[1] for s in scored])
    counts = count_at(target, probs)
    for index, threshold in enumerate(counts.thresholds):
        predicted = (probs >= threshold).astype(int)
        tn, fp, fn, tp = sk.confusion_matrix(target, predicted, labels=[0, 1]).ravel()
        assert (counts.tn[index], counts.fp[index]) == (tn, fp)
        assert (counts.fn[index], counts.tp[index]) == (fn, tp)
        assert counts.f1[index] == pytest.approx(sk.f1_score(target, predicted, zero_division=0))


@given(SCORED, st.sampled_from(["f1", "mcc", "cost=1:5", "cost=3:1"]))
@example([(0, 0.9999989999999999), (1, 0.999999)], "f1")  # adjacent floating-point numbers
def test_no_other_threshold_beats_the_chosen_one(scored, text):
    target, probs = np.array([s[0] for s in scored]), np.array([s[1] for s in scored])
    criterion = parse_criterion(text)
    chosen = choose_threshold(target, probs, criterion)

    def score(threshold: float) -> float:
        counts = count_at(target, probs, np.array([threshold]))
        if criterion.kind == "cost":
            return -float(criterion.costs[0] * counts.fp[0] + criterion.costs[1] * counts.fn[0])
        return float(getattr(counts, criterion.kind)[0])

    levels = [0.0, *probs, 1.0]
    every = [*levels, *((a + b) / 2 for a, b in itertools.pairwise(sorted(levels)))]
    assert score(chosen) >= max(map(score, every)) - 1e-9


def test_a_minimum_precision_maximises_recall_and_a_minimum_recall_maximises_precision():
    target = np.array([1, 1, 1, 0, 1, 0, 0, 0])
    probs = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2])
    assert choose_threshold(target, probs, parse_criterion("precision=1")) == pytest.approx(0.65)
    assert choose_threshold(target, probs, parse_criterion("recall=1")) == pytest.approx(0.45)
    assert choose_threshold(target, probs, parse_criterion("precision=0.8")) == pytest.approx(0.45)


def test_ties_between_thresholds_go_to_the_one_nearest_one_half():
    assert choose_threshold(np.array([0, 1]), np.array([0.2, 0.8]), parse_criterion("f1")) == 0.5


def test_a_rare_label_keeps_the_default_threshold():
    targets = np.array([[1, 1]] * 6 + [[0, 1]] * 4 + [[0, 0]] * 10)
    targets[:, 0] = [1] * 4 + [0] * 16
    probs = np.linspace(0.9, 0.1, 20)[:, None].repeat(2, axis=1)
    rare, common = choose_thresholds(targets, probs, "multi-label", parse_criterion("f1"))
    assert rare == 0.5
    assert 0.44 < common < 0.53


@pytest.mark.parametrize(
    "text", ["f2", "precision", "precision=1.5", "cost=0:0", "0", "1", "cost=1", "1.2.3", ""]
)
def test_an_invalid_criterion_is_refused(text):
    with pytest.raises(UsageError, match="--threshold"):
        parse_criterion(text)


def test_a_decision_follows_its_thresholds():
    probs = np.array([[0.7, 0.3], [0.55, 0.45], [0.1, 0.9]])
    rule = Decision((0.4,), 0.5)
    assert decide(probs, "binary", rule).tolist() == [0, 1, 1]
    assert confidence(probs, "binary", rule).tolist() == [0.7, 0.45, 0.9]
    assert abstains(probs, "binary", rule).tolist() == [False, True, False]
    assert decide(probs, "multi-label", Decision((0.1, 0.5))).tolist() == [[1, 0], [1, 0], [1, 1]]
    with pytest.raises(ValueError, match="between 0 and 1"):
        Decision((1.5,))


def test_fitting_recovers_a_known_temperature():
    random = np.random.default_rng(0)
    logits = random.normal(size=(20_000, 3))
    probs = scaled_probabilities(logits, 1.0, "multi-class")
    targets = (probs.cumsum(axis=1) < random.random((20_000, 1))).sum(axis=1)
    assert fit_temperature(logits * 2.5, targets) == pytest.approx(2.5, rel=0.05)
    several = (random.random((20_000, 3)) < scaled_probabilities(logits, 1.0, "multi-label")).astype(int)
    assert fit_temperature(logits / 2, several) == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize("targets", [np.array([0, 1, 1]), np.array([[1, 0], [0, 1], [0, 1]])])
def test_scores_stay_unchanged_when_all_predictions_are_right(targets):
    # Their log loss falls with the temperature without end, which would make every later mistake fully confident.
    assert fit_temperature(np.array([[2.0, -1.0], [-3.0, 0.5], [-0.1, 0.2]]), targets) == 1.0


def test_no_other_temperature_has_a_lower_log_loss():
    random = np.random.default_rng(1)
    logits, targets = random.normal(size=(300, 4)) * 3, random.integers(0, 4, 300)
    logits[np.arange(300), targets] += 3
    fitted = fit_temperature(logits, targets)
    losses = [
        sk.log_loss(targets, scaled_probabilities(logits, t, "multi-class"))
        for t in (fitted, fitted * 0.98, fitted * 1.02)
    ]
    assert losses[0] == min(losses)
