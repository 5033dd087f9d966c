"""The gradients of the first norm behind the cut, and of what it feeds, without the gradient of its output."""

from dataclasses import replace

import pytest
import torch

from checkpoints import ARCHITECTURES
from finetext.engine import collate, constant
from finetext.models import find_model, load_model
from finetext.models.config import ModelConfig

TEXTS = ["win a prize now", "tea", "the rain has stopped " * 4, "call home"]
FED = {"gpt2": 1, "llama": 3, "mistral": 3, "modernbert": 1, "opt": 3, "phi3": 1, "qwen2": 3, "qwen3": 3}
"""Architectures whose layers start with one norm, and how many products it feeds."""


def cut(checkpoint, architecture):
    source = find_model(str(checkpoint(architecture)))
    model = load_model(source, ("a", "b", "c"), "multi-class", ModelConfig(dropout=0.0), seed=3)
    model.network.eval()
    assert model.replay is None and model.constant is None
    if model.cut(1) is None:
        return model, None
    torch.manual_seed(0)
    with torch.no_grad():  # else scales are 1 and shifts 0
        for name, parameter in model.anatomy.layers[1].named_parameters():
            if "norm" in name or "ln" in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
        batch = collate(model.encode(TEXTS), model.pad_id)
        hidden = model.replay.capture(model.logits, batch)
    return model, replace(batch, hidden=hidden * batch.attention_mask.unsqueeze(-1))


def gradients(model, batch):
    model.network.zero_grad()
    torch.sin(model.logits(batch)).sum().backward()
    return {n: p.grad.clone() for n, p in model.anatomy.layers[1].named_parameters() if p.grad is not None}


@pytest.mark.parametrize("block", [1, 100, constant.BLOCK])
@pytest.mark.parametrize("architecture", sorted(FED))
def test_gradients_are_those_of_the_usual_way(checkpoint, monkeypatch, architecture, block):
    monkeypatch.setattr(constant, "BLOCK", block)
    model, batch = cut(checkpoint, architecture)
    assert model.constant is not None and len(model.constant.products) == FED[architecture]
    found = gradients(model, batch)
    again = gradients(model, batch)
    model.constant.remove()
    expected = gradients(model, batch)
    assert found.keys() == expected.keys()
    for name, gradient in found.items():
        scale = expected[name].abs().max()
        assert (gradient - expected[name]).abs().max() <= 1e-5 * scale, name
        assert torch.equal(gradient, again[name]), name


@pytest.mark.parametrize("architecture", sorted(set(ARCHITECTURES) - set(FED)))
def test_other_layers_are_left_as_they_are(checkpoint, architecture):
    model, _ = cut(checkpoint, architecture)
    assert model.constant is None
    assert all(own.requires_grad for own in model.network.parameters())
    for layer in model.anatomy.layers[1:]:
        assert not any("forward" in vars(module) for module in layer.modules())


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_no_product_is_as_large_as_the_gradient_of_the_norms_output(checkpoint, monkeypatch, architecture):
    model, batch = cut(checkpoint, architecture)
    positions, width = batch.attention_mask.numel(), batch.hidden.shape[-1]
    shapes = []
    plain = constant.product

    def noted(left, right, bias=None):
        out = plain(left, right, bias)
        shapes.append(tuple(out.shape))
        return out

    monkeypatch.setattr(constant, "product", noted)
    gradients(model, batch)
    assert len([shape for shape in shapes if len(shape) == 3]) == FED[architecture]  # forward
    assert (positions, width) not in shapes


def test_frozen_parts_get_no_gradient(checkpoint):
    model, batch = cut(checkpoint, "gpt2")
    norm, (layer,) = model.constant.norm, model.constant.products
    expected = gradients(model, batch)
    norm.requires_grad_(False)
    found = gradients(model, batch)
    assert not any("ln_1" in name for name in found)
    torch.testing.assert_close(found["attn.c_attn.weight"], expected["attn.c_attn.weight"])
    norm.requires_grad_(True)
    layer.requires_grad_(False)
    found = gradients(model, batch)
    assert not any("c_attn" in name for name in found)
    torch.testing.assert_close(found["ln_1.weight"], expected["ln_1.weight"])
    torch.testing.assert_close(found["ln_1.bias"], expected["ln_1.bias"])


def test_what_else_reads_the_norm_has_its_gradient_the_usual_way(checkpoint):
    model, batch = cut(checkpoint, "gpt2")
    model.uncut()
    layer = model.anatomy.layers[1]
    seen = {}
    layer.ln_1.register_forward_hook(lambda norm, args, output: seen.update(output=output))
    layer.attn.register_forward_hook(lambda attn, args, output: (output[0] + seen["output"], *output[1:]))
    assert model.cut(1) is not None
    assert model.constant is not None
    found = gradients(model, batch)
    model.constant.remove()
    for name, gradient in gradients(model, batch).items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6)


def test_without_the_cut_everything_runs_as_before(checkpoint):
    model, batch = cut(checkpoint, "gpt2")
    layer = model.constant.products[0]
    model.uncut()
    assert model.constant is None and "forward" not in vars(layer)
    expected = gradients(model, replace(batch, hidden=None))
    assert model.cut(1) is not None
    found = gradients(model, batch)
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-6)
