"""Callbacks of a run. Every method does nothing by default; override those that you need."""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from finetext.training.events import EpochAverage, Evaluation, Event, ProbeInitialization, Step
    from finetext.training.setup import RunInputs, Setup


class Progress:
    """Receives the events of a run or an experiment in its own thread; each method must return soon."""

    def notice(self, text: str) -> None:
        """Something the user should know: a fallback, rows left out, a damaged checkpoint."""

    def working(self, what: str, done: int, total: int | None) -> None:
        """`done` of `total` texts (None if not known in advance) have passed the stage `what`."""

    def trial(self, summary: str, done: int, total: int) -> None:
        """A trial of a learning curve or a sweep has ended: `done` of `total`, with its result in a line."""

    def features(self, done: int, total: int) -> None:
        """The frozen layers have processed `done` of `total` tokens."""

    def prepared(self, setup: "Setup", inputs: "RunInputs", first_step: int) -> None:
        """Data, model and cached activations are ready; training starts, or resumes, after `first_step`."""

    def initialized(self, initialization: "ProbeInitialization") -> None:
        """A linear probe initialised the output layer before the first step."""

    def step(self, step: "Step") -> None:
        """One optimizer step was taken."""

    def evaluated(self, evaluation: "Evaluation") -> None:
        """The validation split was evaluated. An exception raised here ends a trial, as pruning does."""

    def averaged(self, average: "EpochAverage") -> None:
        """The mean of the weights after each epoch was evaluated."""

    def finishing(self, stage: str) -> None:
        """A stage after training begins."""

    def counter(self, what: str, total: int | None, done: int = 0) -> Callable[[int], None]:
        """Return a function that adds to the texts done of a stage and reports them by `working`."""

        def advance(count: int) -> None:
            nonlocal done
            done += count
            self.working(what, done, total)

        return advance


def announce(event: "Event", progress: Progress) -> None:
    """Pass an event of a training on to a listener."""
    from finetext.training.events import EpochAverage, Notice, ProbeInitialization

    if isinstance(event, Notice):
        progress.notice(event.text)
    elif isinstance(event, ProbeInitialization):
        progress.initialized(event)
    elif isinstance(event, EpochAverage):
        progress.averaged(event)
    else:
        progress.step(event)
        if event.evaluation is not None:
            progress.evaluated(event.evaluation)
