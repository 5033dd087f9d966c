"""How an option is declared: a field of a frozen dataclass, a default, and a docstring under it.

Flags, `--help`, the TOML file, the documentation and the library call are all made from those fields.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from cyclopts import Parameter

Flat = Parameter(name="*")
"""Marks a nested dataclass whose fields are flags without a prefix."""


def section(title: str) -> Parameter:
    """Mark a nested dataclass whose fields are flags without a prefix, under a title of their own in `--help`."""
    return Parameter(name="*", group=title)


def also(*names: str) -> Parameter:
    """Let a flag answer to further names, such as those of `transformers.Trainer`."""
    return Parameter(alias=names)


LibraryOnly = Parameter(parse=False)
"""Marks a field that is no flag: it is set by an argument of the command or by the library."""

Device = Annotated[Literal["auto", "cpu", "cuda", "mps"], Parameter(help="Where the model runs.")]


@dataclass(frozen=True)
class RuntimeOptions:
    """How a saved classifier is run."""

    device: Device = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16", "tf32"] = "fp32"
    """Floating-point format of the arithmetic."""


def fields_with_values(config: Any) -> Iterator[tuple[str, Any]]:
    """Yield the name and value of each leaf field of a nested dataclass, depth first."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from fields_with_values(value)
        else:
            yield field.name, value


__all__ = [
    "Annotated",
    "Device",
    "Flat",
    "LibraryOnly",
    "Parameter",
    "RuntimeOptions",
    "also",
    "fields_with_values",
    "section",
]
