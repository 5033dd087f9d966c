"""What a sweep tries: rows of options, or a space to search."""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from finetext.errors import closest
from finetext.metric_names import SELECTION_METRICS
from finetext.options import AtLeast0, AtLeast1
from finetext.training import TrainConfig


@dataclass(frozen=True)
class SweepOptions:
    """The table `[sweep]`."""

    method: Literal["grid", "tpe"] = "grid"
    """`grid` tries every combination of `[sweep.grid]` and every row of `[[sweep.rows]]`; `tpe` searches
    `[sweep.space]` by a tree-structured Parzen estimator."""
    trials: Annotated[int, AtLeast1] = 20
    """Number of trials of a search; a grid has one per row."""
    metric: str | None = None
    """Validation metric that decides, within a trial and between trials; by default that of `[train]`."""
    seed: Annotated[int, AtLeast0] = 42
    """Seed of the search; the trainings use that of `[train]`."""
    pruner: Literal["auto", "median", "none"] = "auto"
    """`median` stops a trial that is worse after an epoch than the median of those before it; `auto` does so in a
    search."""
    startup: Annotated[int, AtLeast0] = 5
    """Random trials before the search is guided by earlier ones, and before any trial is stopped early."""
    warmup: Annotated[int, AtLeast0] = 1
    """Epochs in which no trial is stopped early."""

    @property
    def prunes(self) -> bool:
        """Whether trials are stopped early."""
        return self.pruner == "median" or (self.pruner == "auto" and self.method == "tpe")

    def problems(self) -> Iterator[str]:
        """Yield what bounds alone cannot check."""
        if self.metric not in (None, *SELECTION_METRICS):
            known = ", ".join(SELECTION_METRICS)
            yield f"`metric` must be one of {known}.{closest(str(self.metric), SELECTION_METRICS)}"


@dataclass(frozen=True)
class Row:
    """One set of options to try."""

    name: str
    options: dict[str, Any]


@dataclass(frozen=True)
class Dimension:
    """What a search may choose for one option: a range, or one of some values.

    Attributes:
        low: Lower end of a range.
        high: Upper end.
        log: Whether to draw from the range's logarithm.
        whole: Whether its values are whole numbers.
        choices: The values to choose from; empty for a range.
    """

    low: float = 0
    high: float = 0
    log: bool = False
    whole: bool = False
    choices: tuple[Any, ...] = ()

    def suggest(self, trial: Any, name: str) -> Any:
        """Let an Optuna trial choose a value for the option `name`."""
        if self.choices:
            return trial.suggest_categorical(name, list(self.choices))
        if self.whole:
            return trial.suggest_int(name, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(name, self.low, self.high, log=self.log)


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
        """Number of trials to finish."""
        return len(self.rows) if self.options.method == "grid" else self.options.trials

    def to_dict(self) -> dict[str, Any]:
        """Return what is tried as JSON values."""
        values = dataclasses.asdict(self)
        return {"sweep": values["options"], "rows": values["rows"], "space": values["space"]}

    @classmethod
    def from_dict(cls, config: TrainConfig, values: Mapping[str, Any]) -> "SweepPlan":
        """Return the plan that `to_dict` was called on."""
        space = {
            name: Dimension(**dimension | {"choices": tuple(dimension["choices"])})
            for name, dimension in values["space"].items()
        }
        rows = tuple(Row(**row) for row in values["rows"])
        return cls(config, SweepOptions(**values["sweep"]), rows, space)


def describe_options(options: Mapping[str, Any]) -> str:
    """Return options in a line, such as `batch_size=8, trainable=head`."""
    return ", ".join(f"{name}={_plain(value)}" for name, value in options.items()) or "as given"


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)
