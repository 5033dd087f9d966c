"""Faster kernels for the same functions: fused GELU, oneDNN's matrix products, weights packed in advance.

The classes here take the place of a network's own modules of the same kind. Names, parameters and what is
saved stay as they are; only the way the product is computed changes.
"""

import contextlib
import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from finetext.engine.passes import PassState

_TANH_GELUS = ("NewGELUActivation", "FastGELUActivation", "GELUTanh", "PytorchGELUTanh")
_HAS_KERNEL = all(
    hasattr(torch.ops.mkldnn, name) for name in ("_linear_pointwise", "_reorder_linear_weight")
) and bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
_HAS_BF16 = _HAS_KERNEL and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
_NOTHING_ELSE: Any = ("none", [], "")
"""What oneDNN is to do to a product: the name of a function, its scalars, its algorithm."""


LEAST_WORK = 100_000
"""Multiplications of a product from which on oneDNN is faster; before that calling it takes longer."""

LEAST_SIDE = 16
"""Inputs or outputs that a layer must have for oneDNN: a head of few classes is as fast without."""
ROUNDING, MOST_ROUNDED = 8, 256
"""A packed product of more than one row and fewer than the latter has a multiple of the former. oneDNN compiles one
for every number of rows, which takes as long as a small product, and keeps it, which splits the heap."""


@dataclass(frozen=True)
class Packed:
    """A weight in the layout that the processor's matrix unit reads, and what is applied to the product."""

    weight: Tensor
    bias: Tensor | None
    dtype: torch.dtype
    gelu: str | None


class _Applied(PassState):
    applied = False


class Gelu(nn.Module):
    """GELU in one fused kernel; passes its input on where the layer before has applied it already."""

    def __init__(self, approximate: str) -> None:
        super().__init__()
        self.approximate = approximate
        self.state = _Applied()

    def forward(self, hidden: Tensor) -> Tensor:
        """Return GELU of `hidden`, elementwise."""
        if self.state.applied:
            self.state.applied = False
            return hidden
        return functional.gelu(hidden, approximate=self.approximate)


def product(left: Tensor, right: Tensor, bias: Tensor | None = None, then: Any = _NOTHING_ELSE) -> Tensor:
    """Return `left` times `right` transposed, plus the bias: `(..., I), (O, I) -> (..., O)`."""
    out: Tensor = torch.ops.mkldnn._linear_pointwise(left, right, bias, *then)
    return out


class Product(nn.Module):
    """What a linear layer and GPT-2's transposed one share."""

    weight: Any
    bias: Any
    transposed = False
    packed: Packed | None = None
    activation: tuple[Gelu, ...] = ()  # in a tuple, so that it is no submodule

    def forward(self, hidden: Tensor) -> Tensor:
        """Return `hidden` times the weight, plus the bias: `(..., I) -> (..., O)`."""
        learns = torch.is_grad_enabled() and (hidden.requires_grad or self.weight.requires_grad)
        if self.packed is not None and not learns and hidden.device.type == "cpu":
            return self._from_packed(self.packed, hidden)
        weight = self.weight.t() if self.transposed else self.weight  # (O, I)
        if not learns and hidden.dtype != weight.dtype and not torch.is_autocast_enabled(hidden.device.type):
            hidden = hidden.to(weight.dtype)  # from a packed layer, by way of its GELU
        work = hidden.numel() * len(weight)
        small = work < LEAST_WORK or min(weight.shape) < LEAST_SIDE
        if hidden.device.type != "cpu" or self.weight.dtype != torch.float32 or small:
            return functional.linear(hidden, weight, self.bias)
        mixed = torch.is_autocast_enabled("cpu")
        dtype = torch.get_autocast_dtype("cpu") if mixed else torch.float32
        known = dtype == torch.float32 or (dtype == torch.bfloat16 and _HAS_BF16)
        if not known or hidden.dtype not in (torch.float32, dtype):
            return functional.linear(hidden, weight, self.bias)
        return _LinearFunction.apply(hidden, self.weight, self.bias, self.transposed, dtype)  # type: ignore[no-any-return, no-untyped-call]

    def _from_packed(self, packed: Packed, hidden: Tensor) -> Tensor:
        given, shape = hidden.dtype, hidden.shape[:-1]
        rows = shape.numel()
        filled = 1 < rows < MOST_ROUNDED and rows % ROUNDING > 0
        if filled:
            hidden = functional.pad(hidden.reshape(rows, -1), (0, 0, 0, -rows % ROUNDING))
        function = ("gelu", [], packed.gelu) if packed.gelu else _NOTHING_ELSE
        out = product(hidden.to(packed.dtype), packed.weight, packed.bias, function)
        if filled:
            out = out[:rows].view(*shape, -1)
        if packed.gelu:
            self.activation[0].state.applied = True
            return out  # the next layer takes it in this precision
        return out.to(given)


class FastLinear(Product, nn.Linear):
    """`nn.Linear` computed by oneDNN, which is twice as fast as MKL in float32 on AMD's processors."""


def products_per_token(modules: Iterable[nn.Module]) -> int:
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
    ) -> Tensor:
        hidden, cast = hidden.to(dtype), weight.to(dtype)
        ctx.save_for_backward(hidden, cast)
        ctx.transposed = transposed
        bias = None if bias is None else bias.to(dtype)
        return product(hidden, cast.t() if transposed else cast, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        hidden, weight = ctx.saved_tensors
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        rows = gradient.to(hidden.dtype).reshape(-1, gradient.shape[-1])  # (N, O)
        of_hidden = of_weight = of_bias = None
        if needs_hidden:
            back = weight if ctx.transposed else weight.t()  # (I, O)
            of_hidden = product(rows, back).view(hidden.shape).to(gradient.dtype)
        if needs_weight:
            inputs = hidden.reshape(-1, hidden.shape[-1])  # (N, I)
            left, right = (inputs, rows) if ctx.transposed else (rows, inputs)
            of_weight = product(left.t(), right.t()).float()
        if needs_bias:
            of_bias = rows.float().sum(0)
        return of_hidden, of_weight, of_bias, None, None


def use_fast_kernels(network: nn.Module) -> None:
    """Replace the GELUs of a network by the fused kernel and, where oneDNN is there, its linear layers.

    GPT-2's GELU as composed in Python costs more than the matrix products around it; the fused tanh form is the
    same function (Hendrycks and Gimpel, 2016), rounding aside.
    """
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            kind = type(child).__name__
            if kind in _TANH_GELUS and type(child).__module__ == "transformers.activations":
                setattr(module, name, Gelu("tanh"))
            elif kind == "GELUActivation" or (type(child) is nn.GELU and child.approximate == "none"):
                setattr(module, name, Gelu("none"))
    if not _HAS_KERNEL:
        return
    conv1d = _fast_conv1d()
    for module in network.modules():
        if type(module) is nn.Linear:
            module.__class__ = FastLinear
        elif type(module) in conv1d.__bases__:
            module.__class__ = conv1d


@contextlib.contextmanager
def noting_fusions(network: nn.Module) -> Iterator[None]:
    """Watch the forward passes in the block for GELUs that take the output of a linear layer directly.

    The packed form of such a layer applies the GELU while the product is still in the cache.
    """
    last: dict[str, Any] = {"layer": None, "output": None}

    def after(layer: nn.Module, args: Any, output: Any) -> None:
        last["layer"], last["output"] = layer, output

    def before(gelu: nn.Module, args: Any) -> None:
        if args and args[0] is last["output"]:
            last["layer"].activation = (gelu,)

    handles: list[Any] = []
    for module in network.modules():
        if isinstance(module, Product):
            handles.append(module.register_forward_hook(after))
        elif isinstance(module, Gelu):
            handles.append(module.register_forward_pre_hook(before))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def forget_fusions(network: nn.Module) -> None:
    """Let every GELU be computed for itself: something now stands between it and the layer before."""
    for module in network.modules():
        if isinstance(module, Product):
            module.activation = ()


def pack(modules: Iterable[nn.Module], dtype: torch.dtype) -> list[nn.Module]:
    """Pack the weights of the linear layers in `modules`, for forward passes without gradient.

    Args:
        modules: Modules on the CPU, each with all below it.
        dtype: float32, or bfloat16: products in bfloat16 with float32 sums, all else in float32. A processor
            that has no such products takes float32.

    Returns:
        The layers that are packed; give them to `unpack`, at the latest when their weights change.
    """
    done: list[nn.Module] = []
    if not _HAS_KERNEL:
        return done
    if dtype == torch.bfloat16 and not _HAS_BF16:
        dtype = torch.float32
    for layer in (layer for module in modules for layer in module.modules()):
        if not isinstance(layer, Product) or layer.weight.device.type != "cpu" or layer.packed is not None:
            continue
        if min(layer.weight.shape) < LEAST_SIDE:
            continue
        with torch.no_grad():
            weight = (layer.weight.t() if layer.transposed else layer.weight).detach().to(dtype).contiguous()
            layer.packed = Packed(
                torch.ops.mkldnn._reorder_linear_weight(weight),
                None if layer.bias is None else layer.bias.detach().to(dtype),
                dtype,
                {"none": "none", "tanh": "tanh"}[layer.activation[0].approximate]
                if layer.activation
                else None,
            )
        done.append(layer)
    return done


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
