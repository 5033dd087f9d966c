"""What a training yields on its way."""

from dataclasses import dataclass

from finetext.evaluation import Metrics


@dataclass(frozen=True)
class Step:
    """One optimizer step.

    Attributes:
        number: Optimizer steps taken in the run, this one included.
        epoch: Pass over the training split that the step belongs to, from 1.
        examples: Texts seen in the run, this step's included.
        loss: Mean loss over the step's texts, before the update.
        learning_rate: Rate that the update used.
        gradient_norm: Norm of the gradient before clipping.
        seconds: Time the step took.
        ends_epoch: Whether it is the last of its epoch.
        micro_batch: Texts in one forward pass; smaller than the batch after an out-of-memory error.
        evaluation: The evaluation after it, if there was one.
    """

    number: int
    epoch: int
    examples: int
    loss: float
    learning_rate: float
    gradient_norm: float
    seconds: float
    ends_epoch: bool
    micro_batch: int
    evaluation: "Evaluation | None" = None

    def is_due(self, every: int | None) -> bool:
        """Tell whether something that happens every so many steps happens after this one."""
        return every is not None and self.number % every == 0


@dataclass(frozen=True)
class Evaluation:
    """An evaluation on the validation split, after an epoch or within one.

    Attributes:
        step: Optimizer steps taken.
        epoch: Epochs done; a fraction within one.
        loss: Mean training loss since the last evaluation.
        examples_per_second: Training speed since the last evaluation.
        metrics: On validation.
        value: The metric that selects; None where it is undefined.
        best: Whether it is the best evaluation so far.
        ends_epoch: Whether it follows the last step of an epoch.
    """

    step: int
    epoch: float
    loss: float
    examples_per_second: float
    metrics: Metrics
    value: float | None
    best: bool
    ends_epoch: bool


@dataclass(frozen=True)
class ProbeInitialization:
    """A linear probe initialised the output layer before the first step.

    Attributes:
        metrics: On validation.
        strength: Strength of the probe's penalty.
    """

    metrics: Metrics
    strength: float


@dataclass(frozen=True)
class EpochAverage:
    """The mean of the weights after each epoch was evaluated, after the last step.

    Attributes:
        metrics: On validation.
        epochs: How many epochs it is the mean of.
        kept: Whether it takes the place of the best single epoch.
    """

    metrics: Metrics
    epochs: int
    kept: bool


@dataclass(frozen=True)
class Notice:
    """Something the user should know, in a sentence."""

    text: str


Event = ProbeInitialization | Step | EpochAverage | Notice
