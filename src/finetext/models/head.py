"""The output layer of a head, and what it reads."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from finetext.cache import Inputs
from finetext.engine import evaluating
from finetext.errors import ModelError
from finetext.models.logits import join_windows
from finetext.models.model import Model


def output_layer(model: Model) -> nn.Linear:
    """Return the last linear layer of the head, which gives the class logits.

    Raises:
        ModelError: The head has none.
    """
    layers = [
        module
        for name, module in model.network.named_modules()
        if isinstance(module, nn.Linear)
        and module.out_features == len(model.class_names)
        and f"{name}.weight" in model.structure.head
    ]
    if not layers:
        raise ModelError(f"{type(model.network).__name__} has no linear output layer.")
    return layers[-1]


def describe_head(model: Model) -> str:
    """Return a head's shape and which position it reads, for the summary before training."""
    hidden = model.network.config.get_text_config().hidden_size
    reads = model.structure.reads if model.settings.pooling == "native" else model.settings.pooling
    positions = {"pooler": "first token through the pooler", "mean": "mean of all tokens"}
    return f"{hidden} -> {len(model.class_names)}, reads the {positions.get(reads, f'{reads} token')}"


def head_inputs(model: Model, inputs: Inputs) -> Tensor:
    """Return what the output layer reads of each text, `(N, H)` float32; the mean over a long text's windows."""
    layer = output_layer(model)
    windows = inputs.windows()
    read: list[Tensor] = []

    def record(module: nn.Module, args: tuple[Any, ...]) -> None:
        vectors = args[0]
        read.append((vectors[:, 0] if vectors.ndim == 3 else vectors).float().cpu())

    vectors = torch.empty(len(windows), layer.in_features)
    with layer.register_forward_pre_hook(record), torch.no_grad(), evaluating(model.network):
        for chosen in model.batches(windows):
            model.logits(windows.batch(chosen).to(model.device))
            vectors[chosen] = read.pop()
    owners = np.repeat(np.arange(len(inputs)), [len(text) for text in inputs.encoded])
    return torch.from_numpy(join_windows(vectors.numpy(), owners, "mean"))


def set_output_layer(model: Model, weight: Tensor, bias: Tensor | None) -> None:
    """Write the weights of the output layer."""
    layer = output_layer(model)
    with torch.no_grad():
        layer.weight.copy_(weight)
        if layer.bias is not None:
            layer.bias.copy_(torch.zeros_like(layer.bias) if bias is None else bias)
