"""The TOML file of a sweep: the options that all trials share, and what is tried."""

import dataclasses
import itertools
import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_type_hints

from finetext.errors import UsageError, closest
from finetext.metric_names import SELECTION_METRICS
from finetext.options import conform
from finetext.training import TrainConfig, check_config, override
from finetext.training.config_file import option_types, options_in

MOST_ROWS = 10_000


@dataclass(frozen=True)
class SweepOptions:
    """The table `[sweep]`."""

    method: Literal["grid", "tpe"] = "grid"
    """`grid` tries every combination of `[sweep.grid]` and every row of `[[sweep.rows]]`; `tpe` searches
    `[sweep.space]` by a tree-structured Parzen estimator."""
    trials: int = 20
    """Number of trials of a search; a grid has as many as it has rows."""
    metric: str | None = None
    """Validation metric that decides, within a trial and between trials; by default that of `[train]`."""
    seed: int = 42
    """Seed of the search; the trainings have that of `[train]`."""
    pruner: Literal["auto", "median", "none"] = "auto"
    """`median` stops a trial that after an epoch is worse than the median of those before it; `auto` does so in a
    search."""
    startup: int = 5
    """Trials before the search follows what it has seen, and before any is stopped early."""
    warmup: int = 1
    """Epochs in which no trial is stopped early."""

    @property
    def prunes(self) -> bool:
        """Whether trials are stopped early."""
        return self.pruner == "median" or (self.pruner == "auto" and self.method == "tpe")


@dataclass(frozen=True)
class Row:
    """One set of options to try."""

    name: str
    options: dict[str, Any]


@dataclass(frozen=True)
class Dimension:
    """What a search may choose for one option: a range, or one of some values.

    Attributes:
        low: Least value of a range.
        high: Largest value of a range.
        log: Whether to draw from the range's logarithm.
        whole: Whether its values are whole numbers.
        choices: The values to choose from, if it is no range.
    """

    low: float = 0
    high: float = 0
    log: bool = False
    whole: bool = False
    choices: tuple[Any, ...] = ()


@dataclass(frozen=True)
class SweepPlan:
    """Everything that a sweep tries.

    Attributes:
        config: The options that all trials share; its metric decides.
        options: The table `[sweep]`.
        rows: What a grid tries.
        space: What a search chooses from.
        name: Name of the file.
    """

    config: TrainConfig
    options: SweepOptions
    rows: tuple[Row, ...] = ()
    space: dict[str, Dimension] = field(default_factory=dict)
    name: str = "sweep"

    @property
    def total(self) -> int:
        """How many trials there are to finish."""
        return len(self.rows) if self.options.method == "grid" else self.options.trials

    def to_dict(self) -> dict[str, Any]:
        """Return what is tried as JSON values."""
        return {
            "sweep": dataclasses.asdict(self.options),
            "rows": [dataclasses.asdict(row) for row in self.rows],
            "space": {name: dataclasses.asdict(own) for name, own in self.space.items()},
        }

    @classmethod
    def from_dict(cls, config: TrainConfig, values: Mapping[str, Any]) -> "SweepPlan":
        """Return what `to_dict` was taken from."""
        space = {
            name: Dimension(**own | {"choices": tuple(own["choices"])})
            for name, own in values["space"].items()
        }
        rows = tuple(Row(**row) for row in values["rows"])
        return cls(config, SweepOptions(**values["sweep"]), rows, space)


def read_sweep(path: Path, source: str | None = None) -> SweepPlan:
    """Read a TOML file with the tables `[data]`, `[model]`, `[train]` and `[sweep]`.

    Args:
        path: The file.
        source: The data, if not that of the file.

    Raises:
        UsageError: The file cannot be read, or holds unknown tables, keys or values, all of which are named.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path}: no such sweep file.") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}). Give a TOML file.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: is no valid TOML: {error}.") from error
    tried = document.pop("sweep", None)
    if not isinstance(tried, dict):
        raise UsageError(f"{path}: has no table [sweep]. Say there what to try, such as [sweep.grid].")
    given = dict(options_in(document, path))
    config = override(TrainConfig(), given, where=f"{path}: ")
    if source is not None:
        config = override(config, {"source": source})
    parts = {name: tried.pop(name) for name in ("grid", "rows", "space") if name in tried}
    options = _sweep_options(tried, given, path)
    if options.metric is not None:
        config = override(config, {"metric": options.metric})
    plan = SweepPlan(
        config,
        options,
        tuple(_rows(parts, path)),
        dict(_space(parts.get("space", {}), path)),
        path.stem,
    )
    _check(plan, parts, path)
    return plan


def _sweep_options(tried: Mapping[str, Any], given: Mapping[str, Any], path: Path) -> SweepOptions:
    kinds = get_type_hints(SweepOptions)
    values, problems = {}, []
    for name, value in tried.items():
        if name not in kinds:
            known = [*kinds, "grid", "rows", "space"]
            problems.append(f"unknown key `{name}` in [sweep].{closest(name, known)}")
            continue
        try:
            values[name] = conform(value, kinds[name])
        except ValueError as error:
            problems.append(f"`{name}` in [sweep] {error}, not {value!r}.")
    for name, least in (("trials", 1), ("startup", 0), ("warmup", 0), ("seed", 0)):
        if values.get(name, least) < least:
            problems.append(f"`{name}` in [sweep] must be at least {least}, not {values[name]}.")
    metric = values.get("metric")
    if metric is not None and metric not in SELECTION_METRICS:
        problems.append(
            f"`metric` in [sweep] must be one of {', '.join(SELECTION_METRICS)}.{closest(metric, SELECTION_METRICS)}"
        )
    elif metric is not None and given.get("metric", metric) != metric:
        problems.append(f"`metric` is {metric} in [sweep] and {given['metric']} in [train]: leave one out.")
    if problems:
        raise UsageError(f"{path}: " + " ".join(problems))
    return SweepOptions(**values)


def _known(name: str, where: str, path: Path) -> Any:
    types = option_types()
    if name not in types:
        raise UsageError(f"{path}: unknown option `{name}` in {where}.{closest(name, types)}")
    if name == "metric":
        raise UsageError(
            f"{path}: `metric` in {where}: one metric decides over all trials; set it in [sweep]."
        )
    return types[name][1]


def _conformed(name: str, value: Any, where: str, path: Path) -> Any:
    kind = _known(name, where, path)
    try:
        return conform(value, kind)
    except ValueError as error:
        raise UsageError(f"{path}: `{name}` in {where} {error}, not {value!r}.") from None


def _rows(parts: Mapping[str, Any], path: Path) -> Iterator[Row]:
    """Yield the rows that are written out, then the combinations of the grid."""
    listed, grid = parts.get("rows", []), parts.get("grid", {})
    if not isinstance(listed, list) or not all(isinstance(row, dict) for row in listed):
        raise UsageError(f"{path}: write each row as [[sweep.rows]].")
    for number, row in enumerate(listed, 1):
        name = row.get("name", f"row {number}")
        if not isinstance(name, str):
            raise UsageError(f"{path}: `name` in row {number} must be a text, not {name!r}.")
        where = f"the row {name!r}"
        yield Row(
            name,
            {key: _conformed(key, value, where, path) for key, value in row.items() if key != "name"},
        )
    if not isinstance(grid, dict):
        raise UsageError(f"{path}: [sweep.grid] must be a table of options and lists.")
    axes = {}
    for key, values in grid.items():
        if not isinstance(values, list) or not values:
            raise UsageError(f"{path}: `{key}` in [sweep.grid] must be a list of values, not {values!r}.")
        axes[key] = [_conformed(key, value, "[sweep.grid]", path) for value in values]
    if axes:
        for chosen in itertools.islice(itertools.product(*axes.values()), MOST_ROWS + 1):
            options = dict(zip(axes, chosen, strict=True))
            yield Row(describe_options(options), options)


def describe_options(options: Mapping[str, Any]) -> str:
    """Return options in a line, such as `batch_size=8, trainable=head`."""
    return ", ".join(f"{name}={_plain(value)}" for name, value in options.items()) or "as given"


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)


def _space(space: Any, path: Path) -> Iterator[tuple[str, Dimension]]:
    if not isinstance(space, dict):
        raise UsageError(f"{path}: [sweep.space] must be a table of options.")
    for name, own in space.items():
        where = "[sweep.space]"
        kind = _known(name, where, path)
        if isinstance(own, list):
            if not own or any(isinstance(value, (list, dict)) for value in own):
                raise UsageError(f"{path}: `{name}` in {where} must be a list of plain values.")
            yield name, Dimension(choices=tuple(_conformed(name, value, where, path) for value in own))
        elif isinstance(own, dict):
            yield name, _range(name, own, kind, path)
        else:
            raise UsageError(
                f"{path}: `{name}` in {where} must be a list of values or {{low = …, high = …, log = true}}."
            )


def _range(name: str, own: dict[str, Any], kind: Any, path: Path) -> Dimension:
    where = f"`{name}` in [sweep.space]"
    unknown = [key for key in own if key not in ("low", "high", "log")]
    if unknown:
        raise UsageError(
            f"{path}: {where} has no `{unknown[0]}`.{closest(unknown[0], ('low', 'high', 'log'))}"
        )
    low, high, log = own.get("low"), own.get("high"), own.get("log", False)
    numbers = [value for value in (low, high) if isinstance(value, (int, float))]
    if len(numbers) < 2 or isinstance(low, bool) or isinstance(high, bool) or not isinstance(log, bool):
        raise UsageError(f"{path}: {where} needs numbers `low` and `high`, and `log` true or false.")
    first, last = (_conformed(name, value, "[sweep.space]", path) for value in (low, high))
    if not first < last or (log and first <= 0):
        raise UsageError(f"{path}: {where}: `low` must lie below `high`, and above 0 with `log`.")
    return Dimension(low=first, high=last, log=log, whole=isinstance(first, int) and isinstance(last, int))


def _check(plan: SweepPlan, parts: Mapping[str, Any], path: Path) -> None:
    grid = plan.options.method == "grid"
    if not plan.config.data.source:
        raise UsageError(f"{path}: no data: name it in the command, or as `source` in [data].")
    if grid and "space" in parts:
        raise UsageError(f'{path}: [sweep.space] is for method = "tpe"; a grid is tried by [sweep.grid].')
    if not grid and ("grid" in parts or "rows" in parts):
        raise UsageError(f'{path}: [sweep.grid] and [[sweep.rows]] are for method = "grid".')
    if not (plan.rows if grid else plan.space):
        table = "[sweep.grid] or [[sweep.rows]]" if grid else "[sweep.space]"
        raise UsageError(f"{path}: nothing to try. Write {table}.")
    if len(plan.rows) > MOST_ROWS:
        raise UsageError(
            f"{path}: the grid has more than {MOST_ROWS:,} combinations. Search with tpe instead."
        )
    names = [row.name for row in plan.rows]
    twice = next((name for name in names if names.count(name) > 1), None) if len(names) < 1000 else None
    if twice is not None:
        raise UsageError(f"{path}: two rows are named {twice!r}. Give each a name of its own.")
    check_config(plan.config)
    rows = plan.rows or tuple(_corners(plan.space))
    problems = []
    for row in rows:
        try:
            check_config(override(plan.config, row.options))
        except UsageError as error:
            problems.append(f"{row.name}: {error}")
    if problems:
        more = f" … and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise UsageError(f"{path}: " + " ".join(problems[:5]) + more)


def _corners(space: Mapping[str, Dimension]) -> Iterator[Row]:
    """Yield each end of each range and each choice, alone: what a search can check before it starts."""
    for name, own in space.items():
        for value in own.choices or (own.low, own.high):
            yield Row(f"`{name}` in [sweep.space]", {name: value})
