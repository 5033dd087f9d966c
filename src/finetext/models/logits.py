"""Logits in bulk: batches filled to a token budget, the order restored."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from finetext.cache import Inputs
from finetext.engine import Encoded, evaluating, run_concurrently
from finetext.models.model import Model


def predict_logits(
    model: Model,
    texts: Sequence[str] | Sequence[Encoded] | Inputs,
    *,
    max_tokens: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> NDArray[np.float32]:
    """Return the logits of many texts in their order.

    The windows of a long text go through the model one by one, so that no text is too long for the budget.

    Args:
        model: The model; it is put into evaluation mode and back.
        texts: Texts, texts already encoded by the model, or those with their stored features.
        max_tokens: Budget of what runs at a time; by default what suits the device.
        progress: Called after each batch with the number of texts that are done with it.

    Returns:
        `(N, C)` float32.
    """
    if not len(texts):
        return np.zeros((0, len(model.class_names)), dtype=np.float32)
    if isinstance(texts, Inputs):
        inputs = texts
    else:
        inputs = model.inputs(model.encode(texts) if isinstance(texts[0], str) else texts)  # type: ignore[arg-type]
    owners = np.repeat(np.arange(len(inputs)), [len(text) for text in inputs.encoded])
    left = np.bincount(owners, minlength=len(inputs))
    windows = inputs.windows()
    logits = np.empty((len(windows), len(model.class_names)), dtype=np.float32)
    with torch.inference_mode(), evaluating(model.network):
        batches = model.batches(windows, max_tokens)
        macs = model.macs_per_token(windows)
        costs = [macs * sum(map(windows.length, chosen)) for chosen in batches]

        def run(chosen: list[int]) -> Tensor:
            return model.logits(windows.batch(chosen).to(model.device))

        outputs = run_concurrently(run, batches, costs, model.threads)
        for chosen, output in zip(batches, outputs, strict=True):
            logits[chosen] = output.cpu().numpy()
            if progress is not None:
                np.subtract.at(left, owners[chosen], 1)
                progress(int((left[np.unique(owners[chosen])] == 0).sum()))
    return join_windows(logits, owners, model.settings.window_pooling)


def join_windows(logits: NDArray[np.float32], owners: NDArray[np.int64], how: str) -> NDArray[np.float32]:
    """Turn the values of windows `(W, C)` into those of the texts that own them `(N, C)`, by mean or max."""
    starts = np.flatnonzero(np.diff(owners, prepend=-1))
    if len(starts) == len(logits):
        return logits
    if how == "max":
        return np.maximum.reduceat(logits, starts, axis=0)
    counts = np.diff(starts, append=len(owners))[:, None]
    return (np.add.reduceat(logits, starts, axis=0) / counts).astype(np.float32)


def probabilities(logits: NDArray[np.float32], task: str) -> NDArray[np.float32]:
    """Return the probability of each class, `(N, C)`: softmax over classes, or sigmoid of each if multi-label."""
    if task == "multi-label":
        return torch.sigmoid(torch.from_numpy(logits)).numpy()
    return torch.softmax(torch.from_numpy(logits), dim=-1).numpy()
