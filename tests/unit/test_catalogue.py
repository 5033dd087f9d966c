import subprocess
import sys

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from finetext.models.catalogue import ALIASES, CATALOGUE, TRAINABLE_SHOWN
from finetext.models.resolve import EMBEDDED_PACKAGE, EMBEDDED_SHA256, find_embedded


def test_every_documented_alias_exists():
    assert set(ALIASES) == {
        *("minilm", "gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl", "distilgpt2", "llama-3.2-1b"),
        *("phi-3-mini", "bert", "roberta", "distilbert", "modernbert"),
    }


@pytest.mark.parametrize("entry", CATALOGUE, ids=lambda entry: entry.alias)
def test_catalogue_sizes_match_the_architecture(entry):
    config = AutoConfig.for_model(entry.family, **entry.architecture)
    config.num_labels = 2
    with torch.device("meta"):
        network = AutoModelForSequenceClassification.from_config(config)
    blocks = next(
        module
        for module in network.modules()
        if isinstance(module, torch.nn.ModuleList) and len(module) == entry.depth
    )
    assert sum(p.numel() for p in network.parameters()) == entry.parameters
    assert sum(p.numel() for p in blocks[-1].parameters()) == entry.block_parameters
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
