"""Markdown tables, a one-line description of the machine, and writing both into the README."""

import os
import platform
import re
from collections.abc import Sequence
from pathlib import Path

import torch


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table with all columns but the first right-aligned."""
    lines = [f"| {' | '.join(header)} |", f"|---|{'---:|' * (len(header) - 1)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines)


def machine() -> str:
    """Describe the cores, processor, matrix units and torch version in one line."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        model_name = re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text())
        processor = model_name[1].strip() if model_name else processor
    amx = "AMX" if torch.cpu._is_amx_tile_supported() else "no AMX"
    bf16 = "AVX512-BF16" if torch.cpu._is_avx512_bf16_supported() else "no AVX512-BF16"
    graphics = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} cores {processor} ({bf16}, {amx}){graphics}, torch {torch.__version__}"


def gigabytes(size: float) -> str:
    """Return bytes as GB with one decimal."""
    return f"{size / 1e9:.1f} GB"


def write_section(path: Path, name: str, text: str) -> None:
    """Replace the text between a section's markers, which must exist."""
    content = path.read_text(encoding="utf-8")
    start, end = f"<!-- benchmark: {name} -->", f"<!-- end of benchmark: {name} -->"
    if start not in content or end not in content:
        raise SystemExit(f"{path}: no place for the benchmark `{name}` ({start} … {end})")
    before, after = content.split(start)[0], content.split(end)[1]
    path.write_text(f"{before}{start}\n{text}\n{end}{after}", encoding="utf-8")
