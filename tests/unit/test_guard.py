"""Hostile and damaged model folders are refused, and none of their code runs."""

import json
import os
import pickle
import shutil
import struct
from pathlib import Path

import pytest
import torch

from finetext.errors import ModelError, UsageError
from finetext.models import ModelSource, find_model, load_bundle, load_model, save_bundle
from finetext.models.config import ModelConfig
from finetext.models.safety import check_folder


@pytest.fixture
def folder(tmp_path, checkpoint):
    return shutil.copytree(checkpoint("bert"), tmp_path / "model")


@pytest.fixture
def canary(tmp_path):
    """The path of a file that hostile code would create."""
    return tmp_path / "canary"


class Bomb:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


def edit(path, **changes):
    content = json.loads(path.read_text())
    content.update(changes)
    path.write_text(json.dumps(content))


def only_pickle(folder, canary):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(canary)))


def auto_map(folder, canary):
    edit(folder / "config.json", auto_map={"AutoModel": "modeling_evil.Evil"})
    (folder / "modeling_evil.py").write_text(f"open({str(canary)!r}, 'w')")


def tokenizer_auto_map(folder, canary):
    edit(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Evil", None]})
    (folder / "evil.py").write_text(f"open({str(canary)!r}, 'w')")


def nested_auto_map(folder, canary):
    edit(folder / "config.json", text_config={"sub": [{"auto_map": {"AutoConfig": "evil.C"}}]})


def trust_remote_code(folder, canary):
    edit(folder / "config.json", sub={"trust_remote_code": True})


def hub_kernel(folder, canary):
    edit(folder / "config.json", _attn_implementation="someone/evil-kernel")


def weights_by_name(folder, canary):
    (folder / "adapter_model.bin").write_bytes(pickle.dumps(Bomb(canary)))
    edit(folder / "config.json", transformers_weights="adapter_model.bin")


def hostile_weights_behind_an_index(folder, canary):
    shutil.copy(folder / "model.safetensors", folder / "model-1.safetensors")
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"x": "model-1.safetensors"}}')
    huge_header(folder, canary)


def pipe(folder, canary):
    (folder / "extra.json").unlink(missing_ok=True)
    os.mkfifo(folder / "extra.json")


def unknown_type(folder, canary):
    edit(folder / "config.json", model_type="frobnicator")


def no_type(folder, canary):
    content = json.loads((folder / "config.json").read_text())
    del content["model_type"]
    (folder / "config.json").write_text(json.dumps(content))


def foreign_architecture(folder, canary):
    edit(folder / "config.json", architectures=["EvilModel"])


def encoder_decoder(folder, canary):
    edit(folder / "config.json", model_type="bart", is_encoder_decoder=True, architectures=["BartModel"])


def adapter(folder, canary):
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "someone/evil"}')


def link_out(folder, canary):
    outside = folder.parent / "outside.safetensors"
    (folder / "model.safetensors").rename(outside)
    (folder / "model.safetensors").symlink_to(outside)


def config_link_out(folder, canary):
    outside = folder.parent / "secret.json"
    (folder / "config.json").rename(outside)
    (folder / "config.json").symlink_to(outside)


def huge_header(folder, canary):
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 1 << 60) + b"{}")


def header_no_json(folder, canary):
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", 4) + b"{{{{")


def header_deeply_nested(folder, canary):
    raw = b"[" * 200_000 + b"]" * 200_000
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(raw)) + raw)


def offsets_beyond(folder, canary):
    raw = json.dumps({"x": {"dtype": "F32", "shape": [99], "data_offsets": [0, 396]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(raw)) + raw + b"\0" * 8)


def offsets_missing(folder, canary):
    raw = json.dumps({"x": {"dtype": "F32"}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(raw)) + raw)


def truncated(folder, canary):
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:-10])


def empty_weights(folder, canary):
    (folder / "model.safetensors").write_bytes(b"")


def index_out_of_the_folder(folder, canary):
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"x": "../../evil.safetensors"}}')


def index_of_pickles(folder, canary):
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"x": "evil.bin"}}')


def index_without_shard(folder, canary):
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"x": "model-2.safetensors"}}')


def index_of_nothing(folder, canary):
    (folder / "model.safetensors.index.json").write_text("[]")


def config_is_a_list(folder, canary):
    (folder / "config.json").write_text("[]")


def config_is_empty(folder, canary):
    (folder / "config.json").write_text("")


def config_not_utf8(folder, canary):
    (folder / "config.json").write_bytes(b"\xff\xfe\x00")


def config_deeply_nested(folder, canary):
    (folder / "config.json").write_text("[" * 200_000)


def no_config(folder, canary):
    (folder / "config.json").unlink()


def no_tokenizer(folder, canary):
    for path in folder.glob("*token*"):
        path.unlink()


def no_weights(folder, canary):
    (folder / "model.safetensors").unlink()


HOSTILE = [
    only_pickle,
    auto_map,
    tokenizer_auto_map,
    nested_auto_map,
    trust_remote_code,
    hub_kernel,
    weights_by_name,
    hostile_weights_behind_an_index,
    pipe,
    unknown_type,
    no_type,
    foreign_architecture,
    encoder_decoder,
    adapter,
    link_out,
    config_link_out,
    huge_header,
    header_no_json,
    header_deeply_nested,
    offsets_beyond,
    offsets_missing,
    truncated,
    empty_weights,
    index_out_of_the_folder,
    index_of_pickles,
    index_without_shard,
    index_of_nothing,
    config_is_a_list,
    config_is_empty,
    config_not_utf8,
    config_deeply_nested,
    no_config,
    no_tokenizer,
    no_weights,
]


@pytest.mark.parametrize("damage", HOSTILE, ids=lambda damage: damage.__name__)
def test_a_hostile_folder_is_refused_and_nothing_runs(folder, canary, damage):
    damage(folder, canary)
    for attempt in (check_folder, load_bundle, lambda path: find_model(str(path))):
        with pytest.raises(ModelError) as caught:
            attempt(folder)
        assert len(str(caught.value).splitlines()) <= 2
        assert str(folder) in str(caught.value)
    assert not canary.exists()


def test_code_files_beside_a_valid_model_never_run(folder, canary):
    for name in (
        "modeling_bert.py",
        "tokenization_bert.py",
        "configuration_bert.py",
        "__init__.py",
        "setup.py",
    ):
        (folder / name).write_text(f"open({str(canary)!r}, 'w')")
    load_model(find_model(str(folder)), ("a", "b"), "binary", ModelConfig(), seed=0)
    assert not canary.exists()


def test_pickled_weights_are_read_as_tensors_only_when_allowed(folder, canary):
    from safetensors.torch import load_file

    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="--allow-pickle"):
        find_model(str(folder))
    source = find_model(str(folder), allow_pickle=True)
    model = load_model(source, ("a", "b"), "binary", ModelConfig(allow_pickle=True), seed=0)
    name = "embeddings.word_embeddings.weight"
    assert torch.equal(model.network.base_model.state_dict()[name], weights[name])

    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(canary)))
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_model(
            find_model(str(folder), allow_pickle=True),
            ("a", "b"),
            "binary",
            ModelConfig(allow_pickle=True),
            seed=0,
        )
    assert not canary.exists()


def test_pickled_shards_are_read_when_allowed(folder, canary):
    from safetensors.torch import load_file

    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    for number, part in enumerate((names[::2], names[1::2])):
        torch.save({name: weights[name] for name in part}, folder / f"pytorch_model-{number}.bin")
    index = {name: f"pytorch_model-{place % 2}.bin" for place, name in enumerate(names)}
    path = folder / "pytorch_model.bin.index.json"
    path.write_text(json.dumps({"metadata": {}, "weight_map": index}))
    with pytest.raises(ModelError, match="--allow-pickle"):
        find_model(str(folder))
    config = ModelConfig(allow_pickle=True)
    model = load_model(find_model(str(folder), allow_pickle=True), ("a", "b"), "binary", config, seed=0)
    name = "embeddings.word_embeddings.weight"
    assert torch.equal(model.network.base_model.state_dict()[name], weights[name])
    path.write_text(json.dumps({"weight_map": {name: "../pytorch_model-0.bin"}}))
    with pytest.raises(ModelError, match="outside"):
        find_model(str(folder), allow_pickle=True)


def test_a_model_of_the_catalogue_may_name_code_for_older_versions_and_it_never_runs(folder, canary):
    auto_map(folder, canary)
    with pytest.raises(ModelError, match="auto_map"):
        check_folder(folder, shipped="gpt2")
    check_folder(folder, shipped="bert")
    source = ModelSource("bert", folder, "0123", "0" * 64)
    model = load_model(source, ("a", "b"), "binary", ModelConfig(), seed=0)
    save_bundle(model, folder.parent / "bundle", {})
    assert "auto_map" not in (folder.parent / "bundle" / "config.json").read_text()
    load_bundle(folder.parent / "bundle")
    assert not canary.exists()
    tokenizer_auto_map(folder, canary)
    with pytest.raises(ModelError, match="auto_map"):
        check_folder(folder, shipped="bert")


def test_the_links_of_a_hub_snapshot_are_accepted(tmp_path, checkpoint):
    snapshot = tmp_path / "models--a--b" / "snapshots" / "0123"
    blobs = tmp_path / "models--a--b" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for path in checkpoint("bert").iterdir():
        shutil.copy(path, blobs / path.name)
        (snapshot / path.name).symlink_to(Path("..", "..", "blobs", path.name))
    assert check_folder(snapshot)["model_type"] == "bert"


@pytest.mark.parametrize("name", ["minilmm", "no such", "./nowhere", "/no/such/folder", "a/b/c"])
def test_anything_but_a_model_is_a_usage_error(name):
    with pytest.raises(UsageError, match="no model"):
        find_model(name)


def test_a_revision_of_a_local_folder_is_refused(folder):
    with pytest.raises(UsageError, match="--revision"):
        find_model(str(folder), revision="main")
