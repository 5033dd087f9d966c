"""Labels as class ids."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetext.decision import LIKELIEST, Decision, decide
from finetext.errors import DataError, closest


def encode_targets(
    labels: Sequence[tuple[str, ...]], class_names: Sequence[str], task: str
) -> NDArray[np.int64]:
    """Return labels as class ids `(N,)`, or as zeros and ones `(N, C)` if the task is multi-label.

    Raises:
        DataError: A label is not among the classes.
    """
    ids = {name: index for index, name in enumerate(class_names)}
    unknown = sorted({name for names in labels for name in names} - ids.keys())
    if unknown:
        raise DataError(
            f"the labels {', '.join(map(repr, unknown[:5]))} are not among the model's classes "
            f"({', '.join(map(repr, list(class_names)[:10]))}).{closest(unknown[0], class_names)}"
        )
    if task != "multi-label":
        return np.array([ids[names[0]] for names in labels], dtype=np.int64)
    targets = np.zeros((len(labels), len(class_names)), dtype=np.int64)
    for row, names in enumerate(labels):
        targets[row, [ids[name] for name in names]] = 1
    return targets


def is_right(
    targets: NDArray[np.integer[Any]],
    probs: NDArray[np.floating[Any]],
    task: str,
    decision: Decision = LIKELIEST,
) -> NDArray[np.bool_]:
    """Return `(N,)`, whether each text's prediction is right, abstentions aside; for multi-label, all of its labels."""
    right = decide(probs, task, decision) == targets
    return np.asarray(right.all(axis=1) if task == "multi-label" else right, dtype=np.bool_)
