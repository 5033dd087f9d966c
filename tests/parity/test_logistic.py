"""Our regularised logistic regression matches scikit-learn's."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn import functional

from finetext.training import fit_logistic


def data(classes, seed=0):
    random = np.random.default_rng(seed)
    centres = random.normal(size=(classes, 6))
    labels = random.integers(0, classes, 300)
    vectors = centres[labels] + random.normal(size=(300, 6)) * np.array([1, 2, 0.5, 1, 1, 3])
    return torch.tensor(vectors, dtype=torch.float32), torch.tensor(labels)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("classes", [3, 5])
def test_the_minimum_agrees_with_scikit_learn(classes, bias):
    vectors, labels = data(classes)
    strength = 1e-2
    fit = fit_logistic(
        vectors,
        labels,
        (vectors, labels),
        classes,
        functional.cross_entropy,
        bias=bias,
        strengths=(strength,),
    )
    centre = vectors.mean(0) if bias else torch.zeros(6)
    spread = (vectors - centre).square().mean(0).sqrt()
    scaled = ((vectors - centre) / spread).numpy()
    reference = LogisticRegression(
        C=1 / (strength * len(vectors)), fit_intercept=bias, tol=1e-8, max_iter=2000
    )
    expected = reference.fit(scaled, labels.numpy()).predict_proba(scaled)
    probs = torch.softmax(fit.logits(vectors), -1).numpy()
    assert probs == pytest.approx(expected, abs=2e-3)
    assert (fit.bias is None) == (not bias)


def test_the_regularisation_with_the_lowest_validation_loss_is_chosen():
    vectors, labels = data(3)
    strengths = (10.0, 1e-1, 1e-3)
    parts = (vectors[:40], labels[:40], (vectors[40:], labels[40:]), 3, functional.cross_entropy)
    alone = {s: fit_logistic(*parts, strengths=(s,)).loss for s in strengths}
    chosen = fit_logistic(*parts, strengths=strengths)
    assert chosen.strength == min(alone, key=alone.get)
    assert chosen.loss == pytest.approx(min(alone.values()), abs=1e-3)


def test_multi_label_targets_are_fitted():
    vectors, _ = data(3)
    targets = (vectors[:, :2] > 0).float()
    fit = fit_logistic(vectors, targets, (vectors, targets), 2, functional.binary_cross_entropy_with_logits)
    assert ((fit.logits(vectors) > 0).float() == targets).float().mean() > 0.97
