"""What a run tells while it goes: a Protocol, and the silent one that the library uses by default."""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from finetext.evaluation import Metrics
    from finetext.training.history import EpochLine
    from finetext.training.inputs import RunInputs
    from finetext.training.loop import Step
    from finetext.training.setup import Job


class Progress(Protocol):
    """Listens to a run. Each method is called from the training thread and must return soon."""

    def notice(self, text: str) -> None:
        """Something the user should know: a fall-back, rows left out, a damaged checkpoint."""

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


class Silent:
    """Says nothing."""

    def notice(self, text: str) -> None:
        """Do nothing."""

    def prepared(self, job: "Job", first_step: int, total_steps: int) -> None:
        """Do nothing."""

    def ready(self, inputs: "RunInputs") -> None:
        """Do nothing."""

    def features(self, done: int, total: int) -> None:
        """Do nothing."""

    def head_started(self, metrics: "Metrics", strength: float) -> None:
        """Do nothing."""

    def averaged(self, metrics: "Metrics", epochs: int, kept: bool) -> None:
        """Do nothing."""

    def step(self, step: "Step") -> None:
        """Do nothing."""

    def evaluated(self, line: "EpochLine") -> None:
        """Do nothing."""

    def finishing(self, what: str) -> None:
        """Do nothing."""
