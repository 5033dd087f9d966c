"""Labels as the numbers that metrics compare."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetext.decision import LIKELIEST, Decision, abstains, decide
from finetext.errors import DataError, closest


def encode_targets(
    labels: Sequence[tuple[str, ...]], class_names: Sequence[str], task: str
) -> NDArray[np.int64]:
    """Return labels as class ids `(N,)`, or as zeros and ones `(N, C)` if the task is multi-label.

    Raises:
        DataError: A label is not among the classes.
    """
    ids = {name: index for index, name in enumerate(class_names)}
    unknown = sorted({label for own in labels for label in own} - ids.keys())
    if unknown:
        raise DataError(
            f"the labels {', '.join(map(repr, unknown[:5]))} are not among the model's classes "
            f"({', '.join(map(repr, list(class_names)[:10]))}).{closest(unknown[0], class_names)}"
        )
    if task != "multi-label":
        return np.array([ids[own[0]] for own in labels], dtype=np.int64)
    targets = np.zeros((len(labels), len(class_names)), dtype=np.int64)
    for row, own in enumerate(labels):
        targets[row, [ids[label] for label in own]] = 1
    return targets


def is_right(
    targets: NDArray[np.integer[Any]],
    probs: NDArray[np.floating[Any]],
    task: str,
    decision: Decision = LIKELIEST,
) -> NDArray[np.bool_]:
    """Return `(N,)`, whether each text's prediction is right, abstaining aside; for multi-label, all its labels."""
    right = decide(probs, task, decision) == targets
    return np.asarray(right.all(axis=1) if task == "multi-label" else right, dtype=np.bool_)


def coverage(
    targets: NDArray[np.integer[Any]], probs: NDArray[np.floating[Any]], task: str, decision: Decision
) -> dict[str, float | int | None]:
    """Return how many texts get a label although it may abstain, their share, and how many of the labels are right."""
    kept = ~abstains(probs, task, decision)
    right = is_right(targets, probs, task, decision)[kept]
    return {
        "coverage": float(kept.mean()),
        "accuracy": float(right.mean()) if len(right) else None,
        "texts": int(kept.sum()),
    }
