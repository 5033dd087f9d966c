import subprocess
import sys

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from finetext.models.catalogue import ALIASES, CATALOGUE, TRAINABLE_SHOWN
from finetext.models.resolve import EMBEDDED_PACKAGE, EMBEDDED_SHA256, find_embedded

SIZES = {
    "minilm": {
        "num_hidden_layers": 6,
        "hidden_size": 384,
        "num_attention_heads": 12,
        "intermediate_size": 1536,
    },
    "distilgpt2": {"n_layer": 6, "n_embd": 768, "n_head": 12},
    "gpt2": {"n_layer": 12, "n_embd": 768, "n_head": 12},
    "gpt2-medium": {"n_layer": 24, "n_embd": 1024, "n_head": 16},
    "gpt2-large": {"n_layer": 36, "n_embd": 1280, "n_head": 20},
    "gpt2-xl": {"n_layer": 48, "n_embd": 1600, "n_head": 25},
    "distilbert": {},
    "bert": {},
    "roberta": {"vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1, "pad_token_id": 1},
    "modernbert": {},
    "llama-3.2-1b": {
        "vocab_size": 128256,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 131072,
    },
    "phi-3-mini": {
        "vocab_size": 32064,
        "hidden_size": 3072,
        "intermediate_size": 8192,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "max_position_embeddings": 4096,
    },
}
"""The sizes of each model, as arguments of its family's configuration class."""


def test_every_documented_alias_exists():
    assert set(ALIASES) == {
        *("minilm", "gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl", "distilgpt2", "llama-3.2-1b"),
        *("phi-3-mini", "bert", "roberta", "distilbert", "modernbert"),
    }


@pytest.mark.parametrize("entry", CATALOGUE, ids=lambda entry: entry.alias)
def test_catalogue_sizes_match_the_architecture(entry):
    config = AutoConfig.for_model(entry.family, **SIZES[entry.alias])
    config.num_labels = 2
    with torch.device("meta"):
        network = AutoModelForSequenceClassification.from_config(config)
    place, blocks = next(
        (name, module)
        for name, module in network.named_modules()
        if isinstance(module, torch.nn.ModuleList) and len(module) == entry.depth
    )
    assert sum(p.numel() for p in network.parameters()) == entry.parameters
    assert sum(p.numel() for p in blocks[-1].parameters()) == entry.block_parameters
    around = {name: p.numel() for name, p in network.named_parameters() if not name.startswith(f"{place}.")}
    embeddings = ("embeddings.", "embed_tokens.", "wte.", "wpe.")
    after = [number for name, number in around.items() if not any(part in name for part in embeddings)]
    assert sum(after) == entry.head_parameters
    assert config.hidden_size == entry.hidden
    assert config.num_hidden_layers == entry.depth
    positions = config.max_position_embeddings
    assert entry.context == (positions - 2 if entry.family == "roberta" else positions)


@pytest.mark.parametrize("entry", CATALOGUE, ids=lambda entry: entry.alias)
def test_more_training_needs_more_memory(entry):
    needs = [entry.training_bytes(mode) for mode in TRAINABLE_SHOWN]
    assert needs == sorted(needs)
    assert needs[0] > 4 * entry.parameters


needs_embedded = pytest.mark.skipif(find_embedded() is None, reason="needs the extra `embedded`")


@needs_embedded
def test_the_embedded_model_is_found_without_running_its_package():
    code = (
        "import sys; from finetext.models.resolve import find_embedded; folder = find_embedded(); "
        f"assert (folder / 'model.safetensors').is_file(); assert '{EMBEDDED_PACKAGE}' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_embedded_model_with_other_weights_is_refused(tmp_path):
    package = tmp_path / EMBEDDED_PACKAGE
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").write_text(f"open({str(tmp_path / 'canary')!r}, 'w')")
    (package / "model" / "model.safetensors").write_bytes(b"not the weights")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from finetext.errors import ModelError\n"
        "from finetext.models.resolve import find_embedded\n"
        "try: find_embedded()\n"
        "except ModelError as error: print(error)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert "SHA-256" in answer.stdout
    assert not (tmp_path / "canary").exists()
    assert len(EMBEDDED_SHA256) == 64


@needs_embedded
@pytest.mark.slow
def test_the_embedded_model_trains_and_plain_transformers_agrees_on_every_test_text(tmp_path):
    import csv

    from transformers import pipeline

    import finetext

    run = finetext.train("sample", output=tmp_path / "run", epochs=1, precision="fp32")
    assert run.metrics.synthetic_data
    with run.folder.predictions.open(newline="") as file:
        rows = list(csv.DictReader(file))
    plain = pipeline("text-classification", model=str(run.folder.model), device="cpu")
    answers = plain([row["text"] for row in rows])
    assert [answer["label"] for answer in answers] == [row["predicted"] for row in rows]
    written = [float(row[f"prob_{row['predicted']}"]) for row in rows]
    assert [answer["score"] for answer in answers] == pytest.approx(written, abs=1e-5)
