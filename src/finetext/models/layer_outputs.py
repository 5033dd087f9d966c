"""The pooled output of every layer, in one pass: what a head would read if the model ended there."""

import contextlib
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from finetext.cache import Inputs
from finetext.engine import computes_bf16_fast, evaluating, packed, pool
from finetext.errors import ModelError, UsageError
from finetext.models.model import Model


def pooled_by_depth(model: Model, inputs: Inputs, progress: Callable[[int], None]) -> tuple[Tensor, Tensor]:
    """Run texts through a model once and return what a head would read at each depth.

    Each output is normalised by the final norm, as in a model that ends there.

    Args:
        model: The model.
        inputs: The texts.
        progress: Called after each batch with the number of texts in it.

    Returns:
        The vectors, `(D, N, H)` float32: index 0 is the output of the first layer; of a long text's first window.
        The seconds, `(D,)`, that all texts took up to each depth.

    Raises:
        ModelError: The model has no layers that can be told apart.
    """
    layers = model.structure.layers
    if not layers:
        raise ModelError(
            f"{type(model.network).__name__} has no separate layer for each depth, so its depths cannot be compared."
        )
    norm = _final_norm(model)
    width = model.network.config.get_text_config().hidden_size
    vectors = torch.empty(len(layers), len(inputs), width)
    seconds = torch.zeros(len(layers))
    state: dict[str, Any] = {}

    def note(index: int, hidden: Tensor) -> None:
        state["seconds"][index] = time.perf_counter() - state["began"]
        hidden = hidden.float()  # (W, T, H)
        if norm is not None and model.reads == "mean":
            hidden = norm(hidden)
        pooled = pool(hidden, state["mask"], model.reads)  # (W, H)
        if norm is not None and model.reads != "mean":
            pooled = norm(pooled.unsqueeze(1))[:, 0]
        vectors[index, state["texts"]] = pooled.cpu()

    def entering(index: int) -> Callable[..., None]:
        # The input of the next layer, not the output of this one: some models work between their layers.
        return lambda module, args, kwargs: note(index, args[0] if args else kwargs["hidden_states"])

    def leaving(module: nn.Module, args: Any, output: Any) -> None:
        note(len(layers) - 1, output if isinstance(output, Tensor) else output[0])

    dtype = torch.bfloat16 if computes_bf16_fast(model.device) else torch.float32
    with (
        contextlib.ExitStack() as hooks,
        torch.no_grad(),
        evaluating(model.network),
        packed(list(layers) if model.device.type == "cpu" else [], dtype),
        model.padded(),
    ):
        hooks.enter_context(layers[-1].register_forward_hook(leaving))
        for index, layer in enumerate(layers[1:]):
            hooks.enter_context(layer.register_forward_pre_hook(entering(index), with_kwargs=True))
        first = Inputs([text[:1] for text in inputs.encoded], inputs.pad_id)
        for chosen in model.batches(first):
            batch = first.batch(chosen).to(model.device)
            state.update(texts=chosen, mask=batch.attention_mask, began=time.perf_counter())
            state["seconds"] = torch.zeros(len(layers))
            model.logits(batch)
            seconds += state["seconds"]
            progress(len(chosen))
    return vectors, seconds


def _final_norm(model: Model) -> nn.Module | None:
    """Return the norm between the last layer and the head, None if there is none."""
    names = {name.rpartition(".")[0] for name in model.structure.after - model.structure.head}
    norms = [module for name, module in model.network.named_modules() if name in names]
    return norms[0] if len(norms) == 1 else None


def parameters_by_depth(model: Model) -> list[int]:
    """Return how many parameters a model has that ends after each of its layers."""
    whole = sum(parameter.numel() for parameter in model.network.parameters())
    sizes = [sum(parameter.numel() for parameter in layer.parameters()) for layer in model.structure.layers]
    return [whole - sum(sizes[depth:]) for depth in range(1, len(sizes) + 1)]


def shorten(settings: Any, depth: int) -> None:
    """Keep only the first layers in a configuration.

    Raises:
        UsageError: The model has fewer layers.
    """
    inner = settings.get_text_config()
    whole = inner.num_hidden_layers
    if not 1 <= depth <= whole:
        raise UsageError(f"`depth` {depth}: the model has {whole} layers. Choose 1 to {whole}, or auto.")
    for name, value in list(vars(inner).items()):
        if isinstance(value, list) and len(value) == whole and "layer" in name:  # such as `layer_types`
            setattr(inner, name, value[:depth])
    inner.num_hidden_layers = depth
