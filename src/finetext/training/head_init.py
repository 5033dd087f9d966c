"""Head start: the output layer is a fitted logistic regression before the first step.

Linear probing, then fine-tuning (Kumar et al., "Fine-Tuning can Distort Pretrained Features and Underperform
Out-of-Distribution", ICLR 2022): a fresh head's first gradients would pull at the backbone for nothing.
Of the fit only the direction is kept where layers below are trained too: a logistic regression on few texts has
weights a hundred times a fresh head's, and every gradient below would be as many times too large.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from finetext.cache import Inputs
from finetext.models import Model, head_inputs, output_layer, set_output_layer
from finetext.training import LinearFit, fit_logistic
from finetext.training.losses import mean_loss

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
    vectors = head_inputs(model, train)[:MOST_TEXTS]
    fit = fit_logistic(
        vectors,
        targets[:MOST_TEXTS],
        (head_inputs(model, validation), validation_targets),
        len(model.class_names),
        mean_loss(class_weights, label_smoothing),
        bias=output_layer(model).bias is not None,
    )
    set_output_layer(model, fit.weight, fit.bias)
    return fit


def shorten_head(model: Model) -> None:
    """Scale the output layer down until its longest row is as long as a fresh one; what it predicts stays.

    A fresh row of `H` weights of standard deviation `initializer_range` has a length of about its `sqrt(H)`-fold.
    """
    layer = output_layer(model)
    deviation = getattr(model.network.config.get_text_config(), "initializer_range", None) or 0.02
    longest = float(layer.weight.detach().norm(dim=1).max())
    scale = min(1.0, deviation * math.sqrt(layer.in_features) / max(longest, 1e-12))
    with torch.no_grad():
        layer.weight.mul_(scale)
        if layer.bias is not None:
            layer.bias.mul_(scale)
