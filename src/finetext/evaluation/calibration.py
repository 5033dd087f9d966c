"""Temperature scaling: one number that makes probabilities as sure as they are right."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_expit, log_softmax, softmax

from finetext.evaluation.metrics import Probs, Targets

LOWEST, HIGHEST = 0.05, 20.0
"""Between these a temperature is sought: beyond them the validation texts are all right, or tell nothing."""


def fit_temperature(logits: NDArray[np.floating[Any]], targets: Targets) -> float:
    """Return the temperature by which logits are divided so that their log loss is least (Guo et al., 2017).

    It is 1 where all texts are right: their log loss has no least value then, it falls with the temperature.

    Args:
        logits: `(N, C)` of texts that the model did not learn from.
        targets: `(N,)` class ids, or `(N, C)` zeros and ones if multi-label.
    """
    logits = logits.astype(np.float64)
    if _all_right(logits, targets):
        return 1.0

    def loss(log_temperature: float) -> float:
        scaled = logits / np.exp(log_temperature)
        if targets.ndim == 2:
            return float(-(targets * log_expit(scaled) + (1 - targets) * log_expit(-scaled)).mean())
        return float(-log_softmax(scaled, axis=1)[np.arange(len(targets)), targets].mean())

    found = minimize_scalar(loss, bounds=(np.log(LOWEST), np.log(HIGHEST)), method="bounded")
    return float(np.exp(found.x))


def _all_right(logits: NDArray[np.floating[Any]], targets: Targets) -> bool:
    if targets.ndim == 2:
        return bool(((logits > 0) == (targets == 1)).all())
    return bool((logits.argmax(axis=1) == targets).all())


def scaled_probabilities(logits: NDArray[np.floating[Any]], temperature: float, task: str) -> Probs:
    """Return `(N, C)` probabilities of logits that are divided by a temperature."""
    scaled = logits.astype(np.float64) / temperature
    return np.asarray(expit(scaled) if task == "multi-label" else softmax(scaled, axis=1))
