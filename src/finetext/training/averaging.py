"""Averaging: the mean of the weights after each epoch, beside the best single epoch.

Late weights swing around a minimum; their mean lies nearer to it (Izmailov et al., "Averaging Weights Leads to Wider
Optima and Better Generalization", UAI 2018). A few hundred validation texts seldom tell epochs apart, so that the
best of them is often the luckiest: the mean needs no such choice, only a check that it is not worse.
"""

import math
from collections.abc import Mapping
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
        weights: Their mean, on the CPU; None before the first.
    """

    epochs: int = 0
    weights: dict[str, Tensor] | None = field(default=None, repr=False)

    def add(self, weights: Mapping[str, Tensor]) -> None:
        """Take in the weights after another epoch."""
        self.epochs += 1
        with torch.no_grad():
            if self.weights is None:
                self.weights = {name: own.detach().to("cpu", copy=True) for name, own in weights.items()}
                return
            for name, mean in self.weights.items():
                mean.lerp_(weights[name].detach().to(mean), 1 / self.epochs)


def holds(
    targets: NDArray[np.integer[Any]],
    average: tuple[NDArray[np.float32], Metrics],
    best: tuple[NDArray[np.float32], Metrics],
    task: str,
    metric: str,
) -> bool:
    """Tell whether validation finds the mean of the epochs no worse than the best of them.

    It is worse if it gets fewer texts right, or if the metric that selects is worse and the log loss too, both by more
    than one standard error of the difference. Texts on which the two differ are right in one of them by a coin's toss
    if they are equally good, so that the standard error of their number is its root (McNemar, 1947).

    Args:
        targets: `(N,)` class ids, or `(N, C)` zeros and ones.
        average: The mean's probabilities `(N, C)`, and their figures.
        best: The same of the best epoch.
        task: Binary, multi-class or multi-label.
        metric: The metric that selects.
    """
    right, right_best = (is_right(targets, probs, task) for probs, _ in (average, best))
    won, lost = int((right & ~right_best).sum()), int((right_best & ~right).sum())
    if lost - won > math.sqrt(lost + won):
        return False
    value, value_best = (figures.value(metric) for _, figures in (average, best))
    if value is None or math.isnan(value):
        return False
    if value_best is None or math.isnan(value_best):
        return True
    if value >= value_best if higher_is_better(metric) else value <= value_best:
        return True
    multi = task == "multi-label"
    more = text_losses(targets, average[0], multi) - text_losses(targets, best[0], multi)
    return bool(more.mean() <= more.std() / math.sqrt(len(more)))
