"""Reading, writing, overriding and checking a configuration.

The order of precedence is default < file < flag or keyword argument. All mistakes are reported together.
"""

import dataclasses
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from finetext import files
from finetext.errors import UsageError, closest
from finetext.training.config import TrainConfig


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
        UsageError: The file is missing, is no TOML, or holds unknown tables, keys or values.
    """
    document = files.read_toml(path, "configuration file")
    return override(TrainConfig(), dict(options_in(document, path)), where=f"{path}: ")


def options_in(document: Mapping[str, Any], path: Path) -> Iterator[tuple[str, Any]]:
    """Yield the options in the tables `[data]`, `[model]` and `[train]` of a parsed TOML file.

    Raises:
        UsageError: It holds other tables or keys.
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


def conform(value: Any, kind: Any) -> Any:
    """Return `value` as the type `kind` of an option.

    Raises:
        ValueError: It is of another type; the message says which one it must be.
    """
    origin = get_origin(kind)
    if origin is Literal:
        if value not in get_args(kind):
            raise ValueError(f"must be one of {', '.join(map(str, get_args(kind)))}")
        return value
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        return _conform_to_any(value, [part for part in get_args(kind) if part is not type(None)])
    if origin is tuple:
        if isinstance(value, str) or not isinstance(value, (list, tuple)):
            raise ValueError("must be a list")
        return tuple(conform(item, get_args(kind)[0]) for item in value)
    if origin is dict:
        if not isinstance(value, dict):
            raise ValueError("must be a table of names and values")
        return {str(key): conform(item, get_args(kind)[1]) for key, item in value.items()}
    return _conform_plain(value, kind)


def _conform_to_any(value: Any, kinds: list[Any]) -> Any:
    problems = []
    for kind in kinds:
        try:
            return conform(value, kind)
        except ValueError as error:
            problems.append(str(error))
    raise ValueError(" or ".join(problems))


def _conform_plain(value: Any, kind: type) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is str and isinstance(value, Path):
        return str(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
        raise ValueError(f"must be {names[kind]}")
    return value


def write_config(config: TrainConfig, path: Path) -> None:
    """Write every option that has a value as TOML; `read_config` gives the same configuration back."""
    import tomli_w

    document = {
        table: {key: value for key, value in content.items() if value is not None and value != {}}
        for table, content in dataclasses.asdict(config).items()
    }
    files.write_text(path, tomli_w.dumps(document))


def _share(value: float) -> bool:
    return 0 < value < 1


_RULES: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("validation", _share, "must lie between 0 and 1"),
    ("test", _share, "must lie between 0 and 1"),
    ("limit", lambda n: n is None or n > 0, "must be above 0"),
    ("depth", lambda n: n is None or n == "auto" or n >= 1, "must be at least 1, or auto"),
    ("lora_rank", lambda n: n >= 1, "must be at least 1"),
    ("lora_alpha", lambda x: x > 0, "must be above 0"),
    ("lora_dropout", lambda x: 0 <= x < 1, "must be at least 0 and below 1"),
    ("dropout", lambda x: x is None or 0 <= x < 1, "must be at least 0 and below 1"),
    ("max_length", lambda n: n is None or n >= 4, "must be at least 4"),
    ("epochs", lambda n: n is None or n >= 1, "must be at least 1"),
    ("batch_size", lambda n: n >= 1, "must be at least 1"),
    ("gradient_accumulation", lambda n: n >= 1, "must be at least 1"),
    ("learning_rate", lambda x: x is None or 0 < x < 10, "must be above 0 and below 10"),
    ("warmup", lambda x: x >= 0, "must not be negative"),
    ("weight_decay", lambda x: x >= 0, "must not be negative"),
    ("label_smoothing", lambda x: 0 <= x < 1, "must be at least 0 and below 1"),
    ("max_gradient_norm", lambda x: x >= 0, "must not be negative"),
    ("seed", lambda n: 0 <= n < 2**32, "must lie between 0 and 4294967295"),
    ("patience", lambda n: n is None or n >= 1, "must be at least 1"),
    ("eval_every", lambda n: n is None or n >= 1, "must be at least 1"),
    ("save_every", lambda n: n is None or n >= 1, "must be at least 1"),
    ("abstain_below", lambda x: x is None or 0 < x < 1, "must lie between 0 and 1"),
    ("folds", lambda n: n is None or n >= 2, "must be at least 2"),
    ("class_weights", lambda w: all(x > 0 for x in w.values()), "must all be above 0"),
)


def check_config(config: TrainConfig) -> None:
    """Check what types alone cannot: ranges, and options that contradict each other.

    Raises:
        UsageError: With every problem found.
    """
    values = {name: getattr(getattr(config, table), name) for name, (table, _) in option_types().items()}
    problems = [
        f"`{name}` {demand}, not {values[name]}." for name, holds, demand in _RULES if not holds(values[name])
    ]
    if config.train.cache_limit is not None:
        try:
            files.parse_size(config.train.cache_limit)
        except UsageError as error:
            problems.append(f"`cache_limit`: {error}")
    if config.decision.threshold is not None:
        from finetext.evaluation import parse_criterion

        try:
            parse_criterion(config.decision.threshold)
        except UsageError as error:
            problems.append(str(error))
    if config.data.validation + config.data.test >= 1:
        problems.append("`validation` and `test` together must leave something to train on (below 1).")
    if config.data.class_weights and config.data.balance != "weights":
        problems.append("`class_weights` need `balance = weights` (--balance weights).")
    if config.model.keep_adapter and config.model.trainable != "lora":
        problems.append("`keep_adapter` needs `trainable = lora` (--trainable lora).")
    if config.model.keep_adapter and config.decision.calibrate:
        problems.append("`calibrate` changes the merged model alone: leave out `keep_adapter`.")
    if problems:
        raise UsageError(" ".join(problems))
