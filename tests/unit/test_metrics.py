import dataclasses
import json
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from finetext.errors import DataError
from finetext.evaluation import (
    Metrics,
    baselines,
    compare_with_baseline,
    compute_metrics,
    encode_targets,
    mcnemar,
    verdict,
    wilson_interval,
)
from finetext.evaluation.metrics import expected_calibration_error
from finetext.metric_names import METRICS, SELECTION_METRICS, higher_is_better, metrics_of

NAMES = ("a", "b", "c")


def predictions(examples, classes, seed):
    draw = np.random.default_rng(seed)
    return draw.integers(0, classes, examples), draw.dirichlet(np.ones(classes), examples)


def test_a_binary_case_calculated_by_hand():
    targets = np.array([0, 0, 0, 1, 1])
    probs = np.array([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7], [0.2, 0.8], [0.55, 0.45]])
    metrics = compute_metrics(targets, probs, ("ham", "spam"), "binary")  # predicted 0 0 1 1 0
    assert metrics.confusion == ((2, 1), (1, 1))
    assert metrics.accuracy == pytest.approx(3 / 5)
    assert metrics.balanced_accuracy == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert metrics.classes[1].precision == pytest.approx(1 / 2)
    assert metrics.classes[1].recall == pytest.approx(1 / 2)
    assert metrics.macro_f1 == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert metrics.mcc == pytest.approx((2 * 1 - 1 * 1) / math.sqrt(3 * 2 * 3 * 2))
    assert metrics.roc_auc == pytest.approx(5 / 6)  # one of 6 pairs is in the wrong order
    assert metrics.log_loss == pytest.approx(-np.log([0.9, 0.6, 0.3, 0.8, 0.45]).mean())


@pytest.mark.parametrize("seed", range(5))
def test_metrics_agree_with_scikit_learn(seed):
    targets, probs = predictions(200, 3, seed)
    metrics, predicted = compute_metrics(targets, probs, NAMES, "multi-class"), probs.argmax(1)
    assert metrics.accuracy == pytest.approx(sk.accuracy_score(targets, predicted))
    assert metrics.balanced_accuracy == pytest.approx(sk.balanced_accuracy_score(targets, predicted))
    assert metrics.macro_f1 == pytest.approx(sk.f1_score(targets, predicted, average="macro"))
    assert metrics.weighted_f1 == pytest.approx(sk.f1_score(targets, predicted, average="weighted"))
    assert metrics.micro_f1 == pytest.approx(sk.f1_score(targets, predicted, average="micro"))
    assert metrics.mcc == pytest.approx(sk.matthews_corrcoef(targets, predicted))
    assert metrics.roc_auc == pytest.approx(sk.roc_auc_score(targets, probs, multi_class="ovr"))
    assert metrics.log_loss == pytest.approx(sk.log_loss(targets, probs))
    one_hot = np.eye(3)[targets]
    assert metrics.pr_auc == pytest.approx(sk.average_precision_score(one_hot, probs, average="macro"))


def test_multi_label_metrics_agree_with_scikit_learn():
    draw = np.random.default_rng(0)
    targets, probs = draw.integers(0, 2, (100, 3)), draw.random((100, 3))
    metrics, predicted = compute_metrics(targets, probs, NAMES, "multi-label"), (probs >= 0.5).astype(int)
    assert metrics.accuracy == pytest.approx(sk.accuracy_score(targets, predicted))
    assert metrics.hamming_loss == pytest.approx(sk.hamming_loss(targets, predicted))
    assert metrics.macro_f1 == pytest.approx(sk.f1_score(targets, predicted, average="macro"))
    assert metrics.micro_f1 == pytest.approx(sk.f1_score(targets, predicted, average="micro"))
    assert metrics.roc_auc == pytest.approx(sk.roc_auc_score(targets, probs))
    assert metrics.confusion is None
    assert metrics.log_loss == pytest.approx(
        np.mean([sk.log_loss(targets[:, c], probs[:, c]) for c in range(3)])
    )


def test_calibration_error_calculated_by_hand():
    confidence = np.array([0.95, 0.95, 0.55, 0.55])
    right = np.array([True, False, True, True])
    # Two bins of two: gaps |0.95 - 0.5| and |0.55 - 1|, each with half of the texts.
    assert expected_calibration_error(confidence, right) == pytest.approx(0.45)
    assert expected_calibration_error(np.array([1.0]), np.array([True])) == 0.0
    assert expected_calibration_error(np.array([]), np.array([], dtype=bool)) == 0.0


@pytest.mark.parametrize(
    ("right", "total", "low", "high"),
    # Values of the closed form, as computed by statistics packages.
    [(8, 10, 0.4902, 0.9433), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (950, 1000, 0.9347, 0.9619)],
)
def test_wilson_intervals(right, total, low, high):
    assert wilson_interval(right, total) == pytest.approx((low, high), abs=1e-4)


def test_the_interval_without_examples_is_zero_to_one():
    assert wilson_interval(0, 0) == (0.0, 1.0)


@given(st.integers(1, 60), st.integers(2, 5), st.integers(0, 10**6))
def test_metrics_lie_in_their_ranges_and_do_not_depend_on_the_order(examples, classes, seed):
    targets, probs = predictions(examples, classes, seed)
    task = "binary" if classes == 2 else "multi-class"
    names = [str(c) for c in range(classes)]
    metrics = compute_metrics(targets, probs, names, task)
    order = np.random.default_rng(seed).permutation(examples)
    again = compute_metrics(targets[order], probs[order], names, task)
    for name in METRICS:
        value, other = metrics.value(name), again.value(name)
        assert (value is None) == (other is None)
        if value is None:
            continue
        assert value == pytest.approx(other)
        low, high = {"mcc": (-1, 1), "log_loss": (0, math.inf)}.get(name, (0, 1))
        assert low - 1e-12 <= value <= high + 1e-12
    assert metrics.accuracy_low <= metrics.accuracy <= metrics.accuracy_high
    json.dumps(metrics.to_dict(), allow_nan=False)


def test_undefined_metrics_are_none():
    metrics = compute_metrics(np.zeros(4, dtype=int), np.tile([0.7, 0.3], (4, 1)), ("a", "b"), "binary")
    assert metrics.roc_auc is None and metrics.pr_auc is None
    assert metrics.mcc == 0.0 and metrics.accuracy == 1.0


def test_losses_are_better_when_lower():
    assert [name for name in METRICS if not higher_is_better(name)] == [
        "log_loss",
        "calibration_error",
        "hamming_loss",
    ]


def test_every_metric_that_can_choose_an_epoch_has_a_label_and_is_computed():
    assert set(SELECTION_METRICS) < set(METRICS) <= {field.name for field in dataclasses.fields(Metrics)}


@pytest.mark.parametrize("task", ["binary", "multi-class", "multi-label"])
def test_metrics_are_shown_for_the_tasks_in_which_they_are_defined(task):
    targets, probs = predictions(100, 2 if task == "binary" else 3, 0)
    targets = np.eye(3, dtype=int)[targets] if task == "multi-label" else targets
    metrics = compute_metrics(targets, probs, NAMES[: probs.shape[1]], task)
    assert None not in [metrics.value(name) for name in metrics_of(task)]
    assert ("hamming_loss" in metrics_of(task)) == (task == "multi-label")


def test_targets_are_class_ids_or_indicators():
    assert encode_targets([("b",), ("a",)], NAMES, "multi-class").tolist() == [1, 0]
    assert encode_targets([("b", "c"), ()], NAMES, "multi-label").tolist() == [[0, 1, 1], [0, 0, 0]]
    with pytest.raises(DataError, match=r"'spamm'.*Did you mean 'spam'"):
        encode_targets([("spamm",)], ("ham", "spam"), "binary")


TEXTS = ["win cash now", "tea at four", "claim the prize", "rain again"] * 10
LABELS = np.array([1, 0, 1, 0] * 10)


def test_the_tfidf_baseline_equals_a_scikit_learn_pipeline():
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import SGDClassifier

    vectorizer = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b|[^\w\s]")
    classifier = SGDClassifier(loss="log_loss", random_state=7).fit(vectorizer.fit_transform(TEXTS), LABELS)
    expected = classifier.predict_proba(vectorizer.transform(["cash prize", "four rain"]))
    _, tfidf = baselines(
        TEXTS, LABELS, ["cash prize", "four rain"], np.array([1, 0]), ("a", "b"), "binary", 7
    )
    assert tfidf.metrics.accuracy == 1.0
    assert tfidf.metrics.log_loss == pytest.approx(-np.log([expected[0, 1], expected[1, 0]]).mean())


def test_the_majority_baseline_always_predicts_the_largest_class():
    majority, _ = baselines(TEXTS[:5], LABELS[:5], TEXTS[:4], LABELS[:4], ("a", "b"), "binary", 0)
    assert majority.metrics.confusion == ((0, 2), (0, 2))
    assert majority.metrics.mcc == 0


def test_baselines_accept_classes_without_training_texts():
    for result in baselines(TEXTS, LABELS, ["x", "y", "z"], np.array([0, 1, 2]), NAMES, "multi-class", 0):
        assert result.metrics.classes[2].recall == 0


@pytest.mark.parametrize("varied", [0, 1, 2, 3])
def test_baselines_accept_labels_that_never_or_always_apply(varied):
    targets = np.zeros((40, 3), dtype=int)
    targets[:, 2] = 1
    for column in range(varied):
        targets[column::2, column] = 1 - targets[column::2, column]
    for result in baselines(TEXTS, targets, TEXTS, targets, NAMES, "multi-label", 0):
        assert 0 <= result.metrics.micro_f1 <= 1
        if result.name.startswith("TF-IDF") and varied:
            assert result.metrics.roc_auc > 0.9


def test_baselines_accept_texts_without_words():
    for result in baselines([" "] * 40, LABELS, ["  ", ""], np.array([0, 1]), ("a", "b"), "binary", 0):
        assert result.metrics.examples == 2


def test_evaluation_needs_no_torch():
    code = (
        "import sys, finetext.evaluation as e; e.compute_metrics, e.baselines; print('torch' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert answer.stdout.strip() == "False"


def test_mcnemar_calculated_by_hand():
    first = np.array([True] * 6 + [False] * 1 + [True] * 20)
    second = np.array([False] * 6 + [True] * 1 + [True] * 20)
    # Only one classifier is right on 7 texts, the first on 6 of them: 2 * (C(7,0) + C(7,1)) / 2^7
    assert mcnemar(first, second) == pytest.approx(2 * 8 / 128)
    assert mcnemar(second, first) == mcnemar(first, second)
    assert mcnemar(first, first) == 1.0


def test_classifiers_right_on_the_same_texts_have_no_interval_of_their_difference():
    right = np.array([True, False, True])
    assert compare_with_baseline(right, right).accuracy_difference_interval is None
    assert compare_with_baseline(right, ~right).accuracy_difference_interval is not None


def test_the_verdict_needs_both_a_difference_and_its_significance():
    assert verdict(0.01, 0.1) == "better"
    assert verdict(0.01, -0.1) == "worse"
    assert verdict(0.2, 0.1) == "no difference shown"
