"""What the machine offers: devices, arithmetic, cores."""

import math
import os
from dataclasses import dataclass
from pathlib import Path

import torch

from finetext.errors import UsageError


@dataclass(frozen=True)
class Precision:
    """The arithmetic of forward and backward.

    Attributes:
        name: fp32, tf32, bf16 or fp16: what is really used.
        notice: Why it is not what was asked for, None if it is.
    """

    name: str
    notice: str | None = None


def choose_device(name: str) -> torch.device:
    """Return the device for an option's value; `auto` takes CUDA, then Apple's GPU, then the CPU.

    Raises:
        UsageError: It is not there.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(kind for kind, there in available.items() if there)
    if not available[name]:
        raise UsageError(f"no {name} device on this machine. Use --device cpu or --device auto.")
    return torch.device(name)


def choose_precision(name: str, device: torch.device) -> Precision:
    """Return the arithmetic for an option's value on a device, and switch TF32 on or off for the process.

    `auto` is bf16 on a GPU that has it, else fp32. What the device cannot do falls back to fp32 with a notice.
    """
    chosen = _supported(name, device)
    torch.set_float32_matmul_precision("high" if chosen.name == "tf32" else "highest")
    return chosen


def _supported(name: str, device: torch.device) -> Precision:
    cuda = device.type == "cuda"
    if name == "auto":
        return Precision("bf16" if cuda and torch.cuda.is_bf16_supported() else "fp32")
    if name == "tf32" and not (cuda and torch.cuda.get_device_capability(device) >= (8, 0)):
        return Precision("fp32", "tf32 needs an NVIDIA GPU of compute capability 8.0 or more; using fp32.")
    if name == "fp16" and not cuda:
        return Precision("fp32", f"fp16 does not train on {device.type}; using fp32.")
    if name == "bf16" and cuda and not torch.cuda.is_bf16_supported():
        return Precision("fp32", "this GPU has no bf16; using fp32.")
    return Precision(name)


def usable_cores() -> int:
    """Return the number of cores that this process may really use: its affinity and its cgroup's quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = Path("/sys/fs/cgroup/cpu.max")
    if quota.is_file():
        limit, period = quota.read_text().split()
        if limit != "max":
            cores = min(cores, math.ceil(int(limit) / int(period)))
    return max(1, cores)


def default_token_budget(device: torch.device) -> int:
    """Return how many tokens, padding included, a batch that only runs forward should hold."""
    return 16384 if device.type == "cuda" else 2048
