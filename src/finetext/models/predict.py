"""Logits in bulk: batches filled to a token budget, the order restored."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from finetext.engine import Encoded, collate, default_token_budget, token_budget_batches
from finetext.models.model import Model


def predict_logits(
    model: Model,
    texts: Sequence[str] | Sequence[Encoded],
    *,
    max_tokens: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> NDArray[np.float32]:
    """Return the logits of many texts in their order.

    Args:
        model: The model; it is put into evaluation mode and back.
        texts: Texts, or texts already encoded by the model.
        max_tokens: Budget of a batch, padding included; by default what suits the device.
        progress: Called after each batch with the number of texts in it.

    Returns:
        `(N, C)` float32.
    """
    if not texts:
        return np.zeros((0, len(model.class_names)), dtype=np.float32)
    encoded: Sequence[Encoded] = model.encode(texts) if isinstance(texts[0], str) else texts  # type: ignore[arg-type,assignment]
    lengths = [len(windows) * max(map(len, windows)) for windows in encoded]
    logits = np.empty((len(encoded), len(model.class_names)), dtype=np.float32)
    was_training = model.network.training
    model.network.eval()
    try:
        with torch.inference_mode():
            for chosen in token_budget_batches(lengths, max_tokens or default_token_budget(model.device)):
                batch = collate([encoded[i] for i in chosen], model.pad_id).to(model.device)
                logits[chosen] = model.logits(batch).cpu().numpy()
                if progress is not None:
                    progress(len(chosen))
    finally:
        model.network.train(was_training)
    return logits


def probabilities(logits: NDArray[np.float32], task: str) -> NDArray[np.float32]:
    """Return the probability of each class, `(N, C)`: softmax over classes, or sigmoid of each if multi-label."""
    if task == "multi-label":
        return torch.sigmoid(torch.from_numpy(logits)).numpy()
    return torch.softmax(torch.from_numpy(logits), dim=-1).numpy()
