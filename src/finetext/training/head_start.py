"""Head start: the output layer is a fitted logistic regression before the first step.

Linear probing, then fine-tuning (Kumar et al., "Fine-Tuning can Distort Pretrained Features and Underperform
Out-of-Distribution", ICLR 2022): a fresh head's first gradients would pull at the backbone for nothing.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from finetext.engine import Inputs, LinearFit, fit_logistic
from finetext.models import Model, head_inputs, output_layer, set_output_layer
from finetext.training.losses import loss_sum, loss_weight

MOST_TEXTS = 20_000
"""More do not change the fit of so few numbers noticeably."""


def start_head(
    model: Model,
    train: Inputs,
    targets: Tensor,
    validation: Inputs,
    validation_targets: Tensor,
    class_weights: Sequence[float] | None,
    label_smoothing: float,
) -> LinearFit:
    """Fit the output layer on what it reads of the training texts, its penalty chosen on validation.

    Args:
        model: The model; its output layer is set.
        train: The training split.
        targets: Its classes: `(N,)` ids, or `(N, C)` zeros and ones.
        validation: The validation split.
        validation_targets: Its classes.
        class_weights: Weight of each class in the loss, or None.
        label_smoothing: As in training.
    """
    weights = None if class_weights is None else torch.tensor(class_weights)
    vectors = head_inputs(model, train)[:MOST_TEXTS]

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        return loss_sum(logits, targets, weights, label_smoothing) / loss_weight(targets, weights)

    fit = fit_logistic(
        vectors,
        targets[:MOST_TEXTS],
        (head_inputs(model, validation), validation_targets),
        len(model.class_names),
        loss,
        bias=output_layer(model).bias is not None,
    )
    set_output_layer(model, fit.weight, fit.bias)
    return fit
