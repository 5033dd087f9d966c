"""A sweep's trials in Optuna's storage: shared by processes, kept through a kill.

Whoever takes a trial holds a lock of its own while it lives. A trial that is running with nobody holding its lock was
killed, and is put back for the next one who asks. Taking, putting back and finishing happen under the folder's lock,
so that no trial is taken twice and none is lost.
"""

import contextlib
import json
import logging
import math
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from filelock import FileLock, Timeout

from finetext.errors import UsageError
from finetext.experiments.folder import ExperimentFolder
from finetext.experiments.sweep_file import Dimension, SweepPlan, describe_options
from finetext.metric_names import higher_is_better

MOST_ATTEMPTS = 3
"""A trial that was killed so often is given up: it may be what kills the process."""
_SEED_STRIDE = 1_000_003


@dataclass(frozen=True)
class Candidate:
    """A trial that this process has taken.

    Attributes:
        number: Its number in the storage.
        name: What it tries.
        options: Its options beside those that all share.
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
        options: Its options beside those that all share.
        state: `complete`, `pruned` (stopped early) or `failed`.
        value: The deciding metric on validation; of a pruned trial after its last epoch.
        figures: Its figures on validation, epochs and times; empty unless complete.
        error: Why it failed.
    """

    name: str
    options: dict[str, Any]
    state: str
    value: float | None
    figures: dict[str, Any]
    error: str | None


class SharedStudy:
    """The trials of a sweep; a context within which this process counts as alive."""

    def __init__(self, folder: ExperimentFolder, plan: SweepPlan) -> None:
        self._optuna = _import_optuna()
        self._folder, self._plan = folder, plan
        self._lock = FileLock(folder.path / ".lock")
        self._workers = folder.path / "workers"
        self._token = uuid.uuid4().hex
        self._alive = FileLock(self._workers / self._token)
        self._taken: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._workers.mkdir(exist_ok=True)
        self._alive.acquire()
        with self._lock, self._quiet():
            self._study = self._open()
            self._enqueue_rows()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._alive.release()
        with contextlib.suppress(OSError):
            (self._workers / self._token).unlink(missing_ok=True)
        self._storage.remove_session()

    @property
    def better_is_higher(self) -> bool:
        """Whether a larger value of the deciding metric is the better one."""
        return higher_is_better(self._plan.config.train.metric)

    def take(self) -> Candidate | None:
        """Take a trial that nobody has, None if there is none now."""
        with self._lock, self._quiet():
            self._put_back_the_dead()
            counted = self._counted()
            waiting = any(own.state == self._states.WAITING for own in counted)
            if not waiting and len(counted) >= self._plan.total:
                return None
            if not waiting and self._plan.options.method == "grid":
                return None
            return self._ask()

    def left(self) -> bool:
        """Tell whether a trial is still to be finished, by this process or another."""
        with self._lock:
            ended = [own for own in self._counted() if own.state.is_finished()]
        return len(ended) < self._plan.total

    def report(self, candidate: Candidate, value: float, epoch: int) -> bool:
        """Keep the value after an epoch, and tell whether the trial should stop here."""
        with self._lock, self._quiet():
            trial = self._taken[candidate.number]
            trial.report(value, epoch)
            prune: bool = trial.should_prune()
        return prune

    def complete(self, candidate: Candidate, value: float | None, figures: dict[str, Any]) -> None:
        """Finish a trial with its value and its figures."""
        if value is None or not math.isfinite(value):
            metric = self._plan.config.train.metric
            self.fail(candidate, f"{metric} is not defined on the validation split.")
            return
        with self._lock, self._quiet():
            self._taken[candidate.number].set_user_attr("figures", figures)
            self._study.tell(candidate.number, value)

    def prune(self, candidate: Candidate) -> None:
        """Finish a trial that was stopped early."""
        with self._lock, self._quiet():
            self._study.tell(candidate.number, state=self._states.PRUNED)

    def fail(self, candidate: Candidate, error: str) -> None:
        """Finish a trial that could not be carried out."""
        with self._lock, self._quiet():
            self._taken[candidate.number].set_user_attr("error", error)
            self._study.tell(candidate.number, state=self._states.FAIL)

    def put_back(self, candidate: Candidate) -> None:
        """Give a trial back unfinished, for another process or another time."""
        with self._lock, self._quiet():
            own = next(own for own in self._all() if own.number == candidate.number)
            self._replace(own, candidate.attempt - 1)

    def ended(self) -> list[SweepTrial]:
        """Return the trials that have ended: the best first, then those stopped early, then those that failed."""
        with self._lock:
            found = [_as_sweep_trial(own) for own in self._all() if own.state.is_finished()]
        sign = -1 if self.better_is_higher else 1
        rank = {"complete": 0, "pruned": 1, "failed": 2}
        kept = [own for own in found if own is not None]
        return sorted(kept, key=lambda own: (rank[own.state], sign * (own.value or 0.0)))

    @property
    def _states(self) -> Any:
        return self._optuna.trial.TrialState

    @contextlib.contextmanager
    def _quiet(self) -> Iterator[None]:
        logger = logging.getLogger("optuna")
        level = logger.level
        self._optuna.logging.set_verbosity(logging.ERROR)
        try:
            yield
        finally:
            self._optuna.logging.set_verbosity(level)

    def _open(self) -> Any:
        optuna = self._optuna
        options = self._plan.options
        self._storage = optuna.storages.RDBStorage(
            f"sqlite:///{(self._folder.path / 'study.db').absolute()}",
            engine_kwargs={"connect_args": {"timeout": 60}},
        )
        pruner = optuna.pruners.MedianPruner(n_startup_trials=options.startup, n_warmup_steps=options.warmup)
        return optuna.create_study(
            storage=self._storage,
            study_name="sweep",
            load_if_exists=True,
            direction="maximize" if self.better_is_higher else "minimize",
            pruner=pruner if options.prunes else optuna.pruners.NopPruner(),
        )

    def _enqueue_rows(self) -> None:
        there = {own.user_attrs.get("row") for own in self._all()}
        for number, row in enumerate(self._plan.rows):
            if number not in there:
                attributes = {"row": number, "name": row.name, "options": json.dumps(row.options)}
                self._study.enqueue_trial({}, user_attrs=attributes)

    def _all(self) -> list[Any]:
        return list(self._study.get_trials(deepcopy=False))

    def _counted(self) -> list[Any]:
        """Return the trials but those that were put back, which count under their next number."""
        every = self._all()
        replaced = {own.user_attrs.get("replaces") for own in every}
        return [own for own in every if own.number not in replaced]

    def _ask(self) -> Candidate:
        # One seed a trial: what is drawn does not depend on which process draws it, or after how many kills.
        number = len(self._all())
        seed = (self._plan.options.seed * _SEED_STRIDE + number) % 2**32
        self._study.sampler = self._optuna.samplers.TPESampler(
            seed=seed, n_startup_trials=self._plan.options.startup
        )
        trial = self._study.ask()
        self._taken[trial.number] = trial
        trial.set_user_attr("worker", self._token)
        attempt = trial.user_attrs.get("attempts", 0) + 1
        if "options" in trial.user_attrs:
            options = json.loads(trial.user_attrs["options"])
            return Candidate(trial.number, trial.user_attrs["name"], options, attempt)
        options = {name: _suggest(trial, name, own) for name, own in self._plan.space.items()}
        name = describe_options(options)
        trial.set_user_attr("name", name)
        trial.set_user_attr("options", json.dumps(options))
        return Candidate(trial.number, name, options, attempt)

    def _put_back_the_dead(self) -> None:
        for own in self._all():
            if own.state == self._states.RUNNING and self._is_dead(own.user_attrs.get("worker")):
                self._replace(own, own.user_attrs.get("attempts", 0) + 1)

    def _is_dead(self, token: str | None) -> bool:
        # A kill between taking and signing leaves no token; under the folder's lock nobody is in between.
        if token is None:
            return True
        if token == self._token:
            return False
        path = self._workers / token
        if not path.is_file():
            return True
        try:
            with FileLock(path).acquire(timeout=0), contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
        except Timeout:
            return False
        return True

    def _replace(self, own: Any, attempts: int) -> None:
        """Enqueue what a trial tried once more, then end it; a kill in between repeats the second part only."""
        if attempts >= MOST_ATTEMPTS:
            error = f"the process was killed {attempts} times in this trial."
            self._storage.set_trial_user_attr(own._trial_id, "error", error)
        elif own.number in {other.number for other in self._counted()}:
            kept = {
                name: own.user_attrs[name] for name in ("row", "name", "options") if name in own.user_attrs
            }
            self._study.enqueue_trial(
                own.params, user_attrs=kept | {"replaces": own.number, "attempts": attempts}
            )
        self._study.tell(own.number, state=self._states.FAIL)


def _suggest(trial: Any, name: str, own: Dimension) -> Any:
    if own.choices:
        return trial.suggest_categorical(name, list(own.choices))
    if own.whole:
        return trial.suggest_int(name, int(own.low), int(own.high), log=own.log)
    return trial.suggest_float(name, own.low, own.high, log=own.log)


def _as_sweep_trial(own: Any) -> SweepTrial | None:
    states: dict[str, str] = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
    state, attributes = states[own.state.name], own.user_attrs
    if state == "failed" and "error" not in attributes:
        return None  # put back: it counts under its next number
    value = own.value if state == "complete" else None
    if state == "pruned" and own.intermediate_values:
        value = own.intermediate_values[max(own.intermediate_values)]
    return SweepTrial(
        attributes.get("name", f"trial {own.number}"),
        json.loads(attributes.get("options", "{}")),
        state,
        value,
        attributes.get("figures", {}),
        attributes.get("error"),
    )


def _import_optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise UsageError('a sweep needs Optuna: pip install "finetext[search]"') from None
    return optuna
