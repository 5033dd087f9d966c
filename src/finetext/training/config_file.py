"""Reading, writing, overriding and checking a configuration.

The order of precedence is default < file < flag or keyword argument. All mistakes are reported together.
"""

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_type_hints

from finetext import files
from finetext.errors import UsageError, closest
from finetext.options import conform
from finetext.training.config import TrainConfig


@functools.cache
def option_types() -> dict[str, tuple[str, Any]]:
    """Return the table and the type of every option, by the option's name."""
    return {
        field.name: (section.name, get_type_hints(section.default_factory)[field.name])
        for section in dataclasses.fields(TrainConfig)
        for field in dataclasses.fields(section.default_factory)  # type: ignore[arg-type]
    }


def read_config(path: Path) -> TrainConfig:
    """Read a TOML file with the tables `[data]`, `[model]`, `[train]` and `[decision]`.

    Raises:
        UsageError: The file is missing, is not TOML, or contains unknown tables, keys or values.
    """
    document = files.read_toml(path, "configuration file")
    return override(TrainConfig(), dict(options_in(document, path)), where=f"{path}: ")


def options_in(document: Mapping[str, Any], path: Path) -> Iterator[tuple[str, Any]]:
    """Yield the options in the tables `[data]`, `[model]` and `[train]` of a parsed TOML file.

    Raises:
        UsageError: It contains other tables or keys.
    """
    known = option_types()
    tables = {table for table, _ in known.values()}
    problems = []
    for table, content in document.items():
        if table not in tables or not isinstance(content, dict):
            problems.append(f"unknown table [{table}].{closest(table, sorted(tables))}")
            continue
        here = [name for name, (home, _) in known.items() if home == table]
        for key, value in content.items():
            if key in here:
                yield key, value
            elif key in known:
                problems.append(f"`{key}` belongs in the table [{known[key][0]}], not [{table}].")
            else:
                problems.append(f"unknown option `{key}` in [{table}].{closest(key, here)}")
    if problems:
        raise UsageError(f"{path}: " + " ".join(problems))


def override(config: TrainConfig, options: Mapping[str, Any], where: str = "") -> TrainConfig:
    """Return `config` with some options replaced, given by their plain names.

    Args:
        config: The configuration to start from.
        options: Values by option name, such as `{"epochs": 3, "model": "gpt2"}`.
        where: Put before an error, to say where the options stand.

    Raises:
        UsageError: A name is unknown or a value is of the wrong kind.
    """
    known = option_types()
    problems = []
    changes: dict[str, dict[str, Any]] = {}
    for name, value in options.items():
        if name not in known:
            problems.append(f"unknown option `{name}`.{closest(name, known)}")
            continue
        table, kind = known[name]
        try:
            changes.setdefault(table, {})[name] = conform(value, kind)
        except ValueError as error:
            problems.append(f"`{name}` {error}, not {value!r}.")
    if problems:
        raise UsageError(where + " ".join(problems))
    return dataclasses.replace(
        config,
        **{table: dataclasses.replace(getattr(config, table), **new) for table, new in changes.items()},
    )


def write_config(config: TrainConfig, path: Path) -> None:
    """Write every option that has a value as TOML; `read_config` gives the same configuration back."""
    import tomli_w

    document = {
        table: {key: value for key, value in content.items() if value is not None and value != {}}
        for table, content in dataclasses.asdict(config).items()
    }
    files.write_text(path, tomli_w.dumps(document))
