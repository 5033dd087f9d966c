import json
import re
import warnings

import pytest
import torch
from torch import nn
from transformers import FunnelConfig, FunnelModel

from checkpoints import ARCHITECTURES, word_piece_tokenizer
from finetext.engine import collate
from finetext.errors import ModelError, UsageError
from finetext.models import (
    describe_head,
    find_model,
    load_model,
    merge_adapter,
    save_adapter,
    set_trainable,
)
from finetext.models.adapters import linear_layers
from finetext.models.config import ModelConfig
from finetext.models.trainable import trained_blocks

TEXTS = ["win a prize now", "tea at four"]
LAYERED = sorted(set(ARCHITECTURES) - {"albert"})


def load(checkpoint, architecture, **options):
    config = ModelConfig(**options)
    return load_model(find_model(str(checkpoint(architecture))), ("a", "b"), "binary", config, seed=1), config


def trained(model):
    return {name for name, parameter in model.network.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("architecture", LAYERED)
def test_layers_embeddings_and_head_are_found(checkpoint, architecture):
    model, _ = load(checkpoint, architecture)
    structure = model.structure
    everything = {name for name, _ in model.network.named_parameters()}
    inside = {name for name in everything if name.startswith(tuple(f"{n}." for n in structure.layer_names))}
    assert structure.depth == 2
    assert structure.head <= structure.after
    assert structure.before | inside | structure.after == everything
    assert not structure.before & structure.after and not inside & (structure.before | structure.after)


@pytest.mark.parametrize(
    ("architecture", "norm"),
    [
        ("gpt2", "transformer.ln_f.weight"),
        ("llama", "model.norm.weight"),
        ("opt", "model.decoder.final_layer_norm.weight"),
        ("gpt_neox", "gpt_neox.final_layer_norm.weight"),
        ("modernbert", "model.final_norm.weight"),
    ],
)
def test_the_final_norm_runs_after_the_layers_and_is_not_the_head(checkpoint, architecture, norm):
    structure = load(checkpoint, architecture)[0].structure
    assert norm in structure.after - structure.head


@pytest.mark.parametrize(
    ("architecture", "name"),
    [
        ("bert", "bert.embeddings.LayerNorm.weight"),
        ("electra", "electra.embeddings_project.weight"),
        ("gpt2", "transformer.wpe.weight"),
    ],
)
def test_the_first_module_is_found(checkpoint, architecture, name):
    assert name in load(checkpoint, architecture)[0].structure.before


@pytest.mark.parametrize("architecture", LAYERED)
def test_each_mode_trains_its_parameters(checkpoint, architecture):
    model, _ = load(checkpoint, architecture)
    structure = model.structure
    everything = {name for name, _ in model.network.named_parameters()}
    last = {name for name in everything if name.startswith(f"{structure.layer_names[-1]}.")}
    for mode, expected in (
        ("head", structure.head),
        ("last-block", structure.after | last),
        ("last-1-block", structure.after | last),
        ("last-2-blocks", everything - structure.before),
        ("all", everything),
    ):
        set_trainable(model, ModelConfig(trainable=mode))
        assert trained(model) == set(expected), mode


def test_the_head_is_described_by_its_shape_and_position(checkpoint):
    described = {name: describe_head(load(checkpoint, name)[0]) for name in ("bert", "distilbert", "gpt2")}
    assert all(re.match(r"\d+ -> 2, reads the ", text) for text in described.values())
    assert [text.partition("reads the ")[2] for text in described.values()] == [
        "first token through the pooler",
        "first token",
        "last token",
    ]


def test_gradual_unfreezes_a_layer_per_epoch():
    assert [trained_blocks("gradual", 3, epoch) for epoch in range(5)] == [1, 2, 3, 3, 3]


@pytest.mark.parametrize("mode", ["last", "last-0-blocks", "last-x-blocks", "everything", "last-3-blocks"])
def test_unknown_modes_and_too_many_layers_are_refused(mode):
    with pytest.raises(UsageError, match="trainable"):
        trained_blocks(mode, 2)


def test_a_shared_layer_is_trained_as_a_whole_with_a_notice(checkpoint):
    model, config = load(checkpoint, "albert")
    assert model.structure.depth == 0
    assert "together" in model.notices[0]
    set_trainable(model, config)
    assert trained(model) == {name for name, _ in model.network.named_parameters()}


def test_adapters_are_added_to_layers_in_their_mode(checkpoint):
    model, config = load(checkpoint, "bert", trainable="lora", lora_dropout=0.5)
    model.network.eval()
    set_trainable(model, config)
    assert not any(module.training for module in model.network.modules())
    model.network.train()
    assert all(module.training for module in model.network.modules())


@pytest.mark.parametrize("architecture", LAYERED)
def test_lora_adapts_every_linear_layer_and_leaves_the_head_whole(checkpoint, architecture):
    from transformers.pytorch_utils import Conv1D

    model, config = load(checkpoint, architecture, trainable="lora", lora_rank=2)
    linear = [
        name
        for layer, prefix in zip(model.structure.layers, model.structure.layer_names, strict=True)
        for name, module in ((f"{prefix}.{n}", m) for n, m in layer.named_modules())
        if isinstance(module, (nn.Linear, Conv1D))
    ]
    assert linear and linear_layers(model) == linear
    before = type(model.network)
    set_trainable(model, config)
    assert type(model.network) is before
    names = trained(model)
    assert model.structure.head <= names
    assert {name for name in names if "lora_" not in name} == set(model.structure.head)
    assert sum("lora_A" in name for name in names) == len(linear)
    assert not any("modules_to_save" in name for name, _ in model.network.named_parameters())


def test_a_saved_adapter_names_its_layers_in_order(tmp_path, checkpoint):
    model, config = load(checkpoint, "bert", trainable="lora")
    set_trainable(model, config)
    save_adapter(model, tmp_path / "adapter")
    settings = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert settings["target_modules"] == sorted(adapted_layers(model))
    assert settings["base_model_name_or_path"] is None


def adapted_layers(model):
    from peft.tuners.lora import LoraLayer

    return [name for name, module in model.network.named_modules() if isinstance(module, LoraLayer)]


def test_a_model_that_fails_on_a_short_text_is_refused(tmp_path):
    sizes = {"d_model": 16, "n_head": 2, "d_head": 8, "d_inner": 24, "block_sizes": [1, 1, 1]}
    tokenizer = word_piece_tokenizer()
    config = FunnelConfig(vocab_size=len(tokenizer), **sizes)
    FunnelModel(config).save_pretrained(tmp_path / "funnel")
    tokenizer.save_pretrained(tmp_path / "funnel")
    with pytest.raises(ModelError, match="short text"):
        load_model(find_model(str(tmp_path / "funnel")), ("a", "b"), "binary", ModelConfig(), seed=1)


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "bert"])
def test_a_merged_adapter_gives_the_same_logits_in_the_plain_model(tmp_path, checkpoint, architecture):
    model, config = load(checkpoint, architecture, trainable="lora", lora_rank=2)
    plain_names = {name for name, _ in model.network.named_parameters()}
    set_trainable(model, config)
    model.network.eval()
    batch = collate(model.encode(TEXTS), model.pad_id)
    with torch.no_grad():
        untouched = model.logits(batch)
        for name, parameter in model.network.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.3)
        adapted = model.logits(batch)
        assert not torch.allclose(untouched, adapted, atol=1e-3)
        save_adapter(model, tmp_path / "adapter")
        merge_adapter(model)
        assert torch.allclose(model.logits(batch), adapted, atol=1e-5)
    assert {name for name, _ in model.network.named_parameters()} == plain_names

    from peft import PeftModel

    fresh, _ = load(checkpoint, architecture)
    with warnings.catch_warnings():  # raised by PEFT's use of transformers
        warnings.simplefilter("ignore", FutureWarning)
        wrapped = PeftModel.from_pretrained(fresh.network, tmp_path / "adapter").eval()
    merged = dict(wrapped.merge_and_unload().named_parameters())
    for name, parameter in model.network.named_parameters():
        assert torch.allclose(merged[name], parameter, atol=1e-6), name
