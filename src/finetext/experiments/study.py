"""The trials of a sweep in Optuna's storage: shared by processes, and kept when one is killed.

Each process holds a lock file while it lives. A running trial whose process no longer holds its lock was killed, and
is requeued for the next process that asks. Trials are taken, requeued and finished under the folder's lock, so that
none is taken twice and none is lost.
"""

import json
import logging
from dataclasses import dataclass
from typing import Any

from filelock import FileLock

from finetext.errors import UsageError
from finetext.experiments.folder import ExperimentFolder
from finetext.experiments.sweep_plan import SweepPlan, describe_options
from finetext.experiments.worker_locks import WorkerLocks
from finetext.metric_names import higher_is_better

MAX_ATTEMPTS = 3
"""A trial that was killed this often is given up: it may be what kills the process."""
STUDY = "sweep"
STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
"""The states of a trial that has ended, by Optuna's names, in the order in which trials are listed."""
_SEED_STRIDE = 1_000_003


@dataclass(frozen=True)
class Candidate:
    """A trial that this process has taken.

    Attributes:
        trial: The trial in Optuna's storage.
        name: What it tries.
        options: Its options besides those that all share.
        attempt: How often it was started, this time included.
    """

    trial: Any
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
    """The trials of a sweep. This process counts as alive until it closes the study."""

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
        self._log_level = logging.getLogger("optuna").level
        optuna.logging.set_verbosity(logging.ERROR)
        with self._folder_lock:
            self._open()
            self._enqueue_rows()

    def close(self) -> None:
        """Count this process as alive no longer."""
        self._optuna.logging.set_verbosity(self._log_level)
        self._locks.release()
        self._storage.remove_session()

    def take(self) -> Candidate | None:
        """Take a trial that no process has; None if there is none now."""
        with self._folder_lock:
            self._requeue_killed()
            trials = self._current()
            waiting = any(trial.state == self._states.WAITING for trial in trials)
            more = self._plan.options.method == "tpe" and len(trials) < self._plan.total
            return self._ask() if waiting or more else None

    def left(self) -> int:
        """Return how many trials are still to be finished, by this process or another."""
        with self._folder_lock:
            finished = [trial for trial in self._current() if trial.state.is_finished()]
            return self._plan.total - len(finished)

    def report(self, candidate: Candidate, value: float, epoch: int) -> bool:
        """Record the value after an epoch, and return whether the trial should stop here."""
        with self._folder_lock:
            candidate.trial.report(value, epoch)
            return bool(candidate.trial.should_prune())

    def finish(self, candidate: Candidate, state: str, value: float | None = None, **attributes: Any) -> None:
        """Finish a trial.

        Args:
            candidate: The trial.
            state: `COMPLETE`, `PRUNED` or `FAIL`.
            value: The deciding metric of a complete one.
            **attributes: The `figures` of a complete one, the `error` of a failed one.
        """
        with self._folder_lock:
            for name, attribute in attributes.items():
                candidate.trial.set_user_attr(name, attribute)
            self._study.tell(candidate.trial.number, value, self._states[state])

    def requeue(self, candidate: Candidate) -> None:
        """Return an unfinished trial to the queue, for another process or another time."""
        with self._folder_lock:
            self._replace(self._all()[candidate.trial.number], candidate.attempt - 1)

    def ended(self) -> list[SweepTrial]:
        """Return the trials that have ended: the best first, then those stopped early, then those that failed."""
        with self._folder_lock:
            trials = [_as_sweep_trial(trial) for trial in self._all() if _has_ended(trial)]
        order, sign = [*STATES.values()], -1 if self._higher_is_better else 1
        return sorted(trials, key=lambda trial: (order.index(trial.state), sign * (trial.value or 0.0)))

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
        trial.set_user_attr("worker", self._locks.token)
        if "options" not in trial.user_attrs:
            tried = {name: choice.suggest(trial, name) for name, choice in self._plan.space.items()}
            trial.set_user_attr("name", describe_options(tried))
            trial.set_user_attr("options", json.dumps(tried))
        attributes = trial.user_attrs
        attempt = attributes.get("attempts", 0) + 1
        return Candidate(trial, attributes["name"], json.loads(attributes["options"]), attempt)

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
            attributes = {**trial.user_attrs, "replaces": trial.number, "attempts": attempts}
            attributes.pop("worker", None)
            self._study.enqueue_trial(trial.params, user_attrs=attributes)
        self._study.tell(trial.number, state=self._states.FAIL)


def _has_ended(trial: Any) -> bool:
    # One that was requeued is failed without an error: it counts under its next number.
    return bool(trial.state.is_finished() and (trial.state.name != "FAIL" or "error" in trial.user_attrs))


def _as_sweep_trial(trial: Any) -> SweepTrial:
    attributes = trial.user_attrs
    return SweepTrial(
        name=attributes.get("name", f"trial {trial.number}"),
        options=json.loads(attributes.get("options", "{}")),
        state=STATES[trial.state.name],
        value=trial.value,  # Optuna gives a pruned trial its last one
        figures=attributes.get("figures", {}),
        error=attributes.get("error"),
    )
