"""Temperature scaling (Guo et al., 2017): one number that calibrates the confidence of probabilities."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_expit, log_softmax, softmax

from finetext.evaluation.metrics import Probs, Targets

LOWEST, HIGHEST = 0.05, 20.0
"""The search range; a temperature outside it means that the texts are all right, or uninformative."""


def fit_temperature(logits: NDArray[np.floating[Any]], targets: Targets) -> float:
    """Return the temperature to divide logits by that minimises their log loss.

    It is 1 where all texts are right: their log loss then falls with the temperature and has no minimum.

    Args:
        logits: `(N, C)`, of texts that the model was not trained on.
        targets: `(N,)` class ids, or `(N, C)` zeros and ones if multi-label.
    """
    logits = logits.astype(np.float64)
    predicted = logits > 0 if targets.ndim == 2 else logits.argmax(axis=1)
    if (predicted == targets).all():
        return 1.0

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        if targets.ndim == 2:
            return float(-(targets * log_expit(scaled) + (1 - targets) * log_expit(-scaled)).mean())
        return float(-log_softmax(scaled, axis=1)[np.arange(len(targets)), targets].mean())

    best = minimize_scalar(loss, bounds=(np.log(LOWEST), np.log(HIGHEST)), method="bounded")
    return float(np.exp(best.x))


def scaled_probabilities(logits: NDArray[np.floating[Any]], temperature: float, task: str) -> Probs:
    """Return the `(N, C)` probabilities of logits divided by a temperature."""
    scaled = logits.astype(np.float64) / temperature
    return np.asarray(expit(scaled) if task == "multi-label" else softmax(scaled, axis=1))
