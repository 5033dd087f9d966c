"""The TOML file of a sweep: the options that all trials share, and what is tried."""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_type_hints

from finetext import files
from finetext.errors import UsageError, closest
from finetext.experiments.sweep_plan import Dimension, Row, SweepOptions, SweepPlan, describe_options
from finetext.options import check_options, conform, fields_with_values
from finetext.training import TrainConfig, options_in, override

MAX_ROWS = 10_000
TRIED = ("grid", "rows", "space")


def read_sweep(path: Path, source: str | None = None) -> SweepPlan:
    """Read a TOML file with the tables `[data]`, `[model]`, `[train]` and `[sweep]`.

    Args:
        path: The file.
        source: The data, if not that of the file.

    Raises:
        UsageError: The file cannot be read, or holds unknown tables, keys or values.
    """
    document = files.read_toml(path, "sweep file")
    sweep = document.pop("sweep", None)
    options = dict(options_in(document, path)) | ({} if source is None else {"source": source})
    try:
        if not isinstance(sweep, dict):
            raise UsageError("has no table [sweep]. Say there what to try, such as [sweep.grid].")
        return dataclasses.replace(_read_plan(sweep, options), name=path.stem)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


def _read_plan(sweep: Mapping[str, Any], common: dict[str, Any]) -> SweepPlan:
    tried = {name: sweep[name] for name in TRIED if name in sweep}
    options = _read_options({name: sweep[name] for name in sweep if name not in tried})
    if options.metric is not None:
        if common.setdefault("metric", options.metric) != options.metric:
            raise UsageError(
                f"`metric` is {options.metric} in [sweep] and {common['metric']} in [train]: leave one out."
            )
    rows = (*_listed_rows(tried.get("rows", [])), *_combinations(tried.get("grid", {})))
    plan = SweepPlan(
        override(TrainConfig(), common), options, rows, dict(_dimensions(tried.get("space", {})))
    )
    _check(plan, tried)
    return plan


def _read_options(values: Mapping[str, Any]) -> SweepOptions:
    types = get_type_hints(SweepOptions)
    options: dict[str, Any] = {}
    problems = []
    for name, value in values.items():
        if name not in types:
            problems.append(f"unknown key `{name}` in [sweep].{closest(name, [*types, *TRIED])}")
            continue
        try:
            options[name] = conform(value, types[name])
        except ValueError as error:
            problems.append(f"`{name}` in [sweep] {error}, not {value!r}.")
    if problems:
        raise UsageError(" ".join(problems))
    checked = SweepOptions(**options)
    check_options(checked)
    return checked


def _conform(options: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return options of a training, with values of their types."""
    if "metric" in options:
        raise UsageError(f"`metric` in {where}: one metric decides over all trials; set it in [sweep].")
    values = dict(fields_with_values(override(TrainConfig(), options, f"{where}: ")))
    return {name: values[name] for name in options}


def _conform_each(name: str, values: Iterable[Any], where: str) -> list[Any]:
    return [_conform({name: value}, where)[name] for value in values]


def _listed_rows(rows: Any) -> Iterator[Row]:
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UsageError("write each row as [[sweep.rows]].")
    for number, row in enumerate(rows, 1):
        name = row.get("name", f"row {number}")
        if not isinstance(name, str):
            raise UsageError(f"`name` in row {number} must be a text, not {name!r}.")
        options = {key: value for key, value in row.items() if key != "name"}
        yield Row(name, _conform(options, f"the row {name!r}"))


def _combinations(grid: Any) -> Iterator[Row]:
    """Yield every combination of a grid's values, and at most one more than are allowed."""
    if not isinstance(grid, dict):
        raise UsageError("[sweep.grid] must be a table of options and lists.")
    axes = {}
    for key, values in grid.items():
        if not isinstance(values, list) or not values:
            raise UsageError(f"`{key}` in [sweep.grid] must be a list of values, not {values!r}.")
        axes[key] = _conform_each(key, values, "[sweep.grid]")
    combinations = itertools.product(*axes.values()) if axes else ()
    for values in itertools.islice(combinations, MAX_ROWS + 1):
        options = dict(zip(axes, values, strict=True))
        yield Row(describe_options(options), options)


def _dimensions(space: Any) -> Iterator[tuple[str, Dimension]]:
    where = "[sweep.space]"
    if not isinstance(space, dict):
        raise UsageError(f"{where} must be a table of options.")
    for name, choice in space.items():
        if isinstance(choice, list):
            if not choice or any(isinstance(value, (list, dict)) for value in choice):
                raise UsageError(f"`{name}` in {where} must be a list of plain values.")
            yield name, Dimension(choices=tuple(_conform_each(name, choice, where)))
        elif isinstance(choice, dict):
            yield name, _range(name, choice)
        else:
            raise UsageError(
                f"`{name}` in {where} must be a list of values or {{low = …, high = …, log = true}}."
            )


def _range(name: str, limits: Mapping[str, Any]) -> Dimension:
    where = f"`{name}` in [sweep.space]"
    keys = ("low", "high", "log")
    unknown = next((key for key in limits if key not in keys), None)
    if unknown is not None:
        raise UsageError(f"{where} has no `{unknown}`.{closest(unknown, keys)}")
    low, high, log = limits.get("low"), limits.get("high"), limits.get("log", False)
    if type(low) not in (int, float) or type(high) not in (int, float) or not isinstance(log, bool):
        raise UsageError(f"{where} needs numbers `low` and `high`, and `log` true or false.")
    low, high = _conform_each(name, (low, high), "[sweep.space]")
    if not low < high or (log and low <= 0):
        raise UsageError(f"{where}: `low` must lie below `high`, and above 0 with `log`.")
    return Dimension(low=low, high=high, log=log, whole=isinstance(low, int) and isinstance(high, int))


def _check(plan: SweepPlan, tried: Mapping[str, Any]) -> None:
    """Refuse a plan that contradicts itself, or with options that no training could have."""
    grid = plan.options.method == "grid"
    if not plan.config.data.source:
        raise UsageError("no data: name it in the command, or as `source` in [data].")
    if grid and "space" in tried:
        raise UsageError('[sweep.space] is for method = "tpe"; a grid is tried by [sweep.grid].')
    if not grid and tried.keys() & {"grid", "rows"}:
        raise UsageError('[sweep.grid] and [[sweep.rows]] are for method = "grid".')
    if not (plan.rows or plan.space):
        table = "[sweep.grid] or [[sweep.rows]]" if grid else "[sweep.space]"
        raise UsageError(f"nothing to try. Write {table}.")
    if len(plan.rows) > MAX_ROWS:
        raise UsageError(f"the grid has more than {MAX_ROWS:,} combinations. Search with tpe instead.")
    for name, count in Counter(row.name for row in plan.rows).items():
        if count > 1:
            raise UsageError(f"two rows are named {name!r}. Give each a name of its own.")
    check_options(plan.config)
    _check_rows(plan)


def _check_rows(plan: SweepPlan) -> None:
    """Check every row of a grid; of a search each choice and each end of a range, alone."""
    rows = plan.rows or [
        Row(f"`{name}` in [sweep.space]", {name: value})
        for name, dimension in plan.space.items()
        for value in dimension.choices or (dimension.low, dimension.high)
    ]
    problems = []
    for row in rows:
        try:
            check_options(override(plan.config, row.options))
        except UsageError as error:
            problems.append(f"{row.name}: {error}")
    if problems:
        more = f" … and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise UsageError(" ".join(problems[:5]) + more)
