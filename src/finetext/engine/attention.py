"""The attention of packed batches and of single read positions, registered with transformers' `AttentionInterface`.

What a forward pass is about (`Pass`) belongs to the thread that runs it: several threads may run one network.
"""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from finetext.engine.packing import Packing

NAME = "finetext"
"""What the attention is registered as."""


class KeysComputed(Exception):
    """The last layer has computed its keys and values; the rest of it runs for the read positions alone."""


class LayerReached(Exception):
    """The forward pass has come to the layer whose output is wanted; the rest need not run."""


@dataclass
class Pass:
    """One forward pass of a network, as its layers and its attention see it.

    Attributes:
        cut: Index of the first layer that computes; the layers below hand on `features`.
        features: The hidden states at the cut, `(W, T, H)` or packed `(1, N, H)`; None to compute every layer.
        stop_after: Index of the layer whose output is wanted; None to run to the end.
        packing: How the batch is packed; None if it is padded.
        read: The position of each text that the head reads: `(W,)`, among `T`, or among `N` in packed order. None to
            compute every position of the last layer.
        vectors: `(W, 1, H)`, pooled vectors that take the place of the backbone's output; None to run the backbone.
        hidden: The output of the layer `stop_after`.
        keys: Keys and values of the last layer, `(W | 1, heads, T | N, D)` each, once they are computed.
    """

    cut: int = 0
    features: Tensor | None = None
    stop_after: int | None = None
    packing: Packing | None = None
    read: Tensor | None = None
    vectors: Tensor | None = None
    hidden: Tensor | None = None
    keys: tuple[Tensor, Tensor] | None = None
    wants_keys: bool = False


_thread = threading.local()


def current_pass() -> Pass | None:
    """Return the pass that this thread is in, None outside of one."""
    return getattr(_thread, "current", None)


@contextlib.contextmanager
def running(this: Pass) -> Iterator[Pass]:
    """Make `this` the thread's pass for the time of the block."""
    before = current_pass()
    _thread.current = this
    try:
        yield this
    finally:
        _thread.current = before


def use_attention(network: Any) -> str | None:
    """Let a network compute its attention by `attend`; return why it cannot, or None if it does."""
    from transformers import AttentionInterface, AttentionMaskInterface

    if not network._supports_attention_backend:
        return f"{type(network).__name__} has an attention of its own, not that of transformers' AttentionInterface"
    if network.config._attn_implementation != "sdpa":
        return f"its attention is {network.config._attn_implementation}, not sdpa"
    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, make_mask)
    network.set_attn_implementation(NAME)
    return None


def attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """Compute attention as `sdpa` does, within each text of a packed batch and for the read positions alone.

    Args:
        module: The attention module.
        query: `(B, heads, Q, D)`.
        key: `(B, kv_heads, K, D)`.
        value: `(B, kv_heads, K, D)`.
        attention_mask: What `make_mask` gave.
        **kwargs: Scaling, dropout and what else `sdpa` takes.

    Returns:
        `(B, Q, heads, D)`, and None for the weights.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward as sdpa

    this = current_pass()
    if this is not None and this.wants_keys:
        this.keys = (key, value)
        raise KeysComputed
    if this is not None and this.keys is not None:
        return _attend_from_read(this, sdpa, module, query, attention_mask, kwargs), None
    if this is None or this.packing is None:
        return sdpa(module, query, key, value, attention_mask, **kwargs)  # type: ignore[no-any-return]
    return _attend_packed(this.packing, sdpa, module, (query, key, value), attention_mask, kwargs), None


def make_mask(**kwargs: Any) -> Tensor | None:
    """Make the mask that `sdpa` gets; of a packed batch the pattern `(1, 1, T, T)` of its longest text."""
    from transformers.masking_utils import sdpa_mask

    this = current_pass()
    if this is not None and this.packing is not None:
        width = this.packing.width
        kwargs |= {"batch_size": 1, "q_length": width, "kv_length": width, "attention_mask": None}
    return sdpa_mask(**kwargs)  # type: ignore[no-any-return]


def _attend_packed(
    packing: Packing,
    sdpa: Any,
    module: Any,
    tensors: tuple[Tensor, Tensor, Tensor],
    pattern: Tensor | None,
    kwargs: dict[str, Any],
) -> Tensor:
    causal = bool(getattr(module, "is_causal", True))
    rows = [tensor[0].transpose(0, 1) for tensor in tensors]  # (N, heads, D)
    outputs = []
    for place, group in enumerate(packing.groups):
        query, key, value = (group.pad(row) for row in rows)  # (B, heads, T, D)
        mask = packing.mask(place, pattern, causal, query.dtype)
        out, _ = sdpa(module, query, key, value, mask, **kwargs)  # (B, T, heads, D)
        outputs.append(group.unpad(out))
    outputs.append(rows[0][packing.groups[-1].tokens.stop :])  # what makes the row round attends to nothing
    return torch.cat(outputs).unsqueeze(0)


def _attend_from_read(
    this: Pass, sdpa: Any, module: Any, query: Tensor, mask: Tensor | None, kwargs: dict[str, Any]
) -> Tensor:
    """Let the query of each text's read position attend to the keys of its text."""
    if this.keys is None or this.read is None:
        raise ValueError("no keys have been computed")
    key, value = this.keys
    if this.packing is None:  # query (W, heads, 1, D)
        if mask is not None and mask.shape[-2] > 1:
            texts = torch.arange(len(query), device=query.device)
            mask = mask.expand(len(query), -1, -1, -1)[texts, :, this.read].unsqueeze(2)  # (W, 1, 1, T)
        return sdpa(module, query, key, value, mask, **kwargs)[0]  # type: ignore[no-any-return]
    queries = query[0].transpose(0, 1)  # (W, heads, D)
    rows = [tensor[0].transpose(0, 1) for tensor in (key, value)]  # (N, heads, D)
    positions = this.read - this.packing.starts
    outputs = []
    for group in this.packing.groups:
        key, value = (group.pad(row) for row in rows)
        group_mask = group.mask_at(mask, positions[group.texts])
        out, _ = sdpa(module, queries[group.texts].unsqueeze(2), key, value, group_mask, **kwargs)
        outputs.append(out)  # (B, 1, heads, D)
    return torch.cat(outputs).transpose(0, 1)  # (1, W, heads, D)
