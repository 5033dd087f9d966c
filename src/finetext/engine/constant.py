"""No gradient of what is constant: the products behind the first norm of a cut network.

The first trained layer starts from stored features. The usual way to the gradients of its norm's scale and shift
goes through the gradient of the norm's output, a product as large as the forward one. They can be had without it.
With the normalized input x, the scale c and the shift d, the norm gives y = c x + d; a layer behind it z = y W + b.
Of the gradient G of z, the layer's weight needs a product in any case. Taken with x instead of y, that is M = x' G
(x' is x transposed), and with s the sum of G over all positions

    dW = c M + d s',    dc = the sum of W * M over the outputs,    dd = W s.
"""

import copy
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from finetext.engine.batching import Batch
from finetext.engine.cut import Forward
from finetext.engine.kernels import Product, product
from finetext.engine.passes import PassState

BLOCK = 1 << 19
"""Numbers of a weight that the cores' caches hold with what is made of them."""


class _Pass(PassState):
    given: Tensor | None = None  # what the norm normalized
    output: Tensor | None = None  # what it gave
    normalized: Tensor | None = None  # what it would give without scale and shift


class ConstantInput:
    """Lets the linear layers that a norm of constant input feeds find the gradients of its scale and shift.

    Attributes:
        norm: The norm.
        products: Those layers.
    """

    def __init__(self, norm: nn.Module, products: list[nn.Module]) -> None:
        self.norm, self.products = norm, products
        self._plain = _without_scale(norm)
        self._pass = _Pass()
        self._handle = norm.register_forward_hook(self._note)
        for layer in products:
            self._override(layer)

    def remove(self) -> None:
        """Let the gradients come the usual way."""
        self._handle.remove()
        for layer in self.products:
            vars(layer).pop("forward", None)

    def _note(self, norm: Any, args: Any, output: Tensor) -> None:
        state = self._pass
        learns = torch.is_grad_enabled() and norm.weight.requires_grad and not args[0].requires_grad
        usable = learns and output.device.type == "cpu" and output.dtype == torch.float32
        state.given, state.output = (args[0], output) if usable else (None, None)
        state.normalized = None

    def _normalized(self) -> Tensor:
        state = self._pass
        if state.normalized is None:
            with torch.no_grad():
                state.normalized = self._plain(state.given)
        return state.normalized

    def _override(self, layer: Any) -> None:
        ordinary = layer.forward
        norm: Any = self.norm

        def forward(own: Any, hidden: Tensor) -> Any:
            usual = hidden is not self._pass.output or own.weight.dtype != torch.float32
            if usual or torch.is_autocast_enabled("cpu"):
                return ordinary(hidden)
            shift = getattr(norm, "bias", None)
            return _Products.apply(  # type: ignore[no-untyped-call]
                hidden.detach(), self._normalized(), norm.weight, shift, own.weight, own.bias, own.transposed
            )

        layer.forward = MethodType(forward, layer)


def _without_scale(norm: nn.Module) -> Any:
    plain = copy.deepcopy(norm).requires_grad_(False)
    plain._forward_hooks.clear()
    plain._forward_pre_hooks.clear()
    for name, value in plain.named_parameters():
        value.fill_(1.0 if name == "weight" else 0.0)
    return plain


class _Products(torch.autograd.Function):
    """`hidden` times a weight, plus a bias, where `hidden` is `normalized * scale + shift`."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        normalized: Tensor,
        scale: Tensor,
        shift: Tensor | None,
        weight: Tensor,
        bias: Tensor | None,
        transposed: bool,
    ) -> Tensor:
        ctx.save_for_backward(normalized, scale, shift, weight)
        ctx.transposed = transposed
        return product(hidden, weight.t() if transposed else weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        normalized, scale, shift, weight = ctx.saved_tensors
        inputs = normalized.reshape(-1, normalized.shape[-1])  # (N, I)
        rows = gradient.reshape(-1, gradient.shape[-1])  # (N, O)
        left, right = (inputs, rows) if ctx.transposed else (rows, inputs)
        total = rows.sum(0)
        of_weight = product(left.t(), right.t())  # M so far
        of_scale = _finish(of_weight, weight, total, scale, shift, ctx.transposed)
        of_shift = None
        if shift is not None:
            of_shift = product(total.unsqueeze(0), weight if ctx.transposed else weight.t())[0]
        needs = ctx.needs_input_grad
        return (
            *(None, None),
            of_scale,
            of_shift if needs[3] else None,
            of_weight if needs[4] else None,
            total if needs[5] else None,
            None,
        )


def _finish(
    both: Tensor, weight: Tensor, total: Tensor, scale: Tensor, shift: Tensor | None, transposed: bool
) -> Tensor:
    """Make the gradient of the weight of M in its place, and return that of the scale, `(I,)`.

    Block by block, so that what is read several times is read from the processor's cache.
    """
    of_scale = torch.zeros_like(scale)
    step = max(1, BLOCK // weight.shape[1])
    for start in range(0, len(weight), step):
        part = slice(start, start + step)
        own = both[part]
        if transposed:  # (I, O)
            of_scale[part] = (weight[part] * own).sum(1)
            own.mul_(scale[part].unsqueeze(1))
            outer = None if shift is None else (shift[part], total)
        else:
            of_scale += (weight[part] * own).sum(0)
            own.mul_(scale)
            outer = None if shift is None else (total[part], shift)
        if outer is not None:
            own.addr_(*outer)
    return of_scale


def find_constant_input(layer: nn.Module, forward: Forward, batch: Batch) -> ConstantInput | None:
    """Find the norm that a cut network starts with and the linear layers that it feeds, and prove their gradients.

    Args:
        layer: The first one that is trained.
        forward: Runs the network on a batch.
        batch: Some texts with their hidden states at the cut, for the proof.

    Returns:
        None if the network starts with something else, or its gradients would be others.
    """
    found: ConstantInput | None = None
    trained = {name: own.requires_grad for name, own in layer.named_parameters()}
    try:
        layer.requires_grad_(True)
        with torch.enable_grad():
            norm, products = _first_norm(layer, forward, batch)
            if norm is None or not products:
                return None
            wanted = [*norm.parameters(), *(own for each in products for own in each.parameters())]
            expected = torch.autograd.grad(_scalar(forward(batch)), wanted)
            found = ConstantInput(norm, products)
            gradients = torch.autograd.grad(_scalar(forward(batch)), wanted)
        if all(_close(own, right) for own, right in zip(gradients, expected, strict=True)):
            return found
    except (RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError):
        pass  # a layer of another form
    finally:
        for name, own in layer.named_parameters():
            own.requires_grad_(trained[name])
    if found is not None:
        found.remove()
    return None


def _scalar(logits: Tensor) -> Tensor:
    return torch.sin(logits).sum()


def _close(found: Tensor, expected: Tensor) -> bool:
    return bool((found - expected).abs().max() <= 1e-4 * expected.abs().max())


def _first_norm(layer: nn.Module, forward: Forward, batch: Batch) -> tuple[Any, list[nn.Module]]:
    """Run the network and return the norm whose input has no gradient, and the linear layers that get its output."""
    norms: list[tuple[nn.Module, Tensor]] = []
    products: list[nn.Module] = []

    def note(module: nn.Module, args: Any, output: Any) -> None:
        if isinstance(module, Product):
            if norms and args[0] is norms[0][1]:
                products.append(module)
        elif getattr(module, "weight", None) is not None and not args[0].requires_grad:
            norms.append((module, output))

    leaves = [module for module in layer.modules() if next(module.children(), None) is None]
    handles = [module.register_forward_hook(note) for module in leaves]
    try:
        forward(batch)
    finally:
        for handle in handles:
            handle.remove()
    return (norms[0][0], products) if len(norms) == 1 else (None, [])
