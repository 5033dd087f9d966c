"""The parts of a classifier, found by running it rather than by the names of its modules."""

import contextlib
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from finetext.engine import Pool, evaluating

Reads = Literal["first", "last", "mean", "pooler"]


@dataclass(frozen=True)
class Structure:
    """Where a classifier's parameters stand.

    Attributes:
        layers: The layers in order; empty for a model that shares one (ALBERT) or has no list of them.
        layer_names: Their names in the network.
        before: Names of the parameters in front of the first layer.
        after: Those that run after the last layer: final norm, pooler, head.
        head: Those of `after` that make class logits of one position: pooler and head.
        reads: Which position the head reads; `pooler` is the first, read inside the backbone.
    """

    layers: tuple[nn.Module, ...]
    layer_names: tuple[str, ...]
    before: frozenset[str]
    after: frozenset[str]
    head: frozenset[str]
    reads: Reads

    @property
    def pool(self) -> Pool:
        """The position of the last hidden states that its own head reads."""
        return "first" if self.reads == "pooler" else self.reads

    @property
    def depth(self) -> int:
        """Number of layers."""
        return len(self.layers)


def find_structure(network: Any, token_id: int) -> Structure:
    """Run a text of four tokens through the network and note what runs when.

    Args:
        network: A sequence classifier on any device.
        token_id: An id that is not the pad id.
    """
    layers = _find_layers(network)
    ids = torch.full((1, 4), token_id, dtype=torch.long, device=network.device)
    with evaluating(network), torch.inference_mode():
        order = _order_of_modules(network, [module for _, module in layers], ids)
        reads = _find_reads(network, ids)
    names = frozenset(name for name, _ in network.named_parameters())
    backbone = f"{network.base_model_prefix}."
    head = frozenset(name for name in names if not name.startswith(backbone) or ".pooler." in f".{name}")
    after = frozenset(name for name, place in order.items() if place == "after") | head
    inside = frozenset(name for name, place in order.items() if place == "inside")
    return Structure(
        layers=tuple(module for _, module in layers),
        layer_names=tuple(name for name, _ in layers),
        before=names - after - inside,
        after=after,
        head=head,
        reads=reads,
    )


def _find_layers(network: Any) -> list[tuple[str, nn.Module]]:
    depth = getattr(network.config.get_text_config(), "num_hidden_layers", None)
    for name, module in network.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == depth:
            return [(f"{name}.{index}", layer) for index, layer in enumerate(module)]
    return []


def _order_of_modules(network: Any, layers: list[nn.Module], ids: Tensor) -> dict[str, str]:
    """Return `before`, `inside` or `after` for each parameter by when its module first runs."""
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    within = {id(parameter) for layer in layers for parameter in layer.parameters()}
    places = {names[key]: "inside" for key in within}
    place = "before"

    def enter(module: nn.Module, *_: Any) -> None:
        nonlocal place
        for parameter in module.parameters(recurse=False):
            places.setdefault(names[id(parameter)], place)

    def leave_last(*_: Any) -> None:
        nonlocal place
        place = "after"

    with contextlib.ExitStack() as hooks:
        for module in network.modules():
            hooks.enter_context(module.register_forward_pre_hook(enter))
        if layers:
            hooks.enter_context(layers[-1].register_forward_hook(leave_last))
        network(input_ids=ids, attention_mask=torch.ones_like(ids))
    return places


def _find_reads(network: Any, ids: Tensor) -> Reads:
    """Change the backbone's output at one position after the other and see which changes the logits."""
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    logits = network(**inputs).logits

    def matters(position: int) -> bool:
        def change(module: nn.Module, args: Any, output: Any) -> Any:
            hidden = output[0].clone()
            noise = torch.arange(hidden.shape[-1], device=hidden.device, dtype=hidden.dtype)
            hidden[:, position] += torch.sin(noise)
            if isinstance(output, tuple):
                return (hidden, *output[1:])
            output["last_hidden_state"] = hidden
            return output

        with network.base_model.register_forward_hook(change):
            return not torch.equal(logits, network(**inputs).logits)

    known: dict[tuple[bool, ...], Reads] = {
        (True, False, False, False): "first",
        (False, False, False, True): "last",
        (True, True, True, True): "mean",
    }
    return known.get(tuple(map(matters, range(ids.shape[1]))), "pooler")
