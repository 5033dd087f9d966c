import json
import shutil

import pytest
import torch

from finetext.errors import ModelError, UsageError
from finetext.models import find_model, load_bundle, load_model, predict_logits, save_bundle
from finetext.models.config import ModelConfig

NAMES = ("Größe & co", "a|b", "“quoted”")
TEXTS = ["win a prize", "tea at four"]


def load(checkpoint, architecture="bert", names=NAMES, task="multi-class", seed=1, **options):
    config = ModelConfig(**options)
    return load_model(find_model(str(checkpoint(architecture))), names, task, config, seed)


def same_weights(one, other, within=""):
    pairs = zip(one.network.named_parameters(), other.network.named_parameters(), strict=True)
    return all(torch.equal(p, q) for (name, p), (_, q) in pairs if within in name)


def test_everything_survives_saving_and_loading(tmp_path, checkpoint):
    model = load(checkpoint, long_texts="windows", max_length=9, window_pooling="max", pooling="mean")
    save_bundle(model, tmp_path / "bundle", {"seed": 1})
    loaded = load_bundle(tmp_path / "bundle")
    assert loaded.class_names == NAMES
    assert loaded.settings == model.settings
    assert loaded.tokenizer.pad_token == model.tokenizer.pad_token
    assert predict_logits(loaded, TEXTS) == pytest.approx(predict_logits(model, TEXTS), abs=1e-5)
    assert json.loads((tmp_path / "bundle" / "finetext.json").read_text())["provenance"] == {"seed": 1}


def test_saving_is_deterministic_and_leaves_no_trace_of_the_machine(tmp_path, checkpoint):
    model = load(checkpoint, "gpt2")
    save_bundle(model, tmp_path / "one", {})
    model.encode(TEXTS)
    save_bundle(load(checkpoint, "gpt2"), tmp_path / "two", {})
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "two").iterdir())
    for name in names:
        content = (tmp_path / "one" / name).read_bytes()
        assert content == (tmp_path / "two" / name).read_bytes(), name
        assert str(tmp_path).encode() not in content
        assert str(checkpoint("gpt2")).encode() not in content


@pytest.mark.parametrize(
    ("task", "kind"),
    [("binary", "single_label_classification"), ("multi-label", "multi_label_classification")],
)
def test_the_problem_type_is_saved_in_the_configuration(tmp_path, checkpoint, task, kind):
    save_bundle(load(checkpoint, names=("a", "b"), task=task), tmp_path / "bundle", {})
    assert json.loads((tmp_path / "bundle" / "config.json").read_text())["problem_type"] == kind
    (tmp_path / "bundle" / "finetext.json").unlink()
    assert load_bundle(tmp_path / "bundle").task == task


def test_without_finetext_json_it_is_an_ordinary_classifier(tmp_path, checkpoint):
    model = load(checkpoint, "llama")
    save_bundle(model, tmp_path / "bundle", {})
    (tmp_path / "bundle" / "finetext.json").unlink()
    loaded = load_bundle(tmp_path / "bundle")
    assert loaded.settings.pooling == "native" and loaded.settings.max_length == 64
    assert predict_logits(loaded, TEXTS) == pytest.approx(predict_logits(model, TEXTS), abs=1e-5)


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"schema_version": 99}', '{"schema_version": 1, "task": "binary"}']
)
def test_a_damaged_finetext_json_is_refused(tmp_path, checkpoint, content):
    save_bundle(load(checkpoint), tmp_path / "bundle", {})
    (tmp_path / "bundle" / "finetext.json").write_text(content)
    with pytest.raises(ModelError, match=r"finetext\.json"):
        load_bundle(tmp_path / "bundle")


@pytest.mark.parametrize(
    "change",
    [
        {"max_length": 10**9},
        {"max_length": "long"},
        {"max_length": 0},
        {"pooling": "median"},
        {"task": "regression"},
        {"long_texts": None},
        {"window_pooling": []},
    ],
)
def test_an_invalid_setting_is_refused(tmp_path, checkpoint, change):
    save_bundle(load(checkpoint), tmp_path / "bundle", {})
    path = tmp_path / "bundle" / "finetext.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ModelError, match=r"finetext\.json"):
        load_bundle(tmp_path / "bundle")


def test_a_model_with_a_single_output_is_refused(tmp_path, checkpoint):
    save_bundle(load(checkpoint, names=("score",)), tmp_path / "bundle", {})
    path = tmp_path / "bundle" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"problem_type": "regression"}))
    with pytest.raises(ModelError, match="one output"):
        load_bundle(tmp_path / "bundle")


@pytest.mark.parametrize("architecture", ["bert", "gpt2"])
def test_a_configuration_that_asks_for_other_outputs_changes_nothing(tmp_path, checkpoint, architecture):
    save_bundle(load(checkpoint, architecture), tmp_path / "bundle", {})
    expected = predict_logits(load_bundle(tmp_path / "bundle"), TEXTS)
    path = tmp_path / "bundle" / "config.json"
    odd = {"return_dict": False, "output_hidden_states": True, "output_attentions": True, "use_cache": True}
    path.write_text(json.dumps(json.loads(path.read_text()) | odd))
    assert predict_logits(load_bundle(tmp_path / "bundle"), TEXTS) == pytest.approx(expected, abs=1e-5)


def test_other_weights_of_a_pretrained_head_are_kept(tmp_path, checkpoint):
    from transformers import AutoModelForMaskedLM

    folder = shutil.copytree(checkpoint("modernbert"), tmp_path / "masked")
    masked = AutoModelForMaskedLM.from_pretrained(folder)
    masked.save_pretrained(folder)
    model = load_model(find_model(str(folder)), NAMES, "multi-class", ModelConfig(), seed=1)
    assert torch.equal(model.network.head.dense.weight, masked.head.dense.weight)


@pytest.mark.parametrize(
    "labels", [{"0": "a", "7": "b", "2": "c"}, {"0": "a", "1": "a", "2": "b"}, {"x": "a", "y": "b", "z": "c"}]
)
def test_non_consecutive_label_ids_are_refused(tmp_path, checkpoint, labels):
    save_bundle(load(checkpoint), tmp_path / "bundle", {})
    path = tmp_path / "bundle" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"id2label": labels}))
    with pytest.raises(ModelError, match="label"):
        load_bundle(tmp_path / "bundle")


def test_a_backbone_without_a_head_is_refused(checkpoint):
    with pytest.raises(ModelError, match="finetext train"):
        load_bundle(checkpoint("bert"))


def test_missing_weights_are_refused(tmp_path, checkpoint):
    from safetensors.torch import load_file, save_file

    save_bundle(load(checkpoint), tmp_path / "bundle", {})
    path = tmp_path / "bundle" / "model.safetensors"
    weights = load_file(path)
    del weights["classifier.weight"]
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"classifier\.weight"):
        load_bundle(tmp_path / "bundle")


def test_a_head_is_kept_for_the_same_classes_and_replaced_for_others(tmp_path, checkpoint):
    first = load(checkpoint)
    save_bundle(first, tmp_path / "bundle", {})
    source = find_model(str(tmp_path / "bundle"))
    kept = load_model(source, NAMES, "multi-class", ModelConfig(), seed=5)
    assert same_weights(kept, first)
    renewed = load_model(source, ("x", "y", "z"), "multi-class", ModelConfig(), seed=5)
    assert not same_weights(renewed, first, "classifier.weight")
    assert same_weights(renewed, first, "bert.")
    other_size = load_model(source, ("x", "y"), "binary", ModelConfig(), seed=5)
    assert other_size.network.classifier.out_features == 2


def test_the_seed_changes_only_the_head(checkpoint):
    state = torch.get_rng_state()
    one, two, three = load(checkpoint, seed=1), load(checkpoint, seed=1), load(checkpoint, seed=2)
    assert torch.equal(state, torch.get_rng_state())
    assert same_weights(one, two)
    assert not same_weights(one, three, "classifier.weight")
    assert same_weights(one, three, "bert.encoder")


def test_the_seed_determines_random_weights(checkpoint):
    one, two = load(checkpoint, weights="random", seed=1), load(checkpoint, weights="random", seed=1)
    three = load(checkpoint, weights="random", seed=2)
    assert same_weights(one, two)
    assert not same_weights(one, three, "query.weight")
    assert not same_weights(one, load(checkpoint), "query.weight")


@pytest.mark.parametrize(
    "architecture", ["gpt2", "llama", "phi3", "bert", "roberta", "distilbert", "modernbert"]
)
def test_dropout_is_set_everywhere(checkpoint, architecture):
    model = load(checkpoint, architecture, dropout=0.37)
    rates = {module.p for module in model.network.modules() if isinstance(module, torch.nn.Dropout)}
    named = {
        value
        for name, value in model.network.config.to_dict().items()
        if "dropout" in name or name.endswith("_pdrop")
    }
    assert rates <= {0.37} and named <= {0.37}
    assert rates or named


def test_half_precision_weights_are_trained_in_float32(tmp_path, checkpoint):
    from transformers import AutoModel

    folder = shutil.copytree(checkpoint("llama"), tmp_path / "half")
    AutoModel.from_pretrained(folder, dtype=torch.bfloat16).save_pretrained(folder)
    model = load_model(find_model(str(folder)), ("a", "b"), "binary", ModelConfig(), seed=1)
    assert {parameter.dtype for parameter in model.network.parameters()} == {torch.float32}


def test_loading_and_saving_print_nothing(tmp_path, checkpoint, capfd):
    checkpoint("roberta")
    capfd.readouterr()
    model = load(checkpoint, "roberta")
    save_bundle(model, tmp_path / "bundle", {})
    load_bundle(tmp_path / "bundle")
    assert capfd.readouterr() == ("", "")


def test_weights_of_another_shape_are_refused(tmp_path, checkpoint):
    folder = shutil.copytree(checkpoint("bert"), tmp_path / "bad")
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"intermediate_size": 40}))
    with pytest.raises(ModelError, match="shape"):
        load_model(find_model(str(folder)), ("a", "b"), "binary", ModelConfig(), seed=1)


def test_a_backbone_with_missing_weights_is_refused(tmp_path, checkpoint):
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(checkpoint("bert"), tmp_path / "bad")
    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layer.0.attention.self.query.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="missing"):
        load_model(find_model(str(folder)), ("a", "b"), "binary", ModelConfig(), seed=1)


def test_a_tokenizer_larger_than_the_model_is_refused(tmp_path, checkpoint):
    folder = shutil.copytree(checkpoint("gpt2"), tmp_path / "bad")
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([f"<extra-{n}>" for n in range(50)])
    tokenizer.save_pretrained(folder)
    with pytest.raises(ModelError, match="do not belong together"):
        load_model(find_model(str(folder)), ("a", "b"), "binary", ModelConfig(), seed=1)


def test_a_length_beyond_the_position_table_is_refused(checkpoint):
    with pytest.raises(UsageError, match="64"):
        load(checkpoint, max_length=65)
