"""What a simple method reaches on the same split: the bar that a fine-tuned model has to clear."""

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import SGDClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline

from finetext.evaluation.metrics import Metrics, Targets, compute_metrics
from finetext.evaluation.targets import is_right

MAJORITY = "majority class"
TFIDF = "TF-IDF + logistic regression"
Predict = Callable[[Sequence[str]], NDArray[np.floating[Any]]]
"""Gives texts the probability of each class."""


@dataclass(frozen=True)
class BaselineResult:
    """A baseline on the test split.

    Attributes:
        name: What it is.
        metrics: Its figures.
        probs: `(M, C)`.
        right: `(M,)`, whether it is right on each text.
        train_seconds: Time to train it.
        predict_seconds: Time to label the test split.
    """

    name: str
    metrics: Metrics
    probs: NDArray[np.floating[Any]]
    right: NDArray[np.bool_]
    train_seconds: float
    predict_seconds: float


def baselines(
    train_texts: Sequence[str],
    train_targets: Targets,
    test_texts: Sequence[str],
    test_targets: Targets,
    class_names: Sequence[str],
    task: str,
    seed: int,
) -> list[BaselineResult]:
    """Train the baselines on the training split and evaluate them on the test split.

    Args:
        train_texts: `N` texts.
        train_targets: `(N,)` class ids, or `(N, C)` zeros and ones if multi-label.
        test_texts: `M` texts.
        test_targets: Likewise.
        class_names: The classes in the order of their ids.
        task: binary, multi-class or multi-label.
        seed: Of the stochastic gradient descent.
    """
    results = []
    for name, fit in ((MAJORITY, _fit_majority), (TFIDF, fit_tfidf)):
        began = time.perf_counter()
        predict = fit(train_texts, train_targets, len(class_names), seed)
        trained = time.perf_counter()
        probs = predict(test_texts)
        done = time.perf_counter()
        metrics = compute_metrics(test_targets, probs, class_names, task)
        right = is_right(test_targets, probs, task)
        results.append(BaselineResult(name, metrics, probs, right, trained - began, done - trained))
    return results


def mcnemar(first_right: NDArray[np.bool_], second_right: NDArray[np.bool_]) -> float:
    """Return the two-sided p-value of McNemar's exact test (McNemar, 1947) that two classifiers err alike.

    Args:
        first_right: `(N,)`, whether one classifier is right on each text.
        second_right: `(N,)`, whether the other is on the same texts.
    """
    only_first = int((first_right & ~second_right).sum())
    only_second = int((~first_right & second_right).sum())
    if only_first + only_second == 0:
        return 1.0
    return float(binomtest(only_first, only_first + only_second).pvalue)


def compare_right(right: NDArray[np.bool_], baseline: NDArray[np.bool_]) -> dict[str, Any]:
    """Compare a classifier with a baseline on the same texts, as JSON values.

    The 95 % interval of the difference is by the bootstrap; there is none where both are right on the same texts.
    Only how many texts the first alone and the second alone is right on matters, so resamples are drawn from three
    numbers.

    Args:
        right: `(N,)`, whether the classifier is right on each text.
        baseline: `(N,)`, whether the baseline is.
    """
    difference = float(right.mean() - baseline.mean())
    p_value = mcnemar(right, baseline)
    only_first, only_second = int((right & ~baseline).sum()), int((~right & baseline).sum())
    rest = len(right) - only_first - only_second
    shares = np.array([only_first, only_second, rest]) / len(right)
    drawn = np.random.default_rng(0).multinomial(len(right), shares, size=20_000)
    low, high = np.quantile((drawn[:, 0] - drawn[:, 1]) / len(right), [0.025, 0.975])
    return {
        "accuracy_difference": difference,
        "accuracy_difference_interval": [float(low), float(high)] if only_first + only_second else None,
        "mcnemar_p_value": p_value,
        "verdict": verdict(p_value, difference),
    }


def verdict(p_value: float, difference: float) -> str:
    """Return `better`, `worse`, or `no difference shown` at the 5 % level, for a difference in accuracy."""
    if p_value >= 0.05 or difference == 0:
        return "no difference shown"
    return "better" if difference > 0 else "worse"


def _fit_majority(texts: Sequence[str], targets: Targets, classes: int, seed: int) -> Predict:
    # The share of each class in the training split: its argmax is the majority class.
    shares = (
        targets.mean(axis=0) if targets.ndim == 2 else np.bincount(targets, minlength=classes) / len(targets)
    )
    return lambda wanted: np.tile(shares, (len(wanted), 1))


def fit_tfidf(texts: Sequence[str], targets: Targets, classes: int, seed: int) -> Predict:
    """Fit a logistic regression on TF-IDF features by stochastic gradient descent.

    Args:
        texts: `N` texts.
        targets: `(N,)` class ids, or `(N, C)` zeros and ones if multi-label.
        classes: How many classes there are; not all need occur.
        seed: Of the descent.

    Returns:
        What gives texts the probability of each class, `(M, C)`.
    """
    known = targets.sum(axis=0) if targets.ndim == 2 else np.bincount(targets, minlength=classes)
    varied = [c for c in range(classes) if 0 < known[c] < len(texts)]
    constant = known / len(texts)
    if not varied:
        return lambda wanted: np.tile(constant, (len(wanted), 1))
    classifier = SGDClassifier(loss="log_loss", random_state=seed)
    # A word may be a single sign: the vectorizer's own pattern drops every one-letter word.
    vectorizer = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b|[^\w\s]")
    pipeline = make_pipeline(vectorizer, OneVsRestClassifier(classifier) if targets.ndim == 2 else classifier)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        try:
            pipeline.fit(texts, targets[:, varied] if targets.ndim == 2 else targets)
        except ValueError as error:
            if "empty vocabulary" not in str(error):
                raise
            return lambda wanted: np.tile(constant, (len(wanted), 1))
    columns = varied if targets.ndim == 2 else list(pipeline.classes_)

    def predict(wanted: Sequence[str]) -> NDArray[np.float64]:
        probs = np.tile(constant if targets.ndim == 2 else np.zeros(classes), (len(wanted), 1))
        found = pipeline.predict_proba(wanted)
        probs[:, columns] = found if found.shape[1] == len(columns) else found[:, -len(columns) :]
        return probs

    return predict
