"""What the machine offers: devices, arithmetic, cores."""

import ctypes
import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from finetext.errors import UsageError

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # of malloc.h
_KEPT_BYTES = 1 << 28
_MAPPED_BYTES = 1 << 24
"""From this size on a tensor has pages of its own, which go back when it is freed. In the heap, large tensors of
changing sizes leave holes that small ones then split. The gradients of a GPT-2 layer (9 MB) stay in the heap."""


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


def computes_bf16_fast(device: torch.device) -> bool:
    """Tell whether products in bfloat16 are faster than in float32: AMX or AVX512-BF16, or a GPU that has it."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def prepare_cpu() -> None:
    """Set the threads of the process and how its allocator keeps freed memory; for programs, not for libraries.

    Without the latter, glibc hands each large tensor back to the system when it is freed, and asking for it anew
    costs more than filling it (20 ms against 0.2 ms for the gradients of a GPT-2 layer, measured).
    """
    torch.set_num_threads(usable_threads())
    libc = _libc()
    if libc is not None and hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_THRESHOLD, _MAPPED_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        libc.mallopt(_M_ARENA_MAX, 1)  # shared by all workers


class HeapTrimmer:
    """Gives freed memory back to the system when a process has grown by `growth` bytes.

    Tensors of changing sizes leave holes in the heap, which keeps what was freed (docs/log.md, 2026-11-28). It does
    nothing except on Linux with glibc.
    """

    def __init__(self, growth: int = 1 << 29) -> None:
        self._growth, self._limit = growth, 0
        self._libc = _libc()
        if self._libc is not None and not hasattr(self._libc, "malloc_trim"):
            self._libc = None

    def __call__(self) -> None:
        """Look, in some microseconds, and trim if it has grown."""
        if self._libc is None or _own_bytes() <= self._limit:
            return
        self._libc.malloc_trim(0)
        self._limit = _own_bytes() + self._growth


def _libc() -> Any:
    return ctypes.CDLL(None) if sys.platform == "linux" else None


def _own_bytes() -> int:
    """Return the resident memory of this process without files that it has mapped."""
    _, resident, shared, *_ = Path("/proc/self/statm").read_text(encoding="ascii").split()
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")


def usable_threads() -> int:
    """Return how many threads this one may compute with: not more than were asked for, nor than there are cores."""
    return min(torch.get_num_threads(), usable_cores())


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
    """Return how many tokens a batch that only runs forward should hold."""
    return 16384 if device.type == "cuda" else 2048
