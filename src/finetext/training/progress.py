"""What a run reports while it is under way."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from finetext.training.events import EpochAverage, Evaluation, Event, ProbeInitialization, Step
    from finetext.training.inputs import RunInputs
    from finetext.training.setup import Setup


class Progress:
    """Listens to a run and says nothing; override what you want to show.

    Each method is called from the training thread and must return soon.
    """

    def notice(self, text: str) -> None:
        """Something the user should know: a fallback, rows left out, a damaged checkpoint."""

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


def announce(event: "Event", progress: Progress) -> None:
    """Pass an event of a training on to who listens."""
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
