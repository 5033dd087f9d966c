"""Linear probes: regularised logistic regression on fixed vectors, also as a start for the output layer.

Linear probing, then fine-tuning (Kumar et al., "Fine-Tuning can Distort Pretrained Features and Underperform
Out-of-Distribution", ICLR 2022): the first gradients of a random head would distort the backbone for nothing.
Where layers below are trained too, only the direction of the fit is kept: a logistic regression on few texts has
weights a hundred times those of a fresh head, and every gradient below would be as many times too large.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from finetext.models import Model, head_inputs, output_layer, set_output_layer
from finetext.training.losses import loss_sum, loss_weight
from finetext.training.setup import RunInputs, Setup

MAX_TEXTS = 20_000
"""A fit of so few parameters hardly changes with more."""

STRENGTHS = (1e-1, 1e-2, 1e-3, 1e-4)
"""Strengths of the penalty that are tried, from strong to weak: of half the squared norm, beside the mean loss."""
_ITERATIONS = 100

Loss = Callable[[Tensor, Tensor], Tensor]
"""Takes logits `(N, C)` and targets; returns their mean loss."""


@dataclass(frozen=True)
class LinearFit:
    """A linear classifier.

    Attributes:
        weight: `(C, H)`.
        bias: `(C,)`, None if it was fitted without one.
        strength: The strength of its penalty.
        loss: Its mean loss on the validation vectors.
    """

    weight: Tensor
    bias: Tensor | None
    strength: float
    loss: float

    def logits(self, vectors: Tensor) -> Tensor:
        """Return `(N, H) -> (N, C)`."""
        return torch.nn.functional.linear(vectors, self.weight, self.bias)


def fit_logistic(
    vectors: Tensor,
    targets: Tensor,
    validation: tuple[Tensor, Tensor],
    classes: int,
    loss: Loss,
    *,
    bias: bool = True,
    strengths: Sequence[float] = STRENGTHS,
) -> LinearFit:
    """Fit a logistic regression by L-BFGS for each strength, and return the one with the least loss on validation.

    The vectors are standardised first, so that one penalty suits all their components; the result applies to the
    vectors as they are. The caller gives the loss, so that several labels, class weights and label smoothing mean
    the same here as in training.

    Args:
        vectors: `(N, H)` float32.
        targets: What `loss` takes.
        validation: The vectors and targets that choose the strength.
        classes: Number of classes.
        loss: The loss.
        bias: Fit a bias; without one the vectors are scaled but not centred.
        strengths: Of the penalty, from strong to weak; each fit starts from the one before.
    """
    centre = vectors.mean(0) if bias else torch.zeros(vectors.shape[1])
    spread = (vectors - centre).square().mean(0).sqrt().clamp(min=1e-6)
    scaled, held_out = (vectors - centre) / spread, (validation[0] - centre) / spread
    weight = torch.zeros(classes, vectors.shape[1], requires_grad=True)
    offset = torch.zeros(classes, requires_grad=bias)
    fits = []
    for strength in strengths:
        _minimise(weight, offset, scaled, targets, loss, strength)
        with torch.no_grad():
            held_out_loss = float(loss(held_out @ weight.t() + offset, validation[1]))
            unscaled = weight / spread
            shift = offset - unscaled @ centre if bias else None
        fits.append(LinearFit(unscaled, shift, strength, held_out_loss))
    return min(fits, key=lambda fit: fit.loss)


def _minimise(
    weight: Tensor, offset: Tensor, scaled: Tensor, targets: Tensor, loss: Loss, strength: float
) -> None:
    """Move `weight`, and `offset` if it is fitted, to the minimum of the penalised loss, in place."""
    optimizer = torch.optim.LBFGS(
        [parameter for parameter in (weight, offset) if parameter.requires_grad],
        max_iter=_ITERATIONS,
        tolerance_grad=1e-5,
        tolerance_change=1e-7,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(scaled @ weight.t() + offset, targets) + strength / 2 * weight.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(closure)  # type: ignore[no-untyped-call]


def fit_probe(setup: Setup, train: Tensor, validation: Tensor, *, bias: bool = True) -> LinearFit:
    """Fit a logistic regression with the loss of a run.

    Args:
        setup: The run.
        train: `(N, H)`, vectors of the first texts of the balanced training split.
        validation: `(M, H)`, those of the first validation texts; they choose the penalty.
        bias: Fit a bias.
    """
    weights = None if setup.class_weights is None else torch.tensor(setup.class_weights)
    smoothing = setup.config.train.label_smoothing

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        return loss_sum(logits, targets, weights, smoothing) / loss_weight(targets, weights)

    targets = setup.target_tensor(setup.train)[: len(train)]
    held_out = setup.target_tensor(setup.splits.validation)[: len(validation)]
    return fit_logistic(
        train, targets, (validation, held_out), len(setup.dataset.class_names), loss, bias=bias
    )


def initialize_head(setup: Setup, inputs: RunInputs) -> LinearFit:
    """Fit a linear probe on what the output layer reads, and write it into the output layer."""
    model = setup.model
    train, validation = (head_inputs(model, split) for split in (inputs.train, inputs.validation))
    fit = fit_probe(setup, train[:MAX_TEXTS], validation, bias=output_layer(model).bias is not None)
    set_output_layer(model, fit.weight, fit.bias)
    return fit


def shrink_head(model: Model) -> None:
    """Scale the output layer down until its longest row is as long as a fresh one; its predictions stay the same.

    A fresh row of `H` weights with standard deviation `initializer_range` has a norm of about `sqrt(H)` times that.
    """
    layer = output_layer(model)
    deviation = getattr(model.network.config.get_text_config(), "initializer_range", None) or 0.02
    longest = float(layer.weight.detach().norm(dim=1).max())
    scale = min(1.0, deviation * math.sqrt(layer.in_features) / max(longest, 1e-12))
    with torch.no_grad():
        layer.weight.mul_(scale)
        if layer.bias is not None:
            layer.bias.mul_(scale)
