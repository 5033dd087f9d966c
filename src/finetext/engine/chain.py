"""A head as the row of its modules, to be run on stored vectors without the network around it.

A step of a head alone takes microseconds; what the network's own forward pass does besides, for masks, positions and
output classes, takes several times as long.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

TOLERANCE = 1e-5
"""Largest difference of a logit from the network's own, of the largest logit."""


@dataclass(frozen=True)
class HeadChain:
    """Modules of which each takes what the one before it gives.

    Attributes:
        modules: The network's own, in order.
    """

    modules: tuple[nn.Module, ...]

    def __call__(self, vectors: Tensor) -> Tensor:
        """Return the logits `(W, C)` of what the head reads, `(W, H)`."""
        for module in self.modules:
            vectors = module(vectors)
        return vectors


def find_chain(network: nn.Module, run: Callable[[], Tensor], vectors: Tensor) -> HeadChain | None:
    """Return the head of a network as a chain, None if it is none.

    Args:
        network: The network; its mode is changed and not put back.
        run: Runs it on the vectors and returns the logits `(W, C)`.
        vectors: What its head reads, `(W, H)`.
    """
    network.eval()
    chain = _links(network, run, vectors)
    if chain is None:
        return None
    for mode in (False, True):  # with dropout too: a head that drops elsewhere draws other numbers
        network.train(mode)
        expected = _seeded(run, vectors.device)
        try:
            found = _seeded(lambda: chain(vectors), vectors.device)
        except (
            RuntimeError,
            ValueError,
            TypeError,
            IndexError,
        ):  # modules that take another form than `(W, H)`
            return None
        if found.shape != expected.shape:
            return None
        if not bool((found - expected).abs().max() <= TOLERANCE * expected.abs().max()):
            return None
    return chain


def _links(network: nn.Module, run: Callable[[], Tensor], vectors: Tensor) -> HeadChain | None:
    """Return the modules that lead from the vectors to the last one that is called."""
    calls: list[tuple[nn.Module, Tensor, Tensor]] = []

    def note(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if len(args) == 1 and isinstance(args[0], Tensor) and isinstance(output, Tensor):
            calls.append((module, args[0], output))

    leaves = [own for own in network.modules() if next(own.children(), None) is None]
    handles = [own.register_forward_hook(note) for own in leaves]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    chain: list[nn.Module] = []
    wanted: Tensor | None = calls[-1][2] if calls else None
    for module, given, output in reversed(calls):
        if wanted is not None and _is_same(output, wanted):
            chain.insert(0, module)
            wanted = given
    if (
        wanted is None
        or wanted.numel() != vectors.numel()
        or not torch.equal(wanted.reshape(vectors.shape), vectors)
    ):
        return None
    return HeadChain(tuple(chain))


def _is_same(one: Tensor, other: Tensor) -> bool:
    return one.data_ptr() == other.data_ptr() and one.shape == other.shape


def _seeded(run: Callable[[], Tensor], device: torch.device) -> Tensor:
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        return run()
