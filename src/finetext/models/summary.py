"""What a model is, for the summary before training."""

from dataclasses import dataclass

from finetext.models.model import Model


@dataclass(frozen=True)
class ModelSummary:
    """Figures of a model.

    Attributes:
        architecture: The class in transformers.
        parameters: All of them.
        trainable_parameters: Those that require gradients.
        depth: Number of blocks; 0 if they cannot be told apart.
        head: The head in words.
        pad_token: The token that batches are padded with.
        max_length: Longest text in tokens.
    """

    architecture: str
    parameters: int
    trainable_parameters: int
    depth: int
    head: str
    pad_token: str
    max_length: int


def describe(model: Model) -> ModelSummary:
    """Return a model's figures."""
    parameters = list(model.network.parameters())
    hidden = model.network.config.get_text_config().hidden_size
    pooling = model.settings.pooling
    reads = model.structure.reads if pooling == "native" else pooling
    position = {"pooler": "first token through the pooler", "mean": "mean of all tokens"}.get(
        reads, f"{reads} token"
    )
    return ModelSummary(
        architecture=type(model.network).__name__,
        parameters=sum(p.numel() for p in parameters),
        trainable_parameters=sum(p.numel() for p in parameters if p.requires_grad),
        depth=model.structure.depth,
        head=f"{hidden} -> {len(model.class_names)}, reads the {position}",
        pad_token=str(model.tokenizer.pad_token),
        max_length=model.settings.max_length,
    )
