"""The loss of a batch, as a sum and the weight to divide it by.

Kept apart so that a step can be split into micro-batches of any size: the sums of the parts, divided by the weight of
the whole step, add up to the mean over the whole step.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def loss_weight(targets: Tensor, class_weights: Tensor | None) -> Tensor:
    """Return the divisor of the summed loss over `targets`, a scalar.

    For class ids it is the number of examples, each counted with the weight of its class, as in PyTorch's
    `cross_entropy`; for multi-label targets the number of decisions.
    """
    if targets.ndim == 2 or class_weights is None:
        return torch.tensor(float(targets.numel()), device=targets.device)
    return class_weights[targets].sum()


def loss_sum(logits: Tensor, targets: Tensor, class_weights: Tensor | None, label_smoothing: float) -> Tensor:
    """Return the summed loss of a batch, a scalar with gradient.

    Args:
        logits: `(B, C)` float32.
        targets: `(B,)` class ids for softmax cross-entropy, or `(B, C)` floats 0 or 1 for binary
            cross-entropy per label.
        class_weights: `(C,)`, the weight of each class; of each label's positive decisions if multi-label.
        label_smoothing: Share of the probability mass spread over all classes (Szegedy et al., 2016); over yes and no
            if multi-label.
    """
    if targets.ndim == 2:
        smoothed = targets * (1 - label_smoothing) + label_smoothing / 2
        return F.binary_cross_entropy_with_logits(logits, smoothed, pos_weight=class_weights, reduction="sum")
    return F.cross_entropy(
        logits, targets, weight=class_weights, label_smoothing=label_smoothing, reduction="sum"
    )
