"""Optimizers and schedules by the names that the configuration uses."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from finetext.training.config import OptimizationConfig

SGD_MOMENTUM = 0.9


def resolve_optimizer(name: str, device: torch.device) -> tuple[str, str | None]:
    """Return the optimizer that can really be used here, and a notice if it is not the wanted one."""
    if name != "adamw-8bit":
        return name, None
    if device.type != "cuda":
        return "adamw", "adamw-8bit needs a CUDA GPU; adamw takes its place."
    try:
        import bitsandbytes  # noqa: F401
    except ImportError:
        return "adamw", "adamw-8bit needs `pip install bitsandbytes`; adamw takes its place."
    return name, None


def make_optimizer(
    parameters: Iterable[nn.Parameter], name: str, learning_rate: float, weight_decay: float
) -> Any:
    """Return the optimizer over `parameters`.

    Weight decay applies to matrices alone: biases and the scales of norms, which have one dimension, have
    none (Loshchilov and Hutter, 2019, decay weights; Trainer leaves out the same tensors).

    Args:
        parameters: Everything that may be trained at some time of the run.
        name: As `resolve_optimizer` returned it.
        learning_rate: Peak rate.
        weight_decay: Decoupled decay of the matrices.
    """
    parameters = list(parameters)
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    if name == "sgd":
        return torch.optim.SGD(groups, lr=learning_rate, momentum=SGD_MOMENTUM)
    if name == "adafactor":
        from transformers import Adafactor

        return Adafactor(groups, lr=learning_rate, scale_parameter=False, relative_step=False)
    if name == "adamw-8bit":
        from bitsandbytes.optim import AdamW8bit

        return AdamW8bit(groups, lr=learning_rate)
    return torch.optim.AdamW(groups, lr=learning_rate, fused=True)


def warmup_steps(warmup: float, total_steps: int) -> int:
    """Return the length of the warm-up in optimizer steps; a `warmup` below 1 is a share of all steps."""
    return round(warmup * total_steps) if warmup < 1 else int(warmup)


def make_schedule(optimizer: Any, config: "OptimizationConfig", total_steps: int) -> Any:
    """Return the learning-rate schedule, to be stepped once an optimizer step."""
    from transformers import get_scheduler

    name = {"constant": "constant_with_warmup"}.get(config.schedule, config.schedule)
    return get_scheduler(name, optimizer, warmup_steps(config.warmup, total_steps), total_steps)
