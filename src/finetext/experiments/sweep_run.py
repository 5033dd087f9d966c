"""`sweep()`: many trainings that differ in their options, chosen by validation; the winner alone is tested."""

import contextlib
import dataclasses
import json
import math
import time
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from finetext.data import Dataset, Splits
from finetext.errors import FinetextError, Interrupted, RunError, UsageError
from finetext.experiments.folder import ExperimentFolder
from finetext.experiments.study import Candidate, SharedStudy
from finetext.experiments.sweep_plan import SweepPlan
from finetext.experiments.sweep_report import Sweep, write_sweep
from finetext.metric_names import SELECTION_METRICS
from finetext.runs import RunFolder, next_run_folder
from finetext.training import (
    Evaluation,
    Progress,
    Run,
    StopRequest,
    TrainConfig,
    Trial,
    create_folder,
    override,
    read_splits,
    resume,
    run_trial,
    train,
    with_absolute_paths,
)

SWEEPS = Path("sweeps")
"""Default parent of the folders, below the working directory."""
POLL_SECONDS = 0.5


class _Pruned(Exception):
    """The trial is worse than the median of those before it."""


def sweep(plan: SweepPlan, *, output: str | Path | None = None, progress: Progress | None = None) -> Sweep:
    """Carry out a sweep; if the folder holds the same one, share its work or resume it.

    Args:
        plan: What `read_sweep` returned.
        output: The folder; by default a new `sweeps/SOURCE-FILE-N`.
        progress: Receives notices, and each trial that has ended.
    """
    plan = dataclasses.replace(plan, config=with_absolute_paths(plan.config))
    source = plan.config.data.source
    folder = ExperimentFolder(Path(output) if output else next_run_folder(SWEEPS, source, plan.name), "sweep")
    if not folder.plan.is_file():
        folder.refuse_taken()
    cache = _SplitCache()
    dataset, _ = cache.splits(plan.config)
    wanted = folder.new_plan(dataset.source.digest, **json.loads(json.dumps(plan.to_dict())))
    try:
        create_folder(folder, plan.config, plan=wanted)
    except UsageError:
        if not folder.plan.is_file():  # else an earlier sweep or another process has created it
            raise
    config, existing = folder.read()
    folder.refuse_other_data(existing, dataset.source.digest)
    if existing != wanted or config != plan.config:
        raise RunError(
            f"{folder.path}: holds a sweep with other options. Resume it with `finetext sweep --resume "
            f"{folder.path}`, or choose another --output."
        )
    return _complete(folder, plan, cache, progress or Progress())


def resume_sweep(path: str | Path, *, progress: Progress | None = None) -> Sweep:
    """Resume a sweep as it was started; another process may be working on it."""
    folder = ExperimentFolder(Path(path), "sweep")
    config, plan = folder.read()
    cache = _SplitCache()
    dataset, _ = cache.splits(config)
    folder.refuse_other_data(plan, dataset.source.digest)
    return _complete(folder, SweepPlan.from_dict(config, plan), cache, progress or Progress())


class _SplitCache:
    """Datasets and their splits, each read once for all trials that share them."""

    def __init__(self) -> None:
        self._read: dict[str, tuple[Dataset, Splits]] = {}

    @staticmethod
    def key(config: TrainConfig) -> str:
        return json.dumps([dataclasses.asdict(config.data), config.train.seed], sort_keys=True)

    def splits(self, config: TrainConfig) -> tuple[Dataset, Splits]:
        key = self.key(config)
        if key not in self._read:
            self._read[key] = read_splits(config)
        return self._read[key]


def _complete(folder: ExperimentFolder, plan: SweepPlan, cache: _SplitCache, progress: Progress) -> Sweep:
    with StopRequest() as stop, stop.deferred(), contextlib.closing(SharedStudy(folder, plan)) as study:
        stop.message = f"interrupted. Resume it with: finetext sweep --resume {folder.path}"
        _run_trials(plan, cache, study, stop, progress)
        trials = study.ended()
        winner = trials[0]
        if winner.state != "complete":
            reason = winner.error or winner.state
            raise RunError(f"{folder.path}: no trial was completed. The first: {reason}")
        if len({cache.key(override(plan.config, trial.options)) for trial in trials}) > 1:
            progress.notice(
                "the trials differ in their data or seed, so not all were validated on the same texts."
            )
        progress.finishing(f"training the winner, {winner.name}, again in {folder.path / 'best'}")
        run = _train_winner(folder, override(plan.config, winner.options), stop)
        result = Sweep(folder.path, plan.config.train.metric, tuple(trials), winner, run)
        write_sweep(result, folder)
    return result


def _run_trials(
    plan: SweepPlan, cache: _SplitCache, study: SharedStudy, stop: StopRequest, progress: Progress
) -> None:
    waiting = False
    while study.left():
        stop.raise_if_requested()
        candidate = study.take()
        if candidate is not None:
            summary = _run(candidate, plan, cache, study, stop)
            progress.trial(f"{candidate.name}: {summary}", plan.total - study.left(), plan.total)
            continue
        if not waiting:
            progress.notice("waiting for another process, which works on the remaining trials.")
            waiting = True
        time.sleep(POLL_SECONDS)


class _Pruner(Progress):
    """Reports the value after each epoch, and ends a trial that is not worth continuing."""

    def __init__(self, candidate: Candidate, study: SharedStudy) -> None:
        self._candidate, self._study = candidate, study

    def evaluated(self, line: Evaluation) -> None:
        if line.ends_epoch and line.value is not None:
            if self._study.report(self._candidate, line.value, round(line.epoch)):
                raise _Pruned


def _run(
    candidate: Candidate, plan: SweepPlan, cache: _SplitCache, study: SharedStudy, stop: StopRequest
) -> str:
    """Carry out a trial, and return its result in a few words."""
    config = override(plan.config, candidate.options)
    began = time.perf_counter()
    try:
        pruner = _Pruner(candidate, study)
        trial = run_trial(config, cache.splits(config), read_test=False, stop=stop, progress=pruner)
    except Interrupted:
        study.requeue(candidate)
        raise
    except _Pruned:
        study.finish(candidate, "PRUNED")
        return "stopped early"
    except FinetextError as error:
        study.finish(candidate, "FAIL", error=str(error))
        return f"failed: {error}"
    value, metric = trial.selection.value, config.train.metric
    if value is None or not math.isfinite(value):
        study.finish(candidate, "FAIL", error=f"{metric} is not defined on the validation split.")
        return f"{metric} not defined on validation"
    study.finish(candidate, "COMPLETE", value, figures=_figures(trial, time.perf_counter() - began))
    return f"{metric} {value:.4f} on validation"


def _figures(trial: Trial, seconds: float) -> dict[str, Any]:
    metrics, config = trial.validation_metrics(), trial.setup.config.train
    return {
        **{name: metrics.value(name) for name in SELECTION_METRICS},
        "validation_texts": metrics.examples,
        "epoch": trial.selection.epoch,
        "epochs": config.epochs,
        "learning_rate": config.learning_rate,
        "trained_parameters": trial.setup.model.network.num_parameters(only_trainable=True),
        "seconds": seconds,
    }


def _train_winner(folder: ExperimentFolder, config: TrainConfig, stop: StopRequest) -> Run:
    """Train the winner into `best/` in one process; the others wait and read what it wrote."""
    best = RunFolder(folder.path / "best")
    lock = FileLock(folder.path / ".best.lock")
    while not lock.is_locked:
        stop.raise_if_requested()
        with contextlib.suppress(Timeout):
            lock.acquire(timeout=POLL_SECONDS)
    try:
        if best.finished:
            return Run.open(best.path)
        return resume(best.path) if best.config.is_file() else train(config=config, output=best.path)
    except Interrupted as error:
        raise Interrupted(stop.message, error.exit_code - 128) from error
    finally:
        lock.release()
