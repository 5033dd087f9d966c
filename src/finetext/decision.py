"""The rule by which probabilities become labels; saved with the model, and the same wherever it is used."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Probs = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Decision:
    """How probabilities become labels.

    Attributes:
        thresholds: Binary: one number, from which on the second class is predicted. Multi-label: one a label.
            None takes the likeliest class, and every label of at least 0.5.
        abstain_below: A text whose predicted class has a lower probability gets no label; single-label only.
    """

    thresholds: tuple[float, ...] | None = None
    abstain_below: float | None = None

    def __post_init__(self) -> None:
        values = [*(self.thresholds or ()), *(() if self.abstain_below is None else (self.abstain_below,))]
        if not all(isinstance(value, (int, float)) and 0 <= value <= 1 for value in values):
            raise ValueError("thresholds must lie between 0 and 1")


LIKELIEST = Decision()


def decide(probs: Probs, task: str, decision: Decision = LIKELIEST) -> NDArray[np.int64]:
    """Return what is predicted, abstaining aside.

    Args:
        probs: `(N, C)`.
        task: binary, multi-class or multi-label.
        decision: The rule.

    Returns:
        Class ids `(N,)`; for multi-label zeros and ones `(N, C)`.
    """
    thresholds = None if decision.thresholds is None else np.asarray(decision.thresholds)
    if task == "multi-label":
        return np.asarray(probs >= (0.5 if thresholds is None else thresholds), dtype=np.int64)
    if task == "binary" and thresholds is not None:
        return np.asarray(probs[:, 1] >= thresholds[0], dtype=np.int64)
    return np.asarray(probs.argmax(axis=1), dtype=np.int64)


def confidence(probs: Probs, task: str, decision: Decision = LIKELIEST) -> Probs:
    """Return `(N,)`, the probability of the predicted class; for multi-label that of the likeliest label."""
    if task == "multi-label":
        return np.asarray(probs.max(axis=1))
    return np.asarray(probs[np.arange(len(probs)), decide(probs, task, decision)])


def abstains(probs: Probs, task: str, decision: Decision = LIKELIEST) -> NDArray[np.bool_]:
    """Return `(N,)`, whether the rule gives a text no label."""
    if decision.abstain_below is None:
        return np.zeros(len(probs), dtype=np.bool_)
    return np.asarray(confidence(probs, task, decision) < decision.abstain_below, dtype=np.bool_)
