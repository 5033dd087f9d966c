import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetext.decision import Decision, decide
from finetext.evaluation import bootstrap_intervals, compute_metrics, with_intervals
from finetext.evaluation.resampling import DecisionSums, _draw_texts, _probability_metrics, _Ranking

METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "weighted_f1", "micro_f1", "mcc")


def predictions(seed: int, classes: int, texts: int = 60, rounded: bool = True):
    random = np.random.default_rng(seed)
    targets = random.integers(0, classes, texts)
    logits = random.normal(size=(texts, classes))
    logits[np.arange(texts), targets] += 1
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    if rounded:  # scores with ties
        probs = np.round(probs, 1) + 0.01
        probs /= probs.sum(axis=1, keepdims=True)
    return targets, probs


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_each_resample_has_the_metrics_of_the_texts_drawn(classes):
    targets, probs = predictions(0, classes)
    task = "binary" if classes == 2 else "multi-class"
    counts = next(_draw_texts(targets, 5, 1))
    decided = DecisionSums(targets, decide(probs, task), classes).metrics(counts)
    sums = _probability_metrics(targets, probs, False)(counts)
    columns = [1] if classes == 2 else range(classes)
    rankings = [_Ranking(targets == c, probs[:, c]) for c in columns]
    areas = np.mean([ranking.areas(counts) for ranking in rankings], axis=0)
    for number in range(5):
        drawn = np.repeat(np.arange(len(targets)), counts[:, number].astype(int))
        expected = compute_metrics(targets[drawn], probs[drawn], [str(c) for c in range(classes)], task)
        for name in METRICS:
            assert decided[name][number] == pytest.approx(expected.value(name), abs=1e-6), name
        assert sums["log_loss"][number] == pytest.approx(expected.log_loss, rel=1e-5)
        assert sums["calibration_error"][number] == pytest.approx(expected.calibration_error, abs=1e-5)
        assert areas[0, number] == pytest.approx(expected.roc_auc, abs=1e-6)
        assert areas[1, number] == pytest.approx(expected.pr_auc, abs=1e-6)


def test_each_multi_label_resample_has_the_metrics_of_the_texts_drawn():
    random = np.random.default_rng(2)
    targets = (random.random((80, 4)) < 0.4).astype(int)
    probs = np.round(random.random((80, 4)), 2)
    rule = Decision((0.3, 0.5, 0.5, 0.7))
    counts = next(_draw_texts(np.zeros(80, int), 4, 1))
    decided = DecisionSums(targets, decide(probs, "multi-label", rule), 4).metrics(counts)
    sums = _probability_metrics(targets, probs, True)(counts)
    for number in range(4):
        drawn = np.repeat(np.arange(80), counts[:, number].astype(int))
        expected = compute_metrics(targets[drawn], probs[drawn], list("abcd"), "multi-label", rule)
        for name in METRICS:
            assert decided[name][number] == pytest.approx(expected.value(name), abs=1e-6), name
        assert sums["log_loss"][number] == pytest.approx(expected.log_loss, rel=1e-5)
        assert sums["calibration_error"][number] == pytest.approx(expected.calibration_error, abs=1e-5)


def test_a_resample_keeps_the_size_of_each_class():
    strata = np.array([0] * 3 + [1] * 50 + [2])
    for counts in _draw_texts(strata, 40, 0):
        for stratum, size in ((0, 3), (1, 50), (2, 1)):
            assert (counts[strata == stratum].sum(axis=0) == size).all()


@settings(max_examples=25)
@given(st.integers(0, 1000), st.integers(2, 5))
def test_intervals_contain_their_metric_and_are_reproducible(seed, classes):
    targets, probs = predictions(seed, classes, 120, rounded=False)
    task = "binary" if classes == 2 else "multi-class"
    metrics = compute_metrics(targets, probs, [str(c) for c in range(classes)], task)
    intervals = bootstrap_intervals(targets, probs, task, resamples=400)
    for name in ("macro_f1", "mcc", "roc_auc", "pr_auc", "log_loss"):
        low, high = intervals[name]
        assert low <= metrics.value(name) <= high, name
    assert intervals == bootstrap_intervals(targets, probs, task, resamples=400)


def test_intervals_of_rare_labels_contain_their_metric():
    # A positive text drawn twice must not rank above itself, or resamples with few positives would look too good.
    random = np.random.default_rng(0)
    targets = np.zeros((300, 100), int)
    targets[random.permutation(300)[:200], np.arange(200) % 100] = 1
    probs = random.random((300, 100))
    metrics = compute_metrics(targets, probs, [str(c) for c in range(100)], "multi-label")
    intervals = bootstrap_intervals(targets, probs, "multi-label")
    for name in ("roc_auc", "pr_auc"):
        assert intervals[name][0] < metrics.value(name) < intervals[name][1], name


def test_the_interval_of_a_mean_has_the_theoretical_width():
    targets, probs = predictions(5, 2, 4000, rounded=False)
    low, high = bootstrap_intervals(targets, probs, "binary")["micro_f1"]
    right = probs.argmax(axis=1) == targets
    shares = [(targets == c).mean() ** 2 * right[targets == c].var() / (targets == c).sum() for c in (0, 1)]
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(sum(shares)), rel=0.08)


@pytest.mark.parametrize(
    ("targets", "probs", "task"),
    [
        (np.array([1]), np.array([[0.2, 0.8]]), "binary"),  # a single example
        (np.array([0, 0, 0]), np.array([[0.9, 0.1]] * 3), "binary"),  # a class is absent
        (np.array([0, 1, 1, 0]), np.array([[0.5, 0.5]] * 4), "binary"),  # nothing but ties
        (np.array([0, 2, 2]), np.array([[0.8, 0.1, 0.1]] * 3), "multi-class"),  # one class is predicted
        (np.zeros((3, 2), int), np.full((3, 2), 0.1), "multi-label"),  # no label applies
    ],
)
def test_edge_cases_have_intervals_or_none(targets, probs, task):
    names = [str(c) for c in range(probs.shape[1])]
    metrics = with_intervals(compute_metrics(targets, probs, names, task), targets, probs, task)
    for name, interval in metrics.intervals.items():
        if metrics.value(name) is None:
            assert interval is None, name
        elif interval is not None:
            assert np.isfinite(interval).all() and interval[0] < interval[1], name


def test_a_metric_that_no_resample_changes_has_no_interval():
    targets = np.array([0, 1] * 10)
    perfect = np.where(targets[:, None] == [0, 1], 0.9, 0.1) + np.linspace(-0.05, 0.05, 20)[:, None] * [1, -1]
    intervals = bootstrap_intervals(targets, perfect, "binary")
    assert {name for name, interval in intervals.items() if interval is not None} == {
        "log_loss",
        "calibration_error",
    }
    single = bootstrap_intervals(np.array([0, 1]), np.array([[0.4, 0.6], [0.2, 0.8]]), "binary")
    assert set(single.values()) == {None}


def test_resamples_without_a_rare_label_leave_it_out_of_the_mean_areas():
    random = np.random.default_rng(3)
    targets = (random.random((60, 8)) < 0.4).astype(int)
    targets[:, 1:] = 0
    targets[np.arange(7), np.arange(1, 8)] = 1  # seven labels have one text each
    probs = np.clip(targets * 0.6 + random.random((60, 8)) * 0.3, 0, 1)
    metrics = with_intervals(
        compute_metrics(targets, probs, list("abcdefgh"), "multi-label"), targets, probs, "multi-label"
    )
    assert metrics.roc_auc == metrics.pr_auc == 1  # every label is ranked perfectly, in any resample
    assert metrics.intervals["roc_auc"] is metrics.intervals["pr_auc"] is None
