"""The short names of models, with what one wants to know before choosing. Importable without torch."""

from dataclasses import dataclass, field
from typing import Any

TRAINABLE_SHOWN = ("head", "last-block", "lora", "all")
LORA_RANK = 8


@dataclass(frozen=True)
class Entry:
    """A model with a short name.

    Attributes:
        alias: The short name.
        hub_id: Where its weights are on the Hugging Face Hub.
        family: Its `model_type`.
        context: Longest text in tokens, special tokens included.
        parameters: Of the backbone with a head for two classes.
        block_parameters: Of one layer.
        head_parameters: Of what stands after the last layer: final norm, pooler and head.
        depth: Number of layers.
        hidden: Width.
        architecture: The sizes, as arguments of the family's configuration class.
    """

    alias: str
    hub_id: str
    family: str
    context: int
    parameters: int
    block_parameters: int
    head_parameters: int
    depth: int
    hidden: int
    architecture: dict[str, Any] = field(repr=False, default_factory=dict)

    @property
    def causal(self) -> bool:
        """Whether it is a decoder that can continue a text."""
        return self.family in ("gpt2", "llama", "phi3")

    def trained(self, trainable: str) -> int:
        """Return about how many parameters are trained under a mode of `--trainable`."""
        if trainable == "all":
            return self.parameters
        if trainable == "lora":
            # Two matrices of rank r beside each square of the block; a block has 12 H^2 or so.
            squares = self.block_parameters / self.hidden**2
            return int(2 * LORA_RANK * self.hidden * squares * self.depth * 0.75) + self.head_parameters
        return self.head_parameters + (self.block_parameters if trainable == "last-block" else 0)

    def training_bytes(self, trainable: str, batch_size: int = 8, tokens: int = 128) -> int:
        """Estimate the memory that training needs.

        Weights in float32 (4 bytes each); for each trained parameter a gradient and AdamW's two moments (12
        bytes more); and activations kept for the backward pass, about 34 values of 2 bytes a token, layer and
        hidden unit (Korthikanti et al., 2022, without the attention matrices, which fused attention does not
        keep), twice that in float32, in the layers that gradients pass through.
        """
        layers = {"head": 0, "last-block": 1}.get(trainable, self.depth)
        activations = 68 * batch_size * tokens * self.hidden * max(layers, 1)
        return 4 * self.parameters + 12 * self.trained(trainable) + activations


def _gpt2(alias: str, hub_id: str, layers: int, width: int, heads: int) -> Entry:
    block = 12 * width * width + 13 * width
    after = 2 * width + 2 * width  # final norm; head without bias
    return Entry(
        alias,
        hub_id,
        "gpt2",
        1024,
        50257 * width + 1024 * width + layers * block + after,
        block,
        after,
        layers,
        width,
        {"n_layer": layers, "n_embd": width, "n_head": heads},
    )


def _bert_like(
    alias: str,
    hub_id: str,
    family: str,
    *,
    layers: int,
    width: int,
    embeddings: int,
    after: int,
    context: int,
    architecture: dict[str, Any],
) -> Entry:
    block = 12 * width * width + 13 * width
    return Entry(
        alias,
        hub_id,
        family,
        context,
        embeddings + layers * block + after,
        block,
        after,
        layers,
        width,
        architecture,
    )


def _square(width: int, outputs: int = 2) -> int:
    # A dense layer of the same width before the classes, as the BERT family has it.
    return width * width + width + width * outputs + outputs


CATALOGUE: tuple[Entry, ...] = (
    _bert_like(
        "minilm",
        "sentence-transformers/all-MiniLM-L6-v2",
        "bert",
        layers=6,
        width=384,
        embeddings=(30522 + 512 + 2 + 2) * 384,
        after=_square(384),
        context=512,
        architecture={
            "num_hidden_layers": 6,
            "hidden_size": 384,
            "num_attention_heads": 12,
            "intermediate_size": 1536,
        },
    ),
    _gpt2("distilgpt2", "distilbert/distilgpt2", 6, 768, 12),
    _gpt2("gpt2", "openai-community/gpt2", 12, 768, 12),
    _gpt2("gpt2-medium", "openai-community/gpt2-medium", 24, 1024, 16),
    _gpt2("gpt2-large", "openai-community/gpt2-large", 36, 1280, 20),
    _gpt2("gpt2-xl", "openai-community/gpt2-xl", 48, 1600, 25),
    _bert_like(
        "distilbert",
        "distilbert/distilbert-base-uncased",
        "distilbert",
        layers=6,
        width=768,
        embeddings=(30522 + 512 + 2) * 768,
        after=_square(768),
        context=512,
        architecture={},
    ),
    _bert_like(
        "bert",
        "google-bert/bert-base-uncased",
        "bert",
        layers=12,
        width=768,
        embeddings=(30522 + 512 + 2 + 2) * 768,
        after=_square(768),
        context=512,
        architecture={},
    ),
    _bert_like(
        "roberta",
        "FacebookAI/roberta-base",
        "roberta",
        layers=12,
        width=768,
        embeddings=(50265 + 514 + 1 + 2) * 768,
        after=_square(768),
        context=512,
        architecture={
            "vocab_size": 50265,
            "max_position_embeddings": 514,
            "type_vocab_size": 1,
            "pad_token_id": 1,
        },
    ),
    Entry(
        "modernbert",
        "answerdotai/ModernBERT-base",
        "modernbert",
        8192,
        149_606_402,
        768 * 3 * 768 + 768 * 768 + 768 * 2 * 1152 + 1152 * 768 + 2 * 768,
        768 + 768 * 768 + 768 + 768 * 2 + 2,
        22,
        768,
        {},
    ),
    Entry(
        "llama-3.2-1b",
        "meta-llama/Llama-3.2-1B",
        "llama",
        131072,
        1_235_818_496,
        2 * 2048 * 2048 + 2 * 2048 * 512 + 3 * 2048 * 8192 + 2 * 2048,
        2048 + 2 * 2048,
        16,
        2048,
        {
            "vocab_size": 128256,
            "hidden_size": 2048,
            "intermediate_size": 8192,
            "num_hidden_layers": 16,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "max_position_embeddings": 131072,
        },
    ),
    Entry(
        "phi-3-mini",
        "microsoft/Phi-3-mini-4k-instruct",
        "phi3",
        4096,
        3_722_585_088,
        3072 * 9216 + 3072 * 3072 + 3072 * 2 * 8192 + 8192 * 3072 + 2 * 3072,
        3072 + 2 * 3072,
        32,
        3072,
        {
            "vocab_size": 32064,
            "hidden_size": 3072,
            "intermediate_size": 8192,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 32,
            "max_position_embeddings": 4096,
        },
    ),
)

ALIASES: dict[str, Entry] = {entry.alias: entry for entry in CATALOGUE}
