"""The trials of a sweep in Optuna's storage: shared by processes, and kept when one is killed.

Each process holds a lock file while it lives. A running trial whose process no longer holds its lock was killed, and
is requeued for the next process that asks. Trials are taken, requeued and finished under the folder's lock, so that
none is taken twice and none is lost.
"""

import contextlib
import json
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from filelock import FileLock

from finetext.errors import UsageError
from finetext.experiments.folder import ExperimentFolder
from finetext.experiments.sweep_plan import SweepPlan, describe_options
from finetext.experiments.worker_locks import WorkerLocks
from finetext.metric_names import higher_is_better

MAX_ATTEMPTS = 3
"""A trial that was killed this often is given up: it may be what kills the process."""
STUDY = "sweep"
_SEED_STRIDE = 1_000_003


@dataclass(frozen=True)
class Candidate:
    """A trial that this process has taken.

    Attributes:
        number: Its number in the storage.
        name: What it tries.
        options: Its options besides those that all share.
        attempt: How often it was started, this time included.
    """

    number: int
    name: str
    options: dict[str, Any]
    attempt: int


@dataclass(frozen=True)
class SweepTrial:
    """A trial that has ended.

    Attributes:
        name: What it tried.
        options: Its options besides those that all share.
        state: `complete`, `pruned` (stopped early) or `failed`.
        value: The deciding metric on validation; of a pruned trial after its last epoch.
        figures: Its metrics on validation, epochs and times; empty unless complete.
        error: Why it failed.
    """

    name: str
    options: dict[str, Any]
    state: str
    value: float | None
    figures: dict[str, Any]
    error: str | None


class SharedStudy:
    """The trials of a sweep, as a context within which this process counts as alive."""

    def __init__(self, folder: ExperimentFolder, plan: SweepPlan) -> None:
        try:
            import optuna
        except ImportError:
            raise UsageError('a sweep needs Optuna: pip install "finetext[search]"') from None
        self._optuna: Any = optuna
        self._states: Any = optuna.trial.TrialState
        self._folder, self._plan = folder, plan
        self._higher_is_better = higher_is_better(plan.config.train.metric)
        self._folder_lock = FileLock(folder.path / ".lock")
        self._locks = WorkerLocks(folder.path / "workers")
        self._taken: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._locks.acquire()
        with self._locked():
            self._open()
            self._enqueue_rows()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._locks.release()
        self._storage.remove_session()

    def take(self) -> Candidate | None:
        """Take a trial that no process has; None if there is none now."""
        with self._locked():
            self._requeue_killed()
            trials = self._current()
            if any(trial.state == self._states.WAITING for trial in trials):
                return self._ask()
            exhausted = self._plan.options.method == "grid" or len(trials) >= self._plan.total
            return None if exhausted else self._ask()

    def left(self) -> int:
        """Return how many trials are still to be finished, by this process or another."""
        with self._locked():
            finished = [trial for trial in self._current() if trial.state.is_finished()]
        return self._plan.total - len(finished)

    def report(self, candidate: Candidate, value: float, epoch: int) -> bool:
        """Record the value after an epoch, and return whether the trial should stop here."""
        with self._locked():
            trial = self._taken[candidate.number]
            trial.report(value, epoch)
            prune: bool = trial.should_prune()
        return prune

    def complete(self, candidate: Candidate, value: float | None, figures: dict[str, Any]) -> None:
        """Finish a trial with its value and its metrics."""
        if value is None or not math.isfinite(value):
            metric = self._plan.config.train.metric
            self.fail(candidate, f"{metric} is not defined on the validation split.")
            return
        with self._locked():
            self._taken[candidate.number].set_user_attr("figures", figures)
            self._study.tell(candidate.number, value)

    def prune(self, candidate: Candidate) -> None:
        """Finish a trial that was stopped early."""
        with self._locked():
            self._study.tell(candidate.number, state=self._states.PRUNED)

    def fail(self, candidate: Candidate, error: str) -> None:
        """Finish a trial that could not be carried out."""
        with self._locked():
            self._taken[candidate.number].set_user_attr("error", error)
            self._study.tell(candidate.number, state=self._states.FAIL)

    def requeue(self, candidate: Candidate) -> None:
        """Return an unfinished trial to the queue, for another process or another time."""
        with self._locked():
            trial = next(trial for trial in self._all() if trial.number == candidate.number)
            self._replace(trial, candidate.attempt - 1)

    def ended(self) -> list[SweepTrial]:
        """Return the trials that have ended: the best first, then those stopped early, then those that failed."""
        with self._locked():
            finished = [trial for trial in self._all() if trial.state.is_finished()]
        sign = -1 if self._higher_is_better else 1
        rank = {"complete": 0, "pruned": 1, "failed": 2}
        trials = [trial for trial in map(_as_sweep_trial, finished) if trial is not None]
        return sorted(trials, key=lambda trial: (rank[trial.state], sign * (trial.value or 0.0)))

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the folder's lock, with Optuna's logging silenced."""
        level = logging.getLogger("optuna").level
        with self._folder_lock:
            self._optuna.logging.set_verbosity(logging.ERROR)
            try:
                yield
            finally:
                self._optuna.logging.set_verbosity(level)

    def _open(self) -> None:
        optuna, options = self._optuna, self._plan.options
        self._storage = optuna.storages.RDBStorage(
            f"sqlite:///{(self._folder.path / 'study.db').absolute()}",
            engine_kwargs={"connect_args": {"timeout": 60}},
        )
        pruner = optuna.pruners.MedianPruner(n_startup_trials=options.startup, n_warmup_steps=options.warmup)
        self._study = optuna.create_study(
            storage=self._storage,
            study_name=STUDY,
            load_if_exists=True,
            direction="maximize" if self._higher_is_better else "minimize",
            pruner=pruner if options.prunes else optuna.pruners.NopPruner(),
        )

    def _enqueue_rows(self) -> None:
        enqueued = {trial.user_attrs.get("row") for trial in self._all()}
        for number, row in enumerate(self._plan.rows):
            if number not in enqueued:
                attributes = {"row": number, "name": row.name, "options": json.dumps(row.options)}
                self._study.enqueue_trial({}, user_attrs=attributes)

    def _all(self) -> list[Any]:
        return list(self._study.get_trials(deepcopy=False))

    def _current(self) -> list[Any]:
        """Return the trials except those that were requeued, which count under their next number."""
        trials = self._all()
        replaced = {trial.user_attrs.get("replaces") for trial in trials}
        return [trial for trial in trials if trial.number not in replaced]

    def _ask(self) -> Candidate:
        # One seed per trial: what is drawn depends neither on which process draws it nor on earlier kills.
        options = self._plan.options
        seed = (options.seed * _SEED_STRIDE + len(self._all())) % 2**32
        self._study.sampler = self._optuna.samplers.TPESampler(seed=seed, n_startup_trials=options.startup)
        trial = self._study.ask()
        self._taken[trial.number] = trial
        trial.set_user_attr("worker", self._locks.token)
        attempt = trial.user_attrs.get("attempts", 0) + 1
        if "options" in trial.user_attrs:
            tried = json.loads(trial.user_attrs["options"])
            return Candidate(trial.number, trial.user_attrs["name"], tried, attempt)
        tried = {name: choice.suggest(trial, name) for name, choice in self._plan.space.items()}
        name = describe_options(tried)
        trial.set_user_attr("name", name)
        trial.set_user_attr("options", json.dumps(tried))
        return Candidate(trial.number, name, tried, attempt)

    def _requeue_killed(self) -> None:
        for trial in self._all():
            if trial.state != self._states.RUNNING:
                continue
            worker = trial.user_attrs.get("worker")  # None if killed between taking the trial and signing it
            if worker is None or not self._locks.is_alive(worker):
                self._replace(trial, trial.user_attrs.get("attempts", 0) + 1)

    def _replace(self, trial: Any, attempts: int) -> None:
        """Enqueue a trial's options again, then end it; after a kill in between only the second part is repeated."""
        if attempts >= MAX_ATTEMPTS:
            study = self._storage.get_study_id_from_name(STUDY)
            trial_id = self._storage.get_trial_id_from_study_id_trial_number(study, trial.number)
            error = f"the process was killed {attempts} times in this trial."
            self._storage.set_trial_user_attr(trial_id, "error", error)
        elif trial.number in {current.number for current in self._current()}:
            kept = {
                name: trial.user_attrs[name]
                for name in ("row", "name", "options")
                if name in trial.user_attrs
            }
            attributes = kept | {"replaces": trial.number, "attempts": attempts}
            self._study.enqueue_trial(trial.params, user_attrs=attributes)
        self._study.tell(trial.number, state=self._states.FAIL)


def _as_sweep_trial(trial: Any) -> SweepTrial | None:
    state = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}[trial.state.name]
    attributes = trial.user_attrs
    if state == "failed" and "error" not in attributes:
        return None  # requeued: it counts under its next number
    value = trial.value if state == "complete" else None
    if state == "pruned" and trial.intermediate_values:
        value = trial.intermediate_values[max(trial.intermediate_values)]
    return SweepTrial(
        attributes.get("name", f"trial {trial.number}"),
        json.loads(attributes.get("options", "{}")),
        state,
        value,
        attributes.get("figures", {}),
        attributes.get("error"),
    )
