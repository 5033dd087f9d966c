"""Callbacks of a run. Every method does nothing by default; override those that you need."""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from finetext.evaluation import Metrics
    from finetext.training.history import EpochLine
    from finetext.training.inputs import RunInputs
    from finetext.training.loop import Step
    from finetext.training.setup import Job


class Progress:
    """Receives the events of a run or an experiment in its own thread; each method must return soon."""

    def notice(self, text: str) -> None:
        """Something the user should know: a fall-back, rows left out, a damaged checkpoint."""

    def working(self, what: str, done: int, total: int | None) -> None:
        """`done` of `total` texts (None if not known in advance) have passed the stage `what`."""

    def trial(self, summary: str, done: int, total: int) -> None:
        """A trial of a learning curve or a sweep has ended: `done` of `total`, with its result in a line."""

    def prepared(self, job: "Job", first_step: int, total_steps: int) -> None:
        """Data and model are ready; training starts, or goes on, after `first_step`."""

    def ready(self, inputs: "RunInputs") -> None:
        """What the run reads is ready: stored features, or the texts' tokens alone."""

    def features(self, done: int, total: int) -> None:
        """The frozen layers have seen `done` of `total` tokens."""

    def head_started(self, metrics: "Metrics", strength: float) -> None:
        """The output layer was fitted before the first step; `metrics` are on validation."""

    def averaged(self, metrics: "Metrics", epochs: int, kept: bool) -> None:
        """The mean of so many epochs' weights was evaluated on validation, and kept or not."""

    def step(self, step: "Step") -> None:
        """One optimizer step was taken."""

    def evaluated(self, line: "EpochLine") -> None:
        """The validation split was evaluated. An exception raised here ends a trial, as pruning does."""

    def finishing(self, what: str) -> None:
        """A stage after training begins."""

    def counter(self, what: str, total: int | None, done: int = 0) -> Callable[[int], None]:
        """Return a function that adds to the texts done of a stage and reports them by `working`."""

        def advance(count: int) -> None:
            nonlocal done
            done += count
            self.working(what, done, total)

        return advance


Silent = Progress
