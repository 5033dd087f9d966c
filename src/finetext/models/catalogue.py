"""The short names of models, with the facts to choose by. Importable without torch."""

from dataclasses import dataclass

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


# A test checks the figures against the configurations of transformers.
# fmt: off
CATALOGUE: tuple[Entry, ...] = (
    Entry("minilm", "sentence-transformers/all-MiniLM-L6-v2", "bert", 512, 22_713_986, 1774464, 148610, 6, 384),
    Entry("distilgpt2", "distilbert/distilgpt2", "gpt2", 1024, 81_914_112, 7087872, 3072, 6, 768),
    Entry("gpt2", "openai-community/gpt2", "gpt2", 1024, 124_441_344, 7087872, 3072, 12, 768),
    Entry("gpt2-medium", "openai-community/gpt2-medium", "gpt2", 1024, 354_825_216, 12596224, 4096, 24, 1024),
    Entry("gpt2-large", "openai-community/gpt2-large", "gpt2", 1024, 774_032_640, 19677440, 5120, 36, 1280),
    Entry("gpt2-xl", "openai-community/gpt2-xl", "gpt2", 1024, 1_557_614_400, 30740800, 6400, 48, 1600),
    Entry("distilbert", "distilbert/distilbert-base-uncased", "distilbert", 512, 66_955_010, 7087872, 592130, 6, 768),
    Entry("bert", "google-bert/bert-base-uncased", "bert", 512, 109_483_778, 7087872, 592130, 12, 768),
    Entry("roberta", "FacebookAI/roberta-base", "roberta", 512, 124_647_170, 7087872, 592130, 12, 768),
    Entry("modernbert", "answerdotai/ModernBERT-base", "modernbert", 8192, 149_606_402, 5015040, 592898, 22, 768),
    Entry("llama-3.2-1b", "meta-llama/Llama-3.2-1B", "llama", 131072, 1_235_818_496, 60821504, 6144, 16, 2048),
    Entry("phi-3-mini", "microsoft/Phi-3-mini-4k-instruct", "phi3", 4096, 3_722_585_088, 113252352, 9216, 32, 3072),
)
# fmt: on

ALIASES: dict[str, Entry] = {entry.alias: entry for entry in CATALOGUE}
