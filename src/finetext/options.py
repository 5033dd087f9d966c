"""How an option is declared: a field of a frozen dataclass with its default, its bounds, and a docstring under it.

Flags, `--help`, the TOML file, the documentation and the library call are all made from those fields. What one field
cannot say, such as two options that exclude each other, the dataclass says in a method `problems`.
"""

import dataclasses
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from cyclopts import Parameter as Parameter

from finetext.errors import UsageError

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


@dataclass(frozen=True)
class Bounds:
    """The bounds of a number, or of the values of a table of numbers; None and text are not bounded."""

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None

    def __contains__(self, value: Any) -> bool:
        numbers = value.values() if isinstance(value, dict) else [value]
        return all(
            (self.at_least is None or number >= self.at_least)
            and (self.above is None or number > self.above)
            and (self.at_most is None or number <= self.at_most)
            and (self.below is None or number < self.below)
            for number in numbers
            if isinstance(number, int | float)
        )

    def __str__(self) -> str:
        bounds = dataclasses.asdict(self).items()
        return " and ".join(
            f"{name.replace('_', ' ')} {bound}" for name, bound in bounds if bound is not None
        )


AtLeast0, AtLeast1, Above0 = Bounds(at_least=0), Bounds(at_least=1), Bounds(above=0)
Share = Bounds(above=0, below=1)
Rate = Bounds(at_least=0, below=1)


def fields_with_values(config: Any) -> Iterator[tuple[str, Any]]:
    """Yield the name and value of each leaf field of a nested dataclass, depth first."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from fields_with_values(value)
        else:
            yield field.name, value


def check_options(config: Any, *, as_flags: bool = False) -> None:
    """Check what types alone cannot: bounds, and options that contradict each other.

    Args:
        config: A dataclass of options, or of such dataclasses.
        as_flags: Name an option `--max-texts` in the message, not `max_texts` as in a file or a library call.

    Raises:
        UsageError: With every problem in it.
    """
    if problems := list(_problems(config, as_flags)):
        raise UsageError(" ".join(problems))


def _problems(config: Any, as_flags: bool) -> Iterator[str]:
    for name, kind in get_type_hints(type(config), include_extras=True).items():
        value = getattr(config, name)
        if dataclasses.is_dataclass(value):
            yield from _problems(value, as_flags)
        for bounds in get_args(kind)[1:] if get_origin(kind) is Annotated else ():
            if isinstance(bounds, Bounds) and value not in bounds:
                option = f"--{name.replace('_', '-')}" if as_flags else f"`{name}`"
                yield f"{option} must be {bounds}, not {value}."
    if hasattr(config, "problems"):
        yield from config.problems()


def conform(value: Any, kind: Any) -> Any:
    """Return `value` as the type `kind` of an option: a whole number is a number too, a list a tuple, a path a text.

    Raises:
        ValueError: It is of another type; the message says which one it must be.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return conform(value, arguments[0])
    if origin in (types.UnionType, typing.Union):
        for member in arguments:
            try:
                return conform(value, member)
            except ValueError:
                continue
    elif origin is Literal and value in arguments:
        return value
    elif origin is tuple and isinstance(value, list | tuple):
        return tuple(conform(item, arguments[0]) for item in value)
    elif origin is dict and isinstance(value, dict):
        return {str(key): conform(item, arguments[1]) for key, item in value.items()}
    elif (type(value), kind) in ((int, float), (type(Path()), str)):
        return kind(value)
    elif origin is None and isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    raise ValueError(f"must be {_describe(kind)}")


def _describe(kind: Any) -> str:
    origin, members = get_origin(kind), [member for member in get_args(kind) if member is not type(None)]
    if origin is Annotated:
        return _describe(members[0])
    if origin is Literal:
        return f"one of {', '.join(map(str, members))}"
    if origin in (types.UnionType, typing.Union):
        return " or ".join(map(_describe, members))
    names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
    return names.get(kind) or ("a list" if origin is tuple else "a table of names and values")
