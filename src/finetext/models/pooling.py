"""Which position the head reads, by a hook on the backbone's output.

The pooled vector takes the place of every position's hidden state, expanded without a copy, so that the
family's own head reads it wherever it looks.
"""

from typing import Any, Literal

import torch
from torch import nn

from finetext.engine import pool
from finetext.errors import ModelError
from finetext.models.structure import Structure

Pooling = Literal["native", "last", "first", "mean"]


def install_pooling(network: Any, structure: Structure, pooling: Pooling) -> None:
    """Let the network's head read as `pooling` says, in training and prediction.

    `native` needs no hook but for decoders, which look for the last token that is not the pad id: with the
    hook they read the last real token by the mask, whatever ids the text holds.

    Raises:
        ModelError: The backbone pools in a way that cannot be replaced.
    """
    how = "last" if pooling == "native" and structure.reads == "last" else pooling
    if how == "native" or how == structure.reads == "first":
        return
    if structure.reads == "pooler" and not isinstance(getattr(network.base_model, "pooler", None), nn.Module):
        raise ModelError(
            f"--pooling {pooling}: {type(network).__name__} pools inside itself. Use --pooling native."
        )

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        hidden = output[0]  # (B, T, H)
        mask = kwargs.get("attention_mask")
        if mask is None or mask.ndim != 2:
            mask = torch.ones(hidden.shape[:2], dtype=torch.long, device=hidden.device)
        pooled = pool(hidden, mask, how).unsqueeze(1).expand_as(hidden)
        if isinstance(output, tuple):
            return (pooled, *output[1:])
        output["last_hidden_state"] = pooled
        pooler = getattr(module, "pooler", None)
        if structure.reads == "pooler" and isinstance(pooler, nn.Module):
            if isinstance(pooler, nn.Linear):  # ALBERT's, that is given the one position
                output["pooler_output"] = network.base_model.pooler_activation(pooler(pooled[:, 0]))
            else:
                output["pooler_output"] = pooler(pooled)
        return output

    network.base_model.register_forward_hook(hook, with_kwargs=True)
