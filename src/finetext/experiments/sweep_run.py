"""`sweep()`: many trainings that differ in their options, chosen by validation; the winner alone is tested."""

import csv
import dataclasses
import io
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from finetext import files
from finetext.data import Dataset, Splits
from finetext.errors import FinetextError, Interrupted, RunError, UsageError
from finetext.experiments.folder import ExperimentFolder
from finetext.experiments.study import Candidate, SharedStudy, SweepTrial
from finetext.experiments.sweep_file import SweepPlan
from finetext.metric_names import SELECTION_METRICS
from finetext.models import describe
from finetext.runs import RunFolder, next_run_folder
from finetext.training import (
    Evaluation,
    Progress,
    Run,
    TrainConfig,
    Trial,
    override,
    resume,
    run_trial,
    train,
)
from finetext.training.setup import read_splits, with_absolute_paths
from finetext.training.signals import StopRequest

SWEEPS = Path("sweeps")
"""Where sweeps go that are given no folder, below the working directory."""
SCHEMA_VERSION = 1
POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Sweep:
    """A finished sweep.

    Attributes:
        folder: Its files.
        metric: The validation metric that decided.
        trials: All trials, the best first.
        winner: The best one.
        run: The winner's run, with its figures on the test split.
    """

    folder: Path
    metric: str
    trials: tuple[SweepTrial, ...]
    winner: SweepTrial
    run: Run


class _Pruned(Exception):
    """A trial that is worse than the median of those before it."""


Listener = Callable[[str], None]
"""Told in a line what happens."""


def sweep(plan: SweepPlan, *, output: str | Path | None = None, progress: Listener | None = None) -> Sweep:
    """Carry out a sweep; on a folder that holds the same one, share in it or go on with it.

    Args:
        plan: What `read_sweep` returned.
        output: The folder; by default a new `sweeps/SOURCE-FILE-N`.
        progress: Told what happens.

    Raises:
        FinetextError: With one or two lines that say what to do.
    """
    plan = dataclasses.replace(plan, config=with_absolute_paths(plan.config))
    source = plan.config.data.source
    folder = ExperimentFolder(Path(output) if output else next_run_folder(SWEEPS, source, plan.name), "sweep")
    if not folder.plan.is_file():
        folder.refuse_taken()
    parts = _Parts()
    dataset, _ = parts.of(plan.config)
    wanted = {
        "kind": "sweep",
        "schema_version": SCHEMA_VERSION,
        **json.loads(json.dumps(plan.to_dict())),
        "data_digest": dataset.source.digest,
    }
    if not folder.plan.is_file():
        try:
            folder.create(plan.config, wanted)
        except UsageError:
            if not folder.plan.is_file():  # else another process was a moment faster
                raise
    config, found = folder.read()
    folder.refuse_other_data(found, dataset.source.digest)
    if found != wanted or config != plan.config:
        raise RunError(
            f"{folder.path}: holds a sweep with other options. Go on with it by `finetext sweep --resume "
            f"{folder.path}`, or choose another --output."
        )
    return _complete(folder, plan, parts, progress or (lambda line: None))


def resume_sweep(path: str | Path, *, progress: Listener | None = None) -> Sweep:
    """Go on with a sweep as it was started; another process may be working on it."""
    folder = ExperimentFolder(Path(path), "sweep")
    config, found = folder.read()
    parts = _Parts()
    dataset, _ = parts.of(config)
    folder.refuse_other_data(found, dataset.source.digest)
    return _complete(folder, SweepPlan.from_dict(config, found), parts, progress or (lambda line: None))


class _Parts:
    """Data sets and their splits, each read once for all trials that share them."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Dataset, Splits]] = {}

    @staticmethod
    def key(config: TrainConfig) -> str:
        return json.dumps([dataclasses.asdict(config.data), config.train.seed], sort_keys=True)

    def of(self, config: TrainConfig) -> tuple[Dataset, Splits]:
        key = self.key(config)
        if key not in self._known:
            self._known[key] = read_splits(config)
        return self._known[key]


def _complete(folder: ExperimentFolder, plan: SweepPlan, parts: _Parts, progress: Listener) -> Sweep:
    with StopRequest() as stop, stop.deferred(), SharedStudy(folder, plan) as study:
        stop.message = f"interrupted. Go on with: finetext sweep --resume {folder.path}"
        waiting = False
        while study.left():
            _heed(stop)
            candidate = study.take()
            if candidate is not None:
                _carry_out(candidate, plan, parts, study, stop, progress)
                continue
            if not waiting:
                progress("another process works on the trials that are left; waiting for it.")
                waiting = True
            time.sleep(POLL_SECONDS)
        trials = study.ended()
        winner = trials[0]
        if winner.state != "complete":
            raise RunError(
                f"{folder.path}: no trial was completed. The first: {winner.error or winner.state}"
            )
        if len({_Parts.key(override(plan.config, own.options)) for own in trials}) > 1:
            progress(
                "note: the trials differ in their data or seed, so not all were validated on the same texts."
            )
        progress(
            f"the winner is {winner.name}: trained once more in {folder.path / 'best'}, and tested there."
        )
        run = _train_winner(folder, override(plan.config, winner.options), stop)
        found = Sweep(folder.path, plan.config.train.metric, tuple(trials), winner, run)
        _write(found, folder)
    return found


def _heed(stop: StopRequest) -> None:
    if stop.signal_number is not None:
        raise Interrupted(stop.message, stop.signal_number)


class _Listening(Progress):
    """Reports the value after each epoch, and ends a trial that is not worth going on with."""

    def __init__(self, candidate: Candidate, study: SharedStudy) -> None:
        self._candidate, self._study = candidate, study

    def evaluated(self, line: "Evaluation") -> None:
        if not line.ends_epoch or line.value is None:
            return
        if self._study.report(self._candidate, line.value, round(line.epoch)):
            raise _Pruned


def _carry_out(
    candidate: Candidate,
    plan: SweepPlan,
    parts: _Parts,
    study: SharedStudy,
    stop: StopRequest,
    progress: Listener,
) -> None:
    config = override(plan.config, candidate.options)
    began = time.perf_counter()
    try:
        found = run_trial(
            config, parts.of(config), read_test=False, stop=stop, progress=_Listening(candidate, study)
        )
    except Interrupted:
        study.put_back(candidate)
        raise
    except _Pruned:
        study.prune(candidate)
        progress(f"{candidate.name}: stopped early")
        return
    except FinetextError as error:
        study.fail(candidate, str(error))
        progress(f"{candidate.name}: failed: {error}")
        return
    value = found.selection.value
    study.complete(candidate, value, _figures(found, time.perf_counter() - began))
    shown = "not defined" if value is None else f"{value:.4f}"
    progress(f"{candidate.name}: {config.train.metric} {shown} on validation")


def _figures(found: Trial, seconds: float) -> dict[str, Any]:
    metrics = found.validation_metrics()
    return {
        **{name: metrics.value(name) for name in SELECTION_METRICS},
        "validation_texts": metrics.examples,
        "epoch": found.selection.epoch,
        "epochs": found.setup.config.train.epochs,
        "learning_rate": found.setup.config.train.learning_rate,
        "trained_parameters": describe(found.setup.model).trainable_parameters,
        "seconds": seconds,
    }


def _train_winner(folder: ExperimentFolder, config: TrainConfig, stop: StopRequest) -> Run:
    """Train the winner into `best/`, in one process; the others wait and read what it wrote."""
    best = RunFolder(folder.path / "best")
    lock = FileLock(folder.path / ".best.lock")
    while not lock.is_locked:
        _heed(stop)
        try:
            lock.acquire(timeout=POLL_SECONDS)
        except Timeout:
            continue
    try:
        if best.finished:
            return Run.open(best.path)
        return resume(best.path) if best.config.is_file() else train(config=config, output=best.path)
    except Interrupted as error:
        raise Interrupted(stop.message, error.exit_code - 128) from error
    finally:
        lock.release()


def _write(found: Sweep, folder: ExperimentFolder) -> None:
    files.write_text(folder.path / "sweep.csv", _table(found))
    metrics = found.run.metrics.to_dict()
    files.write_json(
        folder.results,
        {
            "schema_version": SCHEMA_VERSION,
            "metric": found.metric,
            "trials": [dataclasses.asdict(own) for own in found.trials],
            "winner": {
                "name": found.winner.name,
                "options": found.winner.options,
                "validation": found.winner.value,
                "run": "best",
                "test": metrics["test"],
                "comparisons": metrics["comparisons"],
            },
        },
    )


def _table(found: Sweep) -> str:
    options = list(dict.fromkeys(name for own in found.trials for name in own.options))
    figures = list(dict.fromkeys(name for own in found.trials for name in own.figures))
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["rank", "name", "state", found.metric, *(f"option_{name}" for name in options)]
        + [f"validation_{name}" if name in SELECTION_METRICS else name for name in figures]
        + ["error"]
    )
    for rank, own in enumerate(found.trials, 1):
        cells = [_cell(own.options.get(name)) for name in options]
        cells += [_cell(own.figures.get(name)) for name in figures]
        writer.writerow([rank, own.name, own.state, _cell(own.value), *cells, own.error or ""])
    return text.getvalue()


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    return json.dumps(value) if isinstance(value, (dict, list, bool)) else value
