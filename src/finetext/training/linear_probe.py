"""Regularised logistic regression on vectors, by L-BFGS over all of them at once.

The loss is given by the caller, so that classes, labels that do not exclude each other, class weights and label
smoothing mean here what they mean in training.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

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
    """Fit a logistic regression for each strength and return the one with the least loss on validation.

    The vectors are standardised first, so that one penalty suits all their components; the result is for the
    vectors as they are.

    Args:
        vectors: `(N, H)` float32.
        targets: What `loss` takes.
        validation: The vectors and targets that choose the strength.
        classes: Number of classes.
        loss: The loss.
        bias: Fit a bias; without one the vectors are scaled but not centred.
        strengths: From strong to weak; each starts where the one before has ended.
    """
    centre = vectors.mean(0) if bias else torch.zeros(vectors.shape[1])
    spread = (vectors - centre).square().mean(0).sqrt().clamp(min=1e-6)
    scaled, held_out = (vectors - centre) / spread, (validation[0] - centre) / spread
    weight = torch.zeros(classes, vectors.shape[1])
    offset = torch.zeros(classes)
    best: LinearFit | None = None
    for strength in strengths:
        _minimise(weight, offset, scaled, targets, loss, strength, bias)
        with torch.no_grad():
            found = float(loss(held_out @ weight.t() + offset, validation[1]))
        if best is None or found < best.loss:
            whole = weight / spread
            own = offset - whole @ centre if bias else None
            best = LinearFit(whole, own, strength, found)
    assert best is not None
    return best


def _minimise(
    weight: Tensor, offset: Tensor, scaled: Tensor, targets: Tensor, loss: Loss, strength: float, bias: bool
) -> None:
    """Move `weight` and `offset` to the minimum of the penalised loss, in place."""
    parameters = [weight, offset] if bias else [weight]
    for parameter in parameters:
        parameter.requires_grad_(True)
    optimizer = torch.optim.LBFGS(
        parameters,
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

    with torch.enable_grad():
        optimizer.step(closure)  # type: ignore[no-untyped-call]
    for parameter in parameters:
        parameter.requires_grad_(False)
