"""Which parameters a run trains."""

import re
from typing import Any

from torch import nn

from finetext.errors import UsageError, closest
from finetext.models.adapters import adapt
from finetext.models.config import ModelConfig
from finetext.models.model import Model

MODES = ("head", "last-block", "last-2-blocks", "all", "lora", "gradual")
_BLOCKS = re.compile(r"last-(\d+)-blocks?")


def trained_blocks(mode: str, depth: int, epoch: int = 0) -> int:
    """Return how many of the last blocks a mode trains in an epoch (from 0); all of them for `all`.

    Raises:
        UsageError: There is no such mode, or the model has fewer blocks.
    """
    if mode in ("head", "lora"):
        return 0
    counts = {"last-block": min(1, depth), "gradual": min(depth, 1 + epoch), "all": depth}
    if mode in counts:
        return counts[mode]
    match = _BLOCKS.fullmatch(mode)
    if match is None or int(match[1]) < 1:
        raise UsageError(
            "`trainable` must be head, last-block, last-N-blocks, all, lora or gradual, "
            f"not {mode!r}.{closest(mode, MODES)}"
        )
    if depth and int(match[1]) > depth:
        raise UsageError(
            f"`trainable` {mode}: the model has {depth} blocks. Use --trainable all, or fewer blocks."
        )
    return int(match[1])


def set_trainable(model: Model, config: ModelConfig, epoch: int = 0) -> None:
    """Let the parameters of a mode require gradients, and no others.

    Trained are the last blocks, what runs after them (final norm, pooler) and the head; with `head` the head
    and the pooler alone; with `lora` the adapters, which are put in at the first call, and the head; with
    `all`, or for a model whose blocks cannot be told apart, everything.

    Args:
        model: The model.
        config: Its options.
        epoch: The epoch that begins, from 0; `gradual` opens one more block from the top in each.
    """
    mode, structure = config.trainable, model.structure
    blocks = trained_blocks(mode, structure.depth, epoch)
    if mode == "lora" and not hasattr(model.network, "peft_settings"):
        adapt(model, config)
    everything = mode == "all" or (not structure.layers and mode not in ("head", "lora"))
    top = structure.after if blocks else structure.head
    last = tuple(f"{name}." for name in structure.layer_names[structure.depth - blocks :])
    for name, parameter in model.network.named_parameters():
        adapter = mode == "lora" and "lora_" in name
        parameter.requires_grad_(everything or adapter or name in top or name.startswith(last))


def trained_parameters(model: Model, config: ModelConfig, epochs: int) -> dict[str, nn.Parameter]:
    """Return every parameter that is trained at some time of a run, by name."""
    set_trainable(model, config, epochs - 1)
    parameters: dict[str, Any] = {n: p for n, p in model.network.named_parameters() if p.requires_grad}
    set_trainable(model, config, 0)
    return parameters
