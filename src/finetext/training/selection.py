"""Which weights are the best so far, and when to stop."""

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any, Self

from torch import Tensor

from finetext.evaluation import Metrics
from finetext.metric_names import higher_is_better
from finetext.training.averaging import WeightAverage


@dataclass
class Selection:
    """The best evaluation by one metric.

    Attributes:
        metric: Name of the metric.
        patience: Evaluations without a better one after which to stop; None never stops.
        value: Its best value so far.
        log_loss: On validation, of the best evaluation.
        step: The step of the best evaluation.
        epoch: Epochs done by then; a fraction within one.
        waited: Evaluations since.
        evaluations: Evaluations so far.
        averaged_epochs: Epochs of which the weights are the mean; 0 for those of a single evaluation.
        weights: The trained parameters then.
    """

    metric: str
    patience: int | None
    value: float | None = None
    log_loss: float | None = None
    step: int = 0
    epoch: float = 0.0
    waited: int = 0
    evaluations: int = 0
    averaged_epochs: int = 0
    weights: dict[str, Tensor] | None = field(default=None, repr=False)

    def offer(self, metrics: Metrics, step: int, epoch: float) -> bool:
        """Take note of an evaluation and return whether it is the best so far.

        Of two with the same value the one with the lower log loss is better: few validation texts give many ties.
        An evaluation whose metric is undefined (ROC-AUC with one class, say) is best only if it is the first.
        """
        value = metrics.value(self.metric)
        self.evaluations += 1
        if not self._better(value, metrics.log_loss):
            self.waited += 1
            return False
        self.value, self.step, self.epoch, self.waited = value, step, epoch, 0
        self.log_loss = metrics.log_loss
        return True

    def take_average(self, average: WeightAverage, metrics: Metrics, step: int, epoch: float) -> None:
        """Let the mean of the epochs take the place of the best of them."""
        self.value, self.step, self.epoch = metrics.value(self.metric), step, epoch
        self.log_loss, self.weights, self.averaged_epochs = metrics.log_loss, average.weights, average.epochs

    def _better(self, value: float | None, log_loss: float) -> bool:
        if self.evaluations == 1:
            return True
        if value is None or math.isnan(value):
            return False
        if self.value is None:
            return True
        if value == self.value:
            return self.log_loss is None or log_loss < self.log_loss
        return value > self.value if higher_is_better(self.metric) else value < self.value

    @property
    def exhausted(self) -> bool:
        """Whether patience has run out."""
        return self.patience is not None and self.waited >= self.patience

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the weights, as JSON values."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "weights"}

    @classmethod
    def from_dict(cls, values: dict[str, Any], weights: dict[str, Tensor] | None) -> Self:
        """Return what `to_dict` was taken from."""
        return cls(**values, weights=weights)
