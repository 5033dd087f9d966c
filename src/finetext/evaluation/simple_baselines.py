"""Baselines without a language model, which a fine-tuned model has to beat on the same split."""

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import SGDClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline

from finetext.evaluation.metrics import Metrics, Targets, compute_metrics

MAJORITY = "majority class"
TFIDF = "TF-IDF + logistic regression"
Predict = Callable[[Sequence[str]], NDArray[np.floating[Any]]]
"""Returns the `(M, C)` class probabilities of `M` texts."""


@dataclass(frozen=True)
class BaselineResult:
    """A baseline on the test split.

    Attributes:
        name: What it is.
        metrics: On the test split.
        probs: `(M, C)`.
        train_seconds: Training time.
        predict_seconds: Time to label the test split.
    """

    name: str
    metrics: Metrics
    probs: NDArray[np.floating[Any]]
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
        seconds = (trained - began, time.perf_counter() - trained)
        metrics = compute_metrics(test_targets, probs, class_names, task)
        results.append(BaselineResult(name, metrics, probs, *seconds))
    return results


def _fit_majority(texts: Sequence[str], targets: Targets, classes: int, seed: int) -> Predict:
    # The argmax of the class shares is the majority class.
    shares = _class_counts(targets, classes) / len(targets)
    return lambda new_texts: np.tile(shares, (len(new_texts), 1))


def fit_tfidf(texts: Sequence[str], targets: Targets, classes: int, seed: int) -> Predict:
    """Fit a logistic regression on TF-IDF features by stochastic gradient descent.

    Args:
        texts: `N` texts.
        targets: `(N,)` class ids, or `(N, C)` zeros and ones if multi-label.
        classes: Number of classes; not all need occur.
        seed: Of the descent.

    Returns:
        A function from `M` texts to their `(M, C)` class probabilities.
    """
    counts = _class_counts(targets, classes)
    varied = [c for c in range(classes) if 0 < counts[c] < len(texts)]
    constant = counts / len(texts)
    if not varied or not any(map(str.strip, texts)):
        return lambda new_texts: np.tile(constant, (len(new_texts), 1))
    classifier = SGDClassifier(loss="log_loss", random_state=seed)
    # The default token pattern drops one-letter words and punctuation, which may be all that a text has.
    vectorizer = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b|[^\w\s]")
    pipeline = make_pipeline(vectorizer, OneVsRestClassifier(classifier) if targets.ndim == 2 else classifier)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        pipeline.fit(texts, targets[:, varied] if targets.ndim == 2 else targets)
    columns = varied if targets.ndim == 2 else list(pipeline.classes_)

    def predict(new_texts: Sequence[str]) -> NDArray[np.float64]:
        probs = np.tile(constant if targets.ndim == 2 else np.zeros(classes), (len(new_texts), 1))
        # With a single varied label scikit-learn returns the probability of its absence too, first.
        probs[:, columns] = pipeline.predict_proba(new_texts)[:, -len(columns) :]
        return probs

    return predict


def _class_counts(targets: Targets, classes: int) -> NDArray[np.integer[Any]]:
    return targets.sum(axis=0) if targets.ndim == 2 else np.bincount(targets, minlength=classes)
