"""Predictions as the server answers them, made of probabilities."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetext.decision import confidence, decide
from finetext.inference import Classifier


def ranked(class_names: tuple[str, ...], values: NDArray[np.float32], top_k: int | None = None) -> list[Any]:
    """Return `{"label", "score"}` of the highest values, the highest first."""
    order = np.argsort(-values, kind="stable")[:top_k]
    return [{"label": class_names[i], "score": float(values[i])} for i in order]


def prediction(classifier: Classifier, probs: NDArray[np.float32], top_k: int | None) -> dict[str, Any]:
    """Return what the model's saved decision rule makes of a text's probabilities `(C,)`."""
    names = classifier.class_names
    labels = classifier.decide(probs)
    if classifier.task == "multi-label":
        chosen = decide(probs[None], classifier.task, classifier.decision)[0].astype(bool)
        best = int(np.argmax(np.where(chosen, probs, -1))) if chosen.any() else None
        label = None if best is None else names[best]
        score = float(probs.max() if best is None else probs[best])
    else:
        label = labels[0] if labels else None
        score = float(confidence(probs[None], classifier.task, classifier.decision)[0])
    return {"label": label, "score": score, "labels": list(labels), "scores": ranked(names, probs, top_k)}
