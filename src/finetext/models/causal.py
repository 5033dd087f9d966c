"""Letting a causal model go on with a text, so that a person sees whether its weights are sound."""

import torch

from finetext.errors import ModelError, UsageError
from finetext.models.encoding import load_tokenizer
from finetext.models.loading import first_line, load_settings, quiet
from finetext.models.source import ModelSource


def continue_text(source: ModelSource, prompt: str, tokens: int) -> str:
    """Return `prompt` and the likeliest tokens after it.

    Args:
        source: What `find_model` found.
        prompt: The beginning.
        tokens: How many tokens to add.

    Raises:
        UsageError: The model is not causal.
        ModelError: Its weights cannot be loaded, or the language-model head is not among them.
    """
    from transformers import AutoModelForCausalLM

    settings = load_settings(source.folder)
    written = [str(name) for name in settings.architectures or ()]
    if not any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in written):
        raise UsageError(
            f"{source.name}: is no causal language model ({', '.join(written) or 'no architecture named'}) and "
            "cannot continue a text."
        )
    tokenizer = load_tokenizer(source.folder)
    try:
        with quiet():
            network, report = AutoModelForCausalLM.from_pretrained(
                source.folder,
                config=settings,
                dtype=torch.float32,
                output_loading_info=True,
                local_files_only=True,
                trust_remote_code=False,
            )
    except Exception as error:  # readers of weights fail in many ways, all of them the folder's fault
        raise ModelError(f"{source.folder}: its weights cannot be loaded ({first_line(error)}).") from error
    if missing := sorted(report["missing_keys"]):
        raise ModelError(
            f"{source.folder}: {len(missing)} weights of the language model are missing ({missing[0]}). "
            "Copy or download the model again."
        )
    network.eval()
    inputs = tokenizer(prompt, return_tensors="pt")
    with quiet(), torch.inference_mode():
        ids = network.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            max_new_tokens=tokens,
            do_sample=False,
            pad_token_id=tokenizer.eos_token_id,
        )
    text: str = tokenizer.decode(ids[0], skip_special_tokens=True)
    return text
