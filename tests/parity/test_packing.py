"""Packed batches match padded ones."""

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from checkpoints import ARCHITECTURES, SMALL, make_checkpoint
from finetext.engine import attention, collate, packing
from finetext.models import find_model, load_model, predict_logits
from finetext.models.config import ModelConfig

TEXTS = [
    "win a prize now",
    "tea",
    "the rain has stopped " * 4,
    "call home",
    "rain and tea and rain",
    "a",
    "tea",
]
PADDED = {"mpnet", "deberta-v2"}
"""Architectures that do not use transformers' AttentionInterface."""
PACKED = sorted(set(ARCHITECTURES) - PADDED)


def load(checkpoint, architecture, **options):
    source = find_model(str(checkpoint(architecture)))
    model = load_model(source, ("a", "b", "c"), "multi-class", ModelConfig(dropout=0.0, **options), seed=3)
    model.network.eval()
    return model


def run(model, batch):
    """Return the logits, and the gradient of every parameter."""
    model.network.zero_grad()
    logits = model.logits(batch)
    torch.sin(logits).sum().backward()
    gradients = {
        name: parameter.grad.clone()
        for name, parameter in model.network.named_parameters()
        if parameter.grad is not None
    }
    return logits.detach(), gradients


@pytest.mark.parametrize("pooling", ["native", "mean"])
@pytest.mark.parametrize("architecture", PACKED)
def test_packed_logits_and_gradients_match_a_padded_batch(checkpoint, monkeypatch, architecture, pooling):
    model = load(checkpoint, architecture, pooling=pooling)
    assert model.packs()
    batch = collate(model.encode(TEXTS), model.pad_id)
    with model.padded():
        expected, expected_gradients = run(model, batch)
    for most in (0, 5, 10_000):  # one group per length, a few groups, a single group
        monkeypatch.setattr(packing, "MAX_GROUP_PADDING", most)
        logits, gradients = run(model, batch)
        torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)
        assert gradients.keys() == expected_gradients.keys()
        for name, gradient in gradients.items():
            scale = expected_gradients[name].abs().max().clamp(min=1)
            assert (gradient - expected_gradients[name]).abs().max() <= 1e-5 * scale, (name, most)


@pytest.mark.parametrize("architecture", ["bert", "gpt2", "llama"])
def test_packed_logits_in_bf16_match_a_padded_batch_up_to_rounding(checkpoint, architecture):
    model = load(checkpoint, architecture, pooling="mean")
    batch = collate(model.encode(TEXTS), model.pad_id)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model.logits(batch)
        with model.padded():
            expected = model.logits(batch)
    assert (logits - expected).abs().max() <= 0.03 * expected.abs().max()


@pytest.mark.parametrize("architecture", PACKED)
def test_layers_receive_no_padding(checkpoint, architecture):
    model = load(checkpoint, architecture)
    seen = []
    layers = model.structure.layers or [model.network.base_model.encoder]
    for module in layers[0].modules():
        if isinstance(module, torch.nn.Linear) or type(module).__name__ == "FastConv1D":
            module.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[:-1].numel()))
    encoded = model.encode(TEXTS)
    tokens = sum(len(window) for text in encoded for window in text)
    model.logits(collate(encoded, model.pad_id))
    rounded = packing.round_length(tokens)
    assert set(seen) == {rounded}
    seen.clear()
    with model.padded():
        model.logits(collate(encoded, model.pad_id))
    assert min(seen) > rounded


def test_packed_rows_are_rounded_to_few_lengths_with_little_overhead():
    rounded_lengths = {tokens: packing.round_length(tokens) for tokens in range(1, 4097)}
    assert all(
        tokens <= rounded < tokens + max(packing.LENGTH_MULTIPLE, tokens / 8 + 1)
        for tokens, rounded in rounded_lengths.items()
    )
    assert len(set(rounded_lengths.values())) < 60


@pytest.mark.parametrize("architecture", sorted(PADDED))
def test_models_with_custom_attention_run_padded(checkpoint, architecture):
    model = load(checkpoint, architecture)
    assert not model.packs()
    batch = collate(model.encode(TEXTS), model.pad_id)
    alone = [model.logits(collate([inputs], model.pad_id)) for inputs in model.encode(TEXTS)]
    torch.testing.assert_close(model.logits(batch), torch.cat(alone), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("architecture", ["bert", "gpt2", "llama"])
def test_left_padding_and_texts_of_one_length_are_not_packed(checkpoint, architecture):
    model = load(checkpoint, architecture)
    encoded = model.encode(TEXTS)
    if architecture != "bert":  # BERT counts its positions from the left, padding included
        logits = model.logits(collate(encoded, model.pad_id, padding_side="left"))
        torch.testing.assert_close(logits, model.logits(collate(encoded, model.pad_id)), rtol=1e-4, atol=1e-4)
    even = collate([encoded[1], encoded[1]], model.pad_id)
    with model.padded():
        expected = model.logits(even)
    torch.testing.assert_close(model.logits(even), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("architecture", ["bert", "gpt2", "modernbert"])
def test_captured_features_match_a_padded_batch(checkpoint, architecture):
    model = load(checkpoint, architecture, pooling="mean")
    for cut in (1, 2):
        assert model.cut(cut) is None
        batch = collate(model.encode(TEXTS), model.pad_id)
        with torch.no_grad():
            features = model.runner.capture(batch)
            with model.padded():
                expected = model.runner.capture(batch)
        for packed, padded in zip(features, expected, strict=True):
            torch.testing.assert_close(packed, padded, rtol=1e-5, atol=1e-5)


def test_a_short_list_is_one_batch_and_matches_single_texts(checkpoint):
    model = load(checkpoint, "bert")
    batches = model.batches(model.inputs(model.encode(TEXTS)))
    assert [sorted(batch) for batch in batches] == [list(range(len(TEXTS)))]
    alone = np.concatenate([predict_logits(model, [text]) for text in TEXTS])
    np.testing.assert_allclose(predict_logits(model, TEXTS), alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("architecture", ["gpt2", "bert", "roberta", "llama"])
def test_a_packed_batch_may_have_more_texts_than_the_model_has_positions(checkpoint, architecture):
    model = load(checkpoint, architecture)
    batch = collate(model.encode(TEXTS * 12), model.pad_id)  # 84 texts, 64 positions
    with torch.no_grad(), model.padded():
        expected = model.logits(batch)
    with torch.no_grad():
        torch.testing.assert_close(model.logits(batch), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_pass_leaves_no_state_behind(checkpoint, error):
    model = load(checkpoint, "bert")
    batch = collate(model.encode(TEXTS), model.pad_id)
    expected = model.logits(batch)

    def interrupt(*_):
        raise error

    for layer in model.structure.layers:
        handle = layer.attention.output.register_forward_pre_hook(interrupt)
        with pytest.raises(error):
            model.logits(batch)
        handle.remove()
        assert attention.current_pass() is None
        assert torch.equal(model.logits(batch), expected)


def test_the_network_can_be_pickled_and_copied(checkpoint):
    network = load(checkpoint, "bert").network
    for twin in (pickle.loads(pickle.dumps(network)), copy.deepcopy(network)):
        assert twin.config.hidden_size == network.config.hidden_size


@pytest.mark.parametrize(
    ("kind", "sizes"),
    [
        ("longformer", SMALL | {"attention_window": [4, 4], "max_position_embeddings": 70}),
        ("xlnet", {"d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 24}),
        ("squeezebert", SMALL | {"embedding_size": 16, "max_position_embeddings": 64}),
    ],
)
def test_networks_that_cannot_be_packed_run_padded(tmp_path, monkeypatch, kind, sizes):
    monkeypatch.setitem(ARCHITECTURES, kind, sizes)
    source = find_model(str(make_checkpoint(kind, tmp_path)))
    model = load_model(source, ("a", "b"), "binary", ModelConfig(dropout=0.0, max_length=40), seed=3)
    model.network.eval()
    assert not model.packs()
    for lengths in ([4, 1, 2, 1], [6, 6, 1, 3, 2, 6], [40, 1, 2, 7, 30]):
        encoded = [([7] * length,) for length in lengths]
        alone = torch.cat([model.logits(collate([inputs], model.pad_id)) for inputs in encoded])
        torch.testing.assert_close(model.logits(collate(encoded, model.pad_id)), alone, rtol=1e-4, atol=1e-4)


@given(st.lists(st.integers(1, 40), min_size=2, max_size=12), st.integers(0, 80))
def test_packing_loses_no_token(lengths, most):
    width = max(lengths)
    mask = (torch.arange(width) < torch.tensor(lengths).unsqueeze(1)).long()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "MAX_GROUP_PADDING", most)
        layout = packing.find_packing(mask)
    if layout is None:
        assert packing.round_length(sum(lengths)) > (1 - packing.MIN_PADDING_SAVED) * mask.numel()
        return
    hidden = torch.arange(mask.numel(), dtype=torch.float32).view(*mask.shape, 1)
    row = layout.pack(hidden)
    tokens, filling = row[0].split([sum(lengths), row.shape[1] - sum(lengths)])
    assert sorted(tokens.flatten().tolist()) == hidden[mask.bool()].flatten().tolist()
    assert filling.tolist() == [tokens[-1].tolist()] * (packing.round_length(sum(lengths)) - sum(lengths))
    for text, length, place in zip(layout.texts(row), lengths, range(len(lengths)), strict=True):
        assert text.flatten().tolist() == [place * width + position for position in range(length)]
    means = layout.mean(row)[layout.order.argsort()].flatten()
    assert torch.allclose(means, torch.stack([text.mean() for text in layout.texts(row)]))
    heads = row[0].unsqueeze(1)  # (N, 1, 1)
    parts = [group.unpad(group.pad(heads).transpose(1, 2)) for group in layout.groups]
    assert torch.equal(torch.cat(parts), heads[: len(tokens)])
    for group in layout.groups:
        texts = layout.order[group.texts].tolist()
        sizes = [lengths[text] for text in texts]
        assert max(sizes) == group.width
        assert sum(group.width - size for size in sizes) <= most
        # A text's tokens are contiguous and in order.
        for text, line in zip(texts, group.pad(heads)[:, 0, :, 0], strict=True):
            assert line[: lengths[text]].tolist() == [text * width + place for place in range(lengths[text])]
