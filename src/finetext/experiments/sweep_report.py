"""The result of a sweep, and its files."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetext import files
from finetext.experiments.folder import SCHEMA_VERSION, ExperimentFolder
from finetext.experiments.study import SweepTrial
from finetext.metric_names import SELECTION_METRICS
from finetext.training import Run


@dataclass(frozen=True)
class Sweep:
    """A finished sweep.

    Attributes:
        folder: Its files.
        metric: The validation metric that decided.
        trials: All trials, the best first.
        winner: The best one.
        run: The winner's run, with its metrics on the test split.
    """

    folder: Path
    metric: str
    trials: tuple[SweepTrial, ...]
    winner: SweepTrial
    run: Run


def write_sweep(result: Sweep, folder: ExperimentFolder) -> None:
    """Write `sweep.csv`, and last `sweep.json`."""
    options = list(dict.fromkeys(name for trial in result.trials for name in trial.options))
    figures = list(dict.fromkeys(name for trial in result.trials for name in trial.figures))
    header = ["rank", "name", "state", result.metric, *(f"option_{name}" for name in options)]
    header += [f"validation_{name}" if name in SELECTION_METRICS else name for name in figures]
    rows = []
    for rank, trial in enumerate(result.trials, 1):
        cells = [_cell(trial.options.get(name)) for name in options]
        cells += [_cell(trial.figures.get(name)) for name in figures]
        rows.append([rank, trial.name, trial.state, trial.value, *cells, trial.error])
    files.write_csv(folder.path / "sweep.csv", [*header, "error"], rows)
    metrics = result.run.metrics.to_dict()
    files.write_json(
        folder.results,
        {
            "schema_version": SCHEMA_VERSION,
            "metric": result.metric,
            "trials": [dataclasses.asdict(trial) for trial in result.trials],
            "winner": {
                "name": result.winner.name,
                "options": result.winner.options,
                "validation": result.winner.value,
                "run": "best",
                "test": metrics["test"],
                "comparisons": metrics["comparisons"],
            },
        },
    )


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, (dict, list, bool)) else value
