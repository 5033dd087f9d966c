import shutil

import pytest
from safetensors.torch import load_file, save_file

from finetext.errors import ModelError, UsageError
from finetext.models import continue_text, find_model


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "phi3"])
def test_a_causal_model_continues_a_text_greedily(checkpoint, architecture, capfd):
    source = find_model(str(checkpoint(architecture)))
    capfd.readouterr()
    once = continue_text(source, "win a prize", 5)
    assert once.startswith("win a prize") and len(once) > len("win a prize")
    assert continue_text(source, "win a prize", 5) == once
    assert capfd.readouterr() == ("", "")


def test_an_encoder_is_refused_as_a_causal_model(checkpoint):
    with pytest.raises(UsageError, match="causal"):
        continue_text(find_model(str(checkpoint("bert"))), "win", 5)


def test_a_missing_language_model_head_is_refused(tmp_path, checkpoint):
    folder = shutil.copytree(checkpoint("llama"), tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lm_head\.weight"):
        continue_text(find_model(str(folder)), "win", 5)
