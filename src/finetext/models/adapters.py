"""LoRA (Hu et al., 2022) through PEFT, on the linear layers inside the blocks."""

import warnings
from pathlib import Path

from torch import nn

from finetext.errors import ModelError
from finetext.models.config import ModelConfig
from finetext.models.model import Model

ADAPTER = "default"


def linear_layers(model: Model) -> list[str]:
    """Return the names of all linear layers inside the blocks, GPT-2's `Conv1D` included."""
    from transformers.pytorch_utils import Conv1D

    places = tuple(f"{name}." for name in model.structure.layer_names) or (
        f"{model.network.base_model_prefix}.",
    )
    return [
        name
        for name, module in model.network.named_modules()
        if isinstance(module, (nn.Linear, Conv1D))
        and name.startswith(places)
        and name not in model.structure.head
    ]


def adapt(model: Model, config: ModelConfig) -> None:
    """Put adapters beside the linear layers, in place: the network stays the class it is.

    Their weights are drawn from torch's global generator.

    Raises:
        ModelError: The model has no linear layers that PEFT knows.
    """
    from peft import LoraConfig, inject_adapter_in_model

    targets = linear_layers(model)
    if not targets:
        raise ModelError("LoRA finds no linear layers in this model. Use another --trainable.")
    settings = LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules=targets,
    )
    with warnings.catch_warnings():
        # PEFT finds out about Conv1D's transposed weights by itself and warns that it did.
        warnings.filterwarnings("ignore", message=".*fan_in_fan_out.*")
        inject_adapter_in_model(settings, model.network, ADAPTER)
    model.network.train(model.network.training)  # PEFT leaves its dropout on
    model.network.peft_settings = settings


def merge_adapter(model: Model) -> None:
    """Add the adapters to the weights they stand beside and take them out."""
    from peft.tuners.lora import LoraLayer

    for name, module in list(model.network.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge()
            parent, _, attribute = name.rpartition(".")
            setattr(model.network.get_submodule(parent), attribute, module.get_base_layer())
    del model.network.peft_settings
    if hasattr(model.network, "peft_config"):
        del model.network.peft_config


def save_adapter(model: Model, folder: Path) -> None:
    """Write the adapters as a PEFT folder."""
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    weights = get_peft_model_state_dict(model.network, adapter_name=ADAPTER)
    # PEFT reads the names that its own wrapper around the whole model would give them.
    named = {f"base_model.model.{name}": tensor.contiguous().cpu() for name, tensor in weights.items()}
    save_file(named, folder / "adapter_model.safetensors")
    settings = model.network.peft_settings
    # PEFT would write its set of target modules in the order of their hashes, another one in each process.
    settings.target_modules = sorted(settings.target_modules)
    settings.save_pretrained(folder)
