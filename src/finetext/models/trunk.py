"""The frozen part of a model, as the feature store sees it, and a vector of it for each text."""

import hashlib
import json
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from finetext.cache import Trunk, weights_digest
from finetext.engine import Encoded, computes_bf16_fast
from finetext.models.head import head_inputs
from finetext.models.model import Model


def make_trunk(
    model: Model, cut: int, *, arithmetic: str, dtype: str, revision: str | None = None
) -> Trunk | str:
    """Cut a model and describe what lies below, or return why it cannot be cut there.

    Args:
        model: The model.
        cut: Index of the first layer that is trained; the depth if only the head is.
        arithmetic: Precision of the trunk's products: bf16 or fp32.
        dtype: Precision of what is stored: bf16 or fp32.
        revision: The Hub commit of the weights, None for a local folder.
    """
    reason = model.cut(cut)
    if reason is not None:
        return reason
    structure = model.structure
    layers = tuple(f"{name}." for name in structure.layer_names[:cut])
    names = [name for name, _ in model.network.named_parameters() if name.startswith(layers)]
    names += [name for name, _ in model.network.named_buffers()]
    names += structure.before
    if cut == structure.depth:
        names += structure.after - structure.head
    import transformers

    key = {
        "architecture": type(model.network).__name__,
        "weights": weights_digest(model.network, names),
        "revision": revision or "",
        "tokenizer": tokenizer_digest(model.tokenizer),
        "max_length": str(model.settings.max_length),
        "long_texts": model.settings.long_texts,
        "cut": str(cut),
        "pooling": model.reads,
        "arithmetic": arithmetic,
        "transformers": transformers.__version__,
    }
    return _trunk(model, key, dtype, arithmetic)


def _trunk(model: Model, key: dict[str, str], dtype: str, arithmetic: str) -> Trunk:
    if model.runner is None or not model.cut_at:
        raise ValueError("the model is not cut")
    whole = model.cut_at == model.structure.depth
    return Trunk(
        runner=model.runner,
        frozen=(model.network.base_model,) if whole else model.structure.layers[: model.cut_at],
        pad_id=model.pad_id,
        key=key,
        width=model.network.config.get_text_config().hidden_size,
        dtype=dtype,
        arithmetic=arithmetic,
        device=model.device,
        packs=model.packs(),
        threads=model.threads,
    )


def two_thirds(depth: int) -> int:
    """Return after how many of a model's layers its hidden states suit a linear classifier best.

    The upper layers have turned to the task that the model was trained for; `docs/log.md` has the figures.
    """
    return max(1, min(depth - 1, math.ceil(depth * 2 / 3)))


def mean_vectors(
    model: Model,
    encoded: Sequence[Encoded],
    cut: int,
    progress: Callable[[int], None] = lambda done: None,
    *,
    arithmetic: str | None = None,
) -> Tensor:
    """Return the mean of each text's hidden states below a cut; the layers above it do not run.

    A model that cannot be cut there gives what its output layer reads.

    Args:
        model: The model; it is whole again afterwards.
        encoded: `N` texts. Of one with several windows it is the mean over their tokens.
        cut: How many of the first layers run.
        progress: Called with the number of windows done since the last call.
        arithmetic: Precision of the products: bf16 or fp32; by default bf16 where that is fast.

    Returns:
        `(N, H)` float32.
    """
    if model.cut(cut) is not None:
        return head_inputs(model, model.inputs(encoded))
    arithmetic = arithmetic or ("bf16" if computes_bf16_fast(model.device) else "fp32")
    trunk = _trunk(model, {}, "fp32", arithmetic)
    owners = [text for text, windows in enumerate(encoded) for _ in windows]
    sums, counts = torch.zeros(len(encoded), trunk.width), torch.zeros(len(encoded), 1)
    try:
        for place, hidden in trunk.run([ids for windows in encoded for ids in windows]):
            sums[owners[place]] += hidden.float().sum(0)
            counts[owners[place]] += len(hidden)
            progress(1)
    finally:
        model.uncut()
    return sums / counts


def tokenizer_digest(tokenizer: object) -> str:
    """Return the SHA-256 of all that a tokenizer does."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    content = backend.to_str() if backend is not None else json.dumps(tokenizer.get_vocab(), sort_keys=True)  # type: ignore[attr-defined]
    return hashlib.sha256(content.encode()).hexdigest()
