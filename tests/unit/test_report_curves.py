"""The data behind the plots match scikit-learn and calculations by hand."""

import numpy as np
import pytest
from sklearn import metrics as sk

from finetext.evaluation import likeliest
from finetext.evaluation.metrics import expected_calibration_error
from finetext.reporting import curves
from finetext.reporting.curves import Curve
from finetext.reporting.folder import Predictions
from report_folders import random_predictions


def predictions_of(targets, probs):
    predicted = (probs >= 0.5).astype(np.int64) if targets.ndim == 2 else probs.argmax(axis=1)
    return Predictions([f"text {n}" for n in range(len(targets))], targets, predicted, probs)


def test_areas_under_the_plotted_curves_match_scikit_learn():
    targets, probs = random_predictions(3000, 2, skill=1.0)
    line = curves.roc(targets, probs[:, 1])
    assert np.trapezoid(line.y, line.x) == pytest.approx(sk.roc_auc_score(targets, probs[:, 1]))
    stairs = curves.precision_recall(targets, probs[:, 1])
    area = (np.diff(stairs.x) * stairs.y[1:]).sum()
    assert area == pytest.approx(sk.average_precision_score(targets, probs[:, 1]))


def test_the_mean_curve_has_the_mean_area():
    targets, probs = random_predictions(2000, 4, skill=1.0)
    one_hot = np.eye(4, dtype=np.int64)[targets]
    lines = [curves.roc(one_hot[:, c], probs[:, c]) for c in range(4)]
    mean = curves.mean_curve(lines, staircase=False)
    assert np.trapezoid(mean.y, mean.x) == pytest.approx(sk.roc_auc_score(one_hot, probs), abs=0.003)
    stairs = [curves.precision_recall(one_hot[:, c], probs[:, c]) for c in range(4)]
    mean = curves.mean_curve(stairs, staircase=True)
    area = (np.diff(mean.x) * mean.y[1:]).sum()
    assert area == pytest.approx(sk.average_precision_score(one_hot, probs), abs=0.003)


def test_a_thinned_curve_has_few_points_and_the_same_area_and_ends():
    targets, probs = random_predictions(50_000, 2, skill=1.0)
    whole = curves.roc(targets, probs[:, 1])
    thinned = curves.thin(whole)
    assert len(whole.x) > 1000
    assert len(thinned.x) <= curves.CURVE_POINTS + 2
    assert np.trapezoid(thinned.y, thinned.x) == pytest.approx(np.trapezoid(whole.y, whole.x), abs=1e-3)
    assert (thinned.x[0], thinned.y[0], thinned.x[-1], thinned.y[-1]) == (0, 0, 1, 1)


@pytest.mark.parametrize("multi", [False, True])
def test_reliability_bins_add_up_to_the_calibration_error(multi):
    predictions = predictions_of(*random_predictions(500, 4, multi=multi))
    bins = curves.reliability(predictions)
    confidence, right = likeliest(predictions.targets, predictions.probs, multi)
    assert bins.count.sum() == len(confidence)
    error = (bins.count * np.abs(bins.confidence - bins.accuracy)).sum() / len(confidence)
    assert error == pytest.approx(expected_calibration_error(confidence, right))


def test_threshold_counts_agree_with_scikit_learn():
    targets, probs = random_predictions(400, 2, skill=0.5)
    at = curves.threshold_counts(predictions_of(targets, probs), 0.5)
    for k, threshold in enumerate(at.thresholds):
        predicted = (probs[:, 1] >= threshold).astype(int)
        assert at.tp[k] + at.fp[k] == predicted.sum()
        assert at.recall[k] == pytest.approx(sk.recall_score(targets, predicted))
        assert at.f1[k] == pytest.approx(sk.f1_score(targets, predicted))
        assert at.mcc[k] == pytest.approx(sk.matthews_corrcoef(targets, predicted))
        assert at.precision[k] == pytest.approx(sk.precision_score(targets, predicted, zero_division=1))


def test_the_threshold_in_use_counts_the_predictions_despite_rounding():
    predictions = Predictions(
        ["a", "b"], np.array([0, 1]), np.array([0, 1]), np.array([[0.5, 0.5], [0.5, 0.5]])
    )
    at = curves.threshold_counts(predictions, 0.5)
    (used,) = np.flatnonzero(at.thresholds == 0.5)
    assert (at.tp[used], at.fp[used], at.precision[used], at.recall[used]) == (1, 0, 1.0, 1.0)


def test_coverage_keeps_texts_of_equal_confidence_together():
    probs = np.array([[0.9, 0.1], [0.2, 0.8], [0.2, 0.8], [0.6, 0.4]])
    coverage = curves.coverage(predictions_of(np.array([0, 1, 0, 1]), probs))
    np.testing.assert_allclose(coverage.limit, [0.9, 0.8, 0.6])
    np.testing.assert_allclose(coverage.share, [0.25, 0.75, 1.0])
    np.testing.assert_allclose(coverage.accuracy, [1.0, 2 / 3, 0.5])
    assert [coverage.at(share) for share in (0.2, 0.25, 0.5, 0.75, 1.0)] == [0, 0, 1, 1, 2]


def test_smoothing_keeps_the_level_of_the_loss():
    steps = Curve(np.arange(1, 4001.0), np.full(4000, 0.7))
    drawn = curves.smooth(curves.grouped(steps))
    assert len(drawn.x) <= curves.CURVE_POINTS
    np.testing.assert_allclose(drawn.y, 0.7)
    assert drawn.x[0] == pytest.approx(np.mean(np.arange(1, 21)))
