"""Faster kernels for the same functions: fused GELU, oneDNN's matrix products, weights packed in advance.

Names, parameters and what is saved stay as they are; only how the product is computed changes.
"""

import contextlib
import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_COMPOSED_GELUS = ("NewGELUActivation", "FastGELUActivation")
_HAS_KERNEL = all(
    hasattr(torch.ops.mkldnn, name) for name in ("_linear_pointwise", "_reorder_linear_weight")
) and bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
_HAS_BF16 = _HAS_KERNEL and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
MIN_FEATURES = 16
"""Inputs and outputs that a layer must have for oneDNN: the head of a few classes is as fast without."""
ROW_MULTIPLE, MAX_ROUNDED_ROWS = 8, 256
"""A packed product with more than one row and fewer than the latter is padded to a multiple of the former. oneDNN
compiles a kernel for every number of rows, which takes as long as a small product, and keeps it."""


@dataclass(frozen=True)
class FastPath:
    """Whether a faster way of computing the same is used.

    Attributes:
        on: Whether it is.
        reason: Why it is not; empty if it is.
    """

    on: bool
    reason: str = ""


@dataclass(frozen=True)
class Packed:
    """A weight in the layout that the processor's matrix unit reads."""

    weight: Tensor
    bias: Tensor | None
    dtype: torch.dtype


def product(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return `left` times `right` transposed, plus the bias: `(..., I), (O, I) -> (..., O)`."""
    out: Tensor = torch.ops.mkldnn._linear_pointwise(left, right, bias, "none", [], "")
    return out


class Product(nn.Module):
    """What a linear layer and GPT-2's transposed one have in common."""

    weight: Any
    bias: Any
    transposed = False
    packed: Packed | None = None

    def forward(self, hidden: Tensor) -> Tensor:
        """Return `hidden` times the weight, plus the bias: `(..., I) -> (..., O)`."""
        learns = torch.is_grad_enabled() and (hidden.requires_grad or self.weight.requires_grad)
        if self.packed is not None and not learns and hidden.device.type == "cpu":
            return self._from_packed(self.packed, hidden)
        weight = self.weight.t() if self.transposed else self.weight  # (O, I)
        small = min(weight.shape) < MIN_FEATURES
        if hidden.device.type != "cpu" or self.weight.dtype != torch.float32 or small:
            return functional.linear(hidden, weight, self.bias)
        mixed = torch.is_autocast_enabled("cpu")
        dtype = torch.get_autocast_dtype("cpu") if mixed else torch.float32
        known = dtype == torch.float32 or (dtype == torch.bfloat16 and _HAS_BF16)
        if not known or hidden.dtype not in (torch.float32, dtype):
            return functional.linear(hidden, weight, self.bias)
        # As rows: what a function returns may be a view, which the caller could not change in place.
        rows = hidden.reshape(-1, hidden.shape[-1])
        out = _LinearFunction.apply(rows, self.weight, self.bias, self.transposed, dtype)  # type: ignore[no-untyped-call]
        return out.view(*hidden.shape[:-1], -1)  # type: ignore[no-any-return]

    def _from_packed(self, packed: Packed, hidden: Tensor) -> Tensor:
        dtype, shape = hidden.dtype, hidden.shape[:-1]
        rows = shape.numel()
        padded = 1 < rows < MAX_ROUNDED_ROWS and rows % ROW_MULTIPLE > 0
        if padded:
            hidden = functional.pad(hidden.reshape(rows, -1), (0, 0, 0, -rows % ROW_MULTIPLE))
        out = product(hidden.to(packed.dtype), packed.weight, packed.bias)
        if padded:
            out = out[:rows].view(*shape, -1)
        return out.to(dtype)


class FastLinear(Product, nn.Linear):
    """`nn.Linear` computed by oneDNN, which is twice as fast as MKL in float32 on AMD's processors."""


def macs_per_token(modules: Iterable[nn.Module]) -> int:
    """Return the multiplications that the linear layers in `modules`, each with all below it, do for a token."""
    layers = (layer for module in modules for layer in module.modules())
    return sum(layer.weight.numel() for layer in layers if isinstance(layer, Product))


@functools.cache
def _fast_conv1d() -> type[nn.Module]:
    from transformers.pytorch_utils import Conv1D

    class FastConv1D(Product, Conv1D):  # type: ignore[misc]
        """GPT-2's linear layer, whose weight is stored transposed: `(I, O)`."""

        transposed = True

    return FastConv1D


class _LinearFunction(torch.autograd.Function):
    """A product and its gradients by oneDNN; operands in `dtype`, gradients of the weights in float32."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, transposed: bool, dtype: torch.dtype
    ) -> Tensor:  # (N, I) -> (N, O)
        hidden, cast = hidden.to(dtype), weight.to(dtype)
        ctx.save_for_backward(hidden, cast)
        ctx.transposed = transposed
        bias = None if bias is None else bias.to(dtype)
        return product(hidden, cast.t() if transposed else cast, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        hidden, weight = ctx.saved_tensors
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        rows = gradient.to(hidden.dtype)  # (N, O)
        of_hidden = of_weight = of_bias = None
        if needs_hidden:
            back = weight if ctx.transposed else weight.t()  # (I, O)
            of_hidden = product(rows, back).to(gradient.dtype)
        if needs_weight:
            left, right = (hidden, rows) if ctx.transposed else (rows, hidden)
            of_weight = product(left.t(), right.t()).float()
        if needs_bias:
            of_bias = rows.float().sum(0)
        return of_hidden, of_weight, of_bias, None, None


def use_fast_kernels(network: nn.Module) -> dict[str, FastPath]:
    """Replace GELUs composed in Python by the fused kernel and, where oneDNN is available, the linear layers.

    GPT-2's GELU as composed costs more than the matrix products around it; the fused tanh form is the same
    function (Hendrycks and Gimpel, 2016), rounding aside.
    """
    composed = [
        (module, name)
        for module in network.modules()
        for name, child in module.named_children()
        if type(child).__name__ in _COMPOSED_GELUS and type(child).__module__ == "transformers.activations"
    ]
    for module, name in composed:
        setattr(module, name, nn.GELU("tanh"))
    reason = "" if composed else "the network has no GELU composed of several operations"
    paths = {"fused GELU": FastPath(bool(composed), reason)}
    if not _HAS_KERNEL:
        return paths | {
            "oneDNN products": FastPath(False, "this build of PyTorch lacks oneDNN's linear operators")
        }
    conv1d = _fast_conv1d()
    for module in network.modules():
        if type(module) is nn.Linear:
            module.__class__ = FastLinear
        elif type(module) in conv1d.__bases__:
            module.__class__ = conv1d
    products = any(isinstance(module, Product) for module in network.modules())
    return paths | {
        "oneDNN products": FastPath(products, "" if products else "the network has no linear layers")
    }


def pack(modules: Iterable[nn.Module], dtype: torch.dtype) -> list[nn.Module]:
    """Pack the weights of the linear layers in `modules`, for forward passes without gradient.

    Args:
        modules: Modules on the CPU, each with all below it.
        dtype: float32, or bfloat16: products in bfloat16 with float32 sums, everything else in float32. A processor
            without such products takes float32.

    Returns:
        The packed layers; give them to `unpack` before their weights change.
    """
    packed_layers: list[nn.Module] = []
    if not _HAS_KERNEL:
        return packed_layers
    if dtype == torch.bfloat16 and not _HAS_BF16:
        dtype = torch.float32
    for layer in (layer for module in modules for layer in module.modules()):
        if not isinstance(layer, Product) or layer.weight.device.type != "cpu" or layer.packed is not None:
            continue
        if min(layer.weight.shape) < MIN_FEATURES:
            continue
        with torch.no_grad():
            weight = (layer.weight.t() if layer.transposed else layer.weight).detach().to(dtype).contiguous()
            layer.packed = Packed(
                torch.ops.mkldnn._reorder_linear_weight(weight),
                None if layer.bias is None else layer.bias.detach().to(dtype),
                dtype,
            )
        packed_layers.append(layer)
    return packed_layers


def unpack(layers: Iterable[nn.Module]) -> None:
    """Let layers compute with their own weights again."""
    for layer in layers:
        layer.packed = None  # type: ignore[assignment]


@contextlib.contextmanager
def packed(modules: Iterable[nn.Module], dtype: torch.dtype) -> Iterator[None]:
    """Pack the linear layers of `modules` for the time of the block."""
    layers = pack(modules, dtype)
    try:
        yield
    finally:
        unpack(layers)
