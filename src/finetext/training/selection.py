"""Which weights a run keeps: those of the best evaluation, or the mean of those after each epoch.

Late weights oscillate around a minimum; their mean lies nearer to it (Izmailov et al., "Averaging Weights Leads to
Wider Optima and Better Generalization", UAI 2018). A few hundred validation texts seldom tell epochs apart, so the
best of them is often the luckiest one: the mean needs no such choice, only a check that it is no worse.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from finetext.evaluation import Metrics, is_right, text_losses
from finetext.metric_names import higher_is_better


@dataclass
class WeightAverage:
    """The mean of the trained weights over the epochs so far.

    Attributes:
        epochs: How many.
        weights: Their mean, on the CPU; empty before the first.
    """

    epochs: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict, repr=False)

    def add(self, weights: Mapping[str, Tensor]) -> None:
        """Include the weights after another epoch."""
        self.epochs += 1
        with torch.no_grad():
            if not self.weights:
                self.weights = {
                    name: tensor.detach().to("cpu", copy=True) for name, tensor in weights.items()
                }
            for name, mean in self.weights.items():
                mean.lerp_(weights[name].detach().to(mean), 1 / self.epochs)


@dataclass
class Selection:
    """The best evaluation by one metric, and when to stop.

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
        weights: The trained parameters then; empty before the first evaluation.
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
    weights: dict[str, Tensor] = field(default_factory=dict, repr=False)

    def offer(
        self, metrics: Metrics, step: int, epoch: float, weights: Callable[[], dict[str, Tensor]]
    ) -> bool:
        """Take note of an evaluation, with a copy of its weights if it is the best so far; return whether it is.

        Of two with the same value the one with the lower log loss is better: few validation texts give many ties.
        An evaluation whose metric is undefined (ROC-AUC with one class, say) is best only if it is the first.
        """
        value, log_loss = metrics.value(self.metric), metrics.log_loss
        self.evaluations += 1
        best = _rank(self.metric, self.value, self.log_loss)
        if self.evaluations > 1 and _rank(self.metric, value, log_loss) <= best:
            self.waited += 1
            return False
        self.value, self.log_loss, self.step, self.epoch, self.waited = value, log_loss, step, epoch, 0
        self.weights = weights()
        return True

    def take_average(self, average: WeightAverage, metrics: Metrics, step: int, epoch: float) -> None:
        """Replace the best epoch by the mean of all."""
        self.value, self.step, self.epoch = metrics.value(self.metric), step, epoch
        self.log_loss, self.weights, self.averaged_epochs = metrics.log_loss, average.weights, average.epochs

    @property
    def exhausted(self) -> bool:
        """Whether patience has run out."""
        return self.patience is not None and self.waited >= self.patience

    def to_dict(self) -> dict[str, Any]:
        """Return all fields but the weights, as JSON values."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "weights"}


_UNDEFINED = (-math.inf, 0.0)


def _rank(metric: str, value: float | None, log_loss: float | None = None) -> tuple[float, float]:
    """Return what orders evaluations: by the metric, undefined values last, then by the log loss."""
    if value is None or math.isnan(value):
        return _UNDEFINED
    return value if higher_is_better(metric) else -value, -(log_loss or 0.0)


def is_no_worse(
    targets: NDArray[np.integer[Any]],
    average: tuple[NDArray[np.float32], Metrics],
    best: tuple[NDArray[np.float32], Metrics],
    task: str,
    metric: str,
) -> bool:
    """Tell whether the mean of the epochs is no worse on validation than the best of them.

    It is worse if it gets fewer texts right, or if both the selecting metric and the log loss are worse, each time by
    more than one standard error of the difference. If the two are equally good, a text on which they disagree is a
    coin toss, so the standard error of the difference is the root of the number of disagreements (McNemar, 1947).

    Args:
        targets: `(N,)` class ids, or `(N, C)` zeros and ones.
        average: Probabilities `(N, C)` and metrics of the mean.
        best: The same of the best epoch.
        task: binary, multi-class or multi-label.
        metric: The metric that selects.
    """
    right, right_best = (is_right(targets, probs, task) for probs, _ in (average, best))
    won, lost = int((right & ~right_best).sum()), int((right_best & ~right).sum())
    if lost - won > math.sqrt(lost + won):
        return False
    rank, rank_best = (_rank(metric, metrics.value(metric)) for _, metrics in (average, best))
    if rank == _UNDEFINED:
        return False
    if rank >= rank_best:
        return True
    multi = task == "multi-label"
    excess = text_losses(targets, average[0], multi) - text_losses(targets, best[0], multi)
    return bool(excess.mean() <= excess.std() / math.sqrt(len(excess)))
