"""How an option is declared: a field of a frozen dataclass, a default, and a docstring under it.

Flags, `--help`, the TOML file, the documentation and the library call are all made from those fields.
"""

import dataclasses
from collections.abc import Iterator
from typing import Annotated, Any

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


def fields_with_values(config: Any) -> Iterator[tuple[str, Any]]:
    """Yield the name and value of each leaf field of a nested dataclass, depth first."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from fields_with_values(value)
        else:
            yield field.name, value


__all__ = ["Annotated", "Flat", "LibraryOnly", "Parameter", "also", "fields_with_values", "section"]
