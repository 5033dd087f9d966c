"""Wrong labels by confident learning, on probabilities from classifiers that have not seen the text.

The method is that of Northcutt et al., "Confident Learning: Estimating Uncertainty in Dataset Labels" (JAIR 2021), as
cleanlab implements it. The probabilities are the mean of two classifiers': a logistic regression on a pretrained
model's hidden states and one on TF-IDF features.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from finetext.data import Dataset
from finetext.evaluation import fit_tfidf
from finetext.models import probabilities
from finetext.training import fit_logistic

STRENGTH = 0.1
"""Of the penalty: strong, since the fit must not follow the wrong labels that it is to reveal."""


def judged_classes(dataset: Dataset) -> NDArray[np.bool_]:
    """Return `(C,)`: whether a class has at least two different texts, so that one can be judged by the other."""
    texts: dict[str, set[str]] = {name: set() for name in dataset.class_names}
    for key, names in zip(dataset.keys, dataset.labels, strict=True):
        for name in names:
            texts[name].add(key)
    return np.array([len(texts[name]) > 1 for name in dataset.class_names])


def out_of_fold(
    dataset: Dataset, vectors: Tensor, targets: NDArray[np.int64], folds: NDArray[np.int64], seed: int
) -> NDArray[np.float64]:
    """Return the probabilities `(N, C)` that each text gets from classifiers fitted on the other folds."""
    classes = len(dataset.class_names)
    labels = torch.from_numpy(targets.astype(np.float32) if targets.ndim == 2 else targets)
    loss = functional.binary_cross_entropy_with_logits if targets.ndim == 2 else functional.cross_entropy
    probs = np.zeros((len(dataset), classes))
    for fold in range(int(folds.max()) + 1):
        held_out, rest = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        part = vectors[rest], labels[rest]
        fit = fit_logistic(*part, part, classes, loss, strengths=(STRENGTH,))
        from_vectors = probabilities(fit.logits(vectors[held_out]).numpy(), dataset.task)
        predict = fit_tfidf([dataset.texts[i] for i in rest], targets[rest], classes, seed)
        probs[held_out] = (from_vectors + predict([dataset.texts[i] for i in held_out])) / 2
    return probs


def judge_labels(
    targets: NDArray[np.int64], probs: NDArray[np.float64], judged: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.int64]]:
    """Rate labels by out-of-fold probabilities.

    Args:
        targets: `(N,)` class ids, or `(N, C)` zeros and ones if multi-label.
        probs: `(N, C)`.
        judged: `(C,)`, the classes whose labels can be judged.

    Returns:
        The quality of each example's labels, `(N,)`, NaN for examples of the other classes; whether they are probably
        wrong, `(N,)`; and the labels that they should be, like `targets`.
    """
    if targets.ndim == 2:
        return _judge_label_sets(targets, probs, judged)
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    quality, wrong = np.full(len(targets), np.nan), np.zeros(len(targets), dtype=np.bool_)
    suggested = targets.copy()
    classes = np.flatnonzero(judged)
    rows = np.flatnonzero(judged[targets])
    labels = np.searchsorted(classes, targets[rows])
    shares = probs[np.ix_(rows, classes)]
    shares = shares / np.maximum(shares.sum(axis=1, keepdims=True), 1e-12)
    quality[rows] = get_label_quality_scores(labels, shares)
    wrong[rows] = find_label_issues(labels, shares, n_jobs=1)
    suggested[rows] = classes[shares.argmax(axis=1)]
    return quality, wrong, suggested


def _judge_label_sets(
    targets: NDArray[np.int64], probs: NDArray[np.float64], judged: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.int64]]:
    from cleanlab.multilabel_classification.filter import find_multilabel_issues_per_class
    from cleanlab.multilabel_classification.rank import get_label_quality_scores

    classes = np.flatnonzero(judged)
    labels = [np.flatnonzero(row).tolist() for row in targets[:, classes]]
    quality = np.asarray(get_label_quality_scores(labels, probs[:, classes]), dtype=np.float64)
    issues = find_multilabel_issues_per_class(labels, probs[:, classes], n_jobs=1)  # (N, K)
    suggested = targets.copy()
    suggested[:, classes] ^= issues
    return quality, np.asarray(issues.any(axis=1)), suggested
