"""Optimizers, schedules and gradient clipping by the names that the configuration uses."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

SGD_MOMENTUM = 0.9
LARGE_GRADIENT = 100_000
"""Elements from which on computing the norm of a gradient is worth several threads."""


def resolve_optimizer(name: str, device: torch.device) -> tuple[str, str | None]:
    """Return the optimizer that can be used on a device, and a notice if it is not the requested one."""
    if name != "adamw-8bit":
        return name, None
    if device.type != "cuda":
        return "adamw", "adamw-8bit needs a CUDA GPU; using adamw."
    try:
        import bitsandbytes  # noqa: F401
    except ImportError:
        return "adamw", "adamw-8bit needs `pip install bitsandbytes`; using adamw."
    return name, None


def make_optimizer(
    parameters: Iterable[nn.Parameter], name: str, learning_rate: float, weight_decay: float
) -> torch.optim.Optimizer:
    """Return the optimizer over `parameters`.

    Weight decay applies to matrices alone: biases and the scales of norms, which have one dimension, have
    none (Loshchilov and Hutter, 2019, decay weights; Trainer leaves out the same tensors).

    Args:
        parameters: Everything that is trained in any epoch.
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

        return Adafactor(groups, lr=learning_rate, scale_parameter=False, relative_step=False)  # type: ignore[no-any-return]
    if name == "adamw-8bit":
        from bitsandbytes.optim import AdamW8bit

        return AdamW8bit(groups, lr=learning_rate)  # type: ignore[no-any-return]
    adamw = torch.optim.AdamW(groups, lr=learning_rate, fused=True)
    adamw.register_step_post_hook(_forget_scale)
    return adamw


def warmup_steps(warmup: float, total_steps: int) -> int:
    """Return the length of the warm-up in optimizer steps; a `warmup` below 1 is a share of all steps."""
    return round(warmup * total_steps) if warmup < 1 else int(warmup)


def make_schedule(optimizer: torch.optim.Optimizer, name: str, warmup: int, total_steps: int) -> Any:
    """Return the learning-rate schedule, to be stepped once per optimizer step.

    Args:
        optimizer: The optimizer.
        name: linear, cosine or constant.
        warmup: Optimizer steps over which the rate rises from zero.
        total_steps: Optimizer steps of the whole run.
    """
    from transformers import get_scheduler

    name = {"constant": "constant_with_warmup"}.get(name, name)
    return get_scheduler(name, optimizer, warmup, total_steps)


def clip_gradients(optimizer: torch.optim.Optimizer, limit: float) -> float:
    """Scale the gradients down to a total norm of at most `limit`, and return the norm before that.

    Args:
        optimizer: One from `make_optimizer`.
        limit: Largest norm; 0 only measures it.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    gradients = [p.grad for p in parameters if p.grad is not None]
    if gradients[0].device.type == "cpu":  # where reading a number costs less than a product of small tensors
        value = math.hypot(*map(_norm, gradients))
        norm = torch.tensor(value)
    else:
        norm = torch.nn.utils.get_total_norm(gradients)
        value = float(norm)
    if limit and math.isfinite(value) and value > limit:  # otherwise the gradients need not be written
        if optimizer.defaults.get("fused"):
            # The fused kernel divides the gradients by it as it reads them, which saves a pass over them.
            optimizer.grad_scale = norm / limit  # type: ignore[attr-defined]
        else:
            torch.nn.utils.clip_grads_with_norm_(parameters, limit, norm)
    return value


def _forget_scale(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    vars(optimizer).pop("grad_scale", None)


def _norm(gradient: Tensor) -> float:
    if gradient.numel() >= LARGE_GRADIENT:  # threads share rows, but not a reduction to one number
        gradient = torch.linalg.vector_norm(gradient, dim=-1)
    return float(torch.linalg.vector_norm(gradient))
