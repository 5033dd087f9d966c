"""An exported classifier has the same logits and labels, works in the commands, and unsuitable models are refused."""

import json
import shutil

import numpy as np
import onnx
import pytest
import torch

import finetext
from finetext.cli import main
from finetext.data import DataConfig, examine
from finetext.engine import collate
from finetext.errors import ModelError, UsageError
from finetext.inference import export_onnx
from finetext.inference.exporting import _check_quantized
from finetext.models import load_bundle, predict_logits, save_bundle
from finetext.training import train

LOW = (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
TEXTS = ["win cash now", "tea at four, see you later then", "", "x", "the rain has stopped " * 30]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory, checkpoint, messages):
    """A function that returns a run of an architecture that fits its messages perfectly."""
    runs = {}

    def make(architecture):
        if architecture not in runs:
            runs[architecture] = train(
                messages,
                output=tmp_path_factory.mktemp("runs") / architecture,
                model=str(checkpoint(architecture)),
                trainable="all",
                epochs=12,
                learning_rate=1e-2,
                weight_averaging=False,  # averaging with early epochs makes the model less confident
            )
        return runs[architecture]

    return make


@pytest.fixture(scope="module")
def exported(fitted, tmp_path_factory):
    """A function that returns the export of such a run, created once."""
    folders = {}

    def make(architecture, **options):
        key = (architecture, *options)
        if key not in folders:
            folder = tmp_path_factory.mktemp("exports") / architecture
            export_onnx(fitted(architecture).folder.path, folder, **options)
            folders[key] = folder
        return folders[key]

    return make


@pytest.mark.parametrize(
    "architecture",
    [
        "bert",
        "gpt2",
        *(pytest.param(architecture, marks=pytest.mark.slow) for architecture in ("distilbert", "llama")),
    ],
)
def test_exported_logits_match_the_original(fitted, exported, architecture):
    original = load_bundle(fitted(architecture).folder.path)
    folder = exported(architecture)
    loaded = load_bundle(folder)
    expected = predict_logits(original, TEXTS)
    assert np.ptp(expected[:, 0]) > 1
    np.testing.assert_allclose(predict_logits(loaded, TEXTS), expected, atol=1e-4)
    alone = np.concatenate([predict_logits(loaded, [text]) for text in TEXTS])
    np.testing.assert_allclose(alone, expected, atol=1e-4)
    assert loaded.settings == original.settings and loaded.class_names == original.class_names
    report = json.loads((folder / "export.json").read_text())
    assert report["exporter"] == "dynamo" and report["check"]["texts"] == 12
    assert report["bytes"] == (folder / "model.onnx").stat().st_size
    names = {path.name for path in folder.iterdir()}
    assert {"config.json", "export.json", "finetext.json", "model.onnx", "tokenizer.json"} <= names


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["modernbert", "roberta", "mistral", "albert"])
def test_further_architectures_and_the_tracing_exporter_match(fitted, exported, architecture):
    expected = predict_logits(load_bundle(fitted(architecture).folder.path), TEXTS)
    np.testing.assert_allclose(
        predict_logits(load_bundle(exported(architecture)), TEXTS), expected, atol=1e-4
    )


@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        ("bert", {"pooling": "mean", "long_texts": "windows", "window_pooling": "max", "max_length": 12}),
        ("gpt2", {"pooling": "mean", "max_length": 16, "long_texts": "head-tail"}),
    ],
)
def test_pooling_windows_and_decision_are_exported(tmp_path, checkpoint, messages, architecture, options):
    run = train(
        messages,
        output=tmp_path / "run",
        model=str(checkpoint(architecture)),
        trainable="all",
        epochs=1,
        threshold="0.3",
        **options,
    )
    export_onnx(run.folder.path, tmp_path / "export")
    original, loaded = run.classifier(), finetext.load(tmp_path / "export")
    assert loaded.decision == original.decision and loaded.decision.thresholds == (0.3,)
    np.testing.assert_allclose(loaded.predict_proba(TEXTS), original.predict_proba(TEXTS), atol=1e-5)
    assert loaded.predict(TEXTS) == original.predict(TEXTS)


def test_padding_side_does_not_change_an_exported_decoder(exported):
    model = load_bundle(exported("gpt2"))
    encoded = model.encode(TEXTS)
    right, left = (model.logits(collate(encoded, model.pad_id, side)).numpy() for side in ("right", "left"))
    np.testing.assert_allclose(left, right, atol=1e-4)


@pytest.mark.parametrize("architecture", ["bert", "gpt2"])
def test_int8_quantises_every_matrix_and_keeps_the_labels(fitted, exported, architecture):
    folder = exported(architecture, int8=True)
    report = json.loads((folder / "export.json").read_text())
    low = report["int8"]
    assert low["accuracy"] == low["accuracy_of_original"] == 1
    assert low["share_of_matrices"] > 0.9 and low["agreement"] >= 0.995
    assert set(report["texts_per_second"]) == {"pytorch", "onnx", "int8"}
    kinds = {
        name: sum(np.prod(tensor.dims) for tensor in _matrices(folder) if tensor.data_type in types)
        for name, types in (("int8", LOW), ("float", (onnx.TensorProto.FLOAT,)))
    }
    assert kinds["int8"] / sum(kinds.values()) == pytest.approx(low["share_of_matrices"])
    network = load_bundle(fitted(architecture).folder.path).network
    assert kinds["int8"] >= 0.9 * sum(p.numel() for p in network.parameters() if p.ndim == 2)
    texts = [f"win cash now number {n}" for n in range(8)] + [f"tea at four number {n}" for n in range(8)]
    probs = finetext.load(folder).predict_proba(texts)
    expected = fitted(architecture).classifier().predict_proba(texts)
    assert 0 < np.abs(probs - expected).max() < 0.1


def _matrices(folder):
    return [tensor for tensor in onnx.load(folder / "model.onnx").graph.initializer if len(tensor.dims) >= 2]


def test_a_model_with_few_quantisable_weights_is_refused(tmp_path, fitted):
    with pytest.raises(ModelError, match=r"only \d\d% of the matrix parameters"):
        export_onnx(fitted("deberta-v2").folder.path, tmp_path / "export", int8=True)
    assert list(tmp_path.iterdir()) == []


def test_an_int8_model_with_different_labels_is_refused(fitted, exported):
    run = fitted("bert")
    validation = examine(str(run.folder.splits), DataConfig()).subset(range(40))
    original = run.classifier()
    metrics = _check_quantized(original, finetext.load(exported("bert")), validation)
    assert metrics["agreement"] == 1 and metrics["accuracy"] == metrics["accuracy_of_original"]
    with pytest.raises(ModelError, match=r"agrees with the original on .* of 40 validation texts"):
        _check_quantized(original, finetext.Classifier(_turned(run)), validation)


def _turned(run):
    model = load_bundle(run.folder.path)
    with torch.no_grad():
        model.network.classifier.bias += torch.tensor([100.0, 0.0])
    return model


def test_the_commands_export_predict_and_explain(tmp_path, fitted, capsys):
    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in arguments])
        return ended.value.code, capsys.readouterr()

    trained, folder = fitted("bert"), tmp_path / "deep" / "export"
    code, streams = run("export", trained.folder.path, "--output", folder, "--int8")
    assert code == 0 and "int8       100.0% of the matrix parameters" in streams.out
    assert run("export", trained.folder.path, "--output", folder)[0] == 2
    assert run("export", trained.folder.model, "--output", tmp_path / "b")[0] == 0
    alone = shutil.copytree(trained.folder.model, tmp_path / "alone")
    code, streams = run("export", alone, "--output", tmp_path / "c")
    assert code == 2 and "--data" in streams.err
    assert (
        run("export", alone, "--output", tmp_path / "c", "--data", trained.folder.splits / "test.csv")[0] == 0
    )
    code, streams = run("predict", tmp_path / "c", "win cash now", "tea at four", "--format", "json")
    assert [row["predicted"] for row in json.loads(streams.out)] == ["spam", "ham"]
    assert run("explain", tmp_path / "c", "win cash now", "--json")[0] == 0
    assert run("evaluate", tmp_path / "c", trained.folder.splits, "--output", tmp_path / "d")[0] == 0
    assert run("predict", tmp_path / "c", "x", "--precision", "bf16")[0] == 2
    code, streams = run("train", trained.folder.splits, "--model", tmp_path / "c")
    assert code == 1 and "cannot be trained" in streams.err
    code, streams = run("export", tmp_path / "c", "--output", tmp_path / "e")
    assert code == 1 and "ONNX export" in streams.err


def test_a_damaged_or_hostile_file_is_refused(tmp_path, exported):
    folder = shutil.copytree(exported("bert"), tmp_path / "bad")
    path = folder / "model.onnx"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match=r"model\.onnx"):
        finetext.load(folder)
    content = onnx.load_from_string(whole)
    tensor = content.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret")
    (tmp_path / "secret").write_bytes(b"0" * 10_000)
    path.write_bytes(content.SerializeToString())
    with pytest.raises(ModelError, match="not a file beside it"):
        finetext.load(folder)
    path.write_bytes(whole)
    config = json.loads((folder / "config.json").read_text())
    names = {"0": "a", "1": "b", "2": "c"}
    config |= {"id2label": names, "label2id": {v: int(k) for k, v in names.items()}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="3 classes"):
        finetext.load(folder)


def test_exporting_does_not_change_the_original(tmp_path, fitted):
    folder = fitted("bert").folder
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    export_onnx(folder.path, tmp_path / "export")
    assert before == {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    model = load_bundle(folder.path)
    save_bundle(model, tmp_path / "again", {})
    with pytest.raises(UsageError, match="not a run with splits"):
        export_onnx(tmp_path / "again", tmp_path / "other")
