"""Loading a causal model with its language-model head, and letting it go on with a text."""

from dataclasses import dataclass
from typing import Any

import torch

from finetext.errors import UsageError
from finetext.models.loading import load_settings, quiet, read_weights
from finetext.models.resolve import ModelSource
from finetext.models.tokenization import load_tokenizer, position_limit


@dataclass(frozen=True)
class LanguageModel:
    """A causal language model.

    Attributes:
        network: The Hugging Face model, in float32 and in evaluation mode.
        tokenizer: Its tokenizer.
        limit: The most tokens that it reads.
    """

    network: Any
    tokenizer: Any
    limit: int

    def continue_ids(self, ids: list[int], tokens: int) -> list[int]:
        """Return the likeliest tokens after some others, each given those before (greedy)."""
        prompt = torch.tensor([ids], device=self.network.device)
        with quiet(), torch.inference_mode():
            whole = self.network.generate(
                input_ids=prompt,
                attention_mask=torch.ones_like(prompt),
                max_new_tokens=tokens,
                do_sample=False,
                temperature=None,
                top_p=None,
                top_k=None,
                pad_token_id=self.tokenizer.eos_token_id,
            )
        return whole[0, len(ids) :].tolist()  # type: ignore[no-any-return]


def require_causal(source: ModelSource) -> None:
    """Raise UsageError unless a model's configuration names a causal language model."""
    if not is_causal(source):
        written = ", ".join(_architectures(source)) or "no architecture named"
        raise UsageError(
            f"{source.name}: is not a causal language model ({written}). Zero-shot prompting needs a causal language "
            "model, such as gpt2."
        )


def is_causal(source: ModelSource) -> bool:
    """Tell whether a model's configuration names a causal language model."""
    return any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in _architectures(source))


def _architectures(source: ModelSource) -> list[str]:
    return [str(name) for name in load_settings(source.folder).architectures or ()]


def load_language_model(source: ModelSource, *, allow_pickle: bool = False) -> LanguageModel:
    """Load a causal model with its language-model head on the CPU.

    Args:
        source: What `find_model` found.
        allow_pickle: Accept a folder without safetensors.

    Raises:
        UsageError: The model is not causal.
        ModelError: Its weights cannot be loaded, or the language-model head is not among them.
    """
    from transformers import AutoModelForCausalLM

    require_causal(source)
    settings = load_settings(source.folder)
    tokenizer = load_tokenizer(source.folder)
    network = read_weights(AutoModelForCausalLM, source.folder, settings, allow_pickle)
    return LanguageModel(network, tokenizer, position_limit(settings, network))


def continue_text(source: ModelSource, prompt: str, tokens: int, *, allow_pickle: bool = False) -> str:
    """Return `prompt` and the likeliest tokens after it.

    Args:
        source: What `find_model` found.
        prompt: The beginning.
        tokens: How many tokens to add.
        allow_pickle: Accept a folder without safetensors.

    Raises:
        UsageError: The model is not causal.
        ModelError: Its weights cannot be loaded, or the language-model head is not among them.
    """
    model = load_language_model(source, allow_pickle=allow_pickle)
    ids = list(model.tokenizer(prompt)["input_ids"])
    return str(model.tokenizer.decode([*ids, *model.continue_ids(ids, tokens)], skip_special_tokens=True))
