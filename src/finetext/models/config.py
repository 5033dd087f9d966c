"""The options of the model: the table `[model]`."""

from dataclasses import dataclass
from typing import Annotated, Literal

from finetext.options import Above0, AtLeast1, Bounds, Rate, also

Pooling = Literal["native", "last", "first", "mean"]


@dataclass(frozen=True)
class ModelConfig:
    """Model."""

    model: Annotated[str, also("--model-name-or-path")] = "minilm"
    """An alias (`finetext models` lists them), a model folder, or a Hugging Face Hub id."""
    revision: str | None = None
    """Branch, tag or commit of a Hub model; pinned to the commit that it resolves to."""
    weights: Literal["pretrained", "random"] = "pretrained"
    """`random` trains the architecture from scratch, for comparison."""
    depth: Annotated[int | Literal["auto"] | None, AtLeast1] = None
    """Keep only the first so many layers; `auto` chooses by a linear probe. By default all."""
    trainable: str = "last-2-blocks"
    """What to train: head, last-block, last-N-blocks (such as last-2-blocks), all, lora, or gradual."""
    lora_rank: Annotated[int, AtLeast1] = 8
    """Rank of the LoRA matrices."""
    lora_alpha: Annotated[float, Above0] = 16.0
    """LoRA's scale: the update is multiplied by `lora_alpha / lora_rank`."""
    lora_dropout: Annotated[float, Rate] = 0.0
    """Dropout in front of the LoRA matrices."""
    keep_adapter: bool = False
    """Also save the LoRA adapter in the run folder, beside the model it is merged into."""
    pooling: Pooling = "native"
    """Which position the head reads; `native` is what the architecture does by itself."""
    dropout: Annotated[float | None, Rate] = None
    """Dropout of the whole model; by default that of its configuration."""
    max_length: Annotated[int | None, Bounds(at_least=4), also("--max-seq-length")] = None
    """Maximum length of a text in tokens, special tokens included; by default the model's limit."""
    long_texts: Literal["truncate", "head-tail", "windows"] = "truncate"
    """How to treat texts over the limit: keep the start, keep start and end, or score overlapping windows."""
    window_pooling: Literal["mean", "max"] = "mean"
    """How the logits of a text's windows are combined."""
    allow_pickle: bool = False
    """Accept a model folder without safetensors; pickled weights are read as tensors only."""
