"""A head that runs as the row of its modules, against the network that it belongs to."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from checkpoints import ARCHITECTURES
from finetext.cache import Inputs
from finetext.engine import collate
from finetext.engine.chain import find_chain
from finetext.models import find_model, load_model
from finetext.models.config import ModelConfig

UNCUT = {"albert"}
NO_CHAINS = {"deberta-v2", "distilbert", "mpnet", "roberta"}
"""Their heads have a function, or a module of no network, between their modules."""
CHAINS = sorted(set(ARCHITECTURES) - UNCUT - NO_CHAINS)
TEXTS = ["one", "two words here", "a b c d e f g"]


def cut_at_the_head(folder, pooling="native"):
    config = ModelConfig(dropout=0.3, max_length=40, pooling=pooling)
    model = load_model(find_model(str(folder)), ("a", "b", "c"), "multi-class", config, seed=3)
    replay = model.cut(model.anatomy.depth)
    assert replay is not None
    encoded = model.encode(TEXTS)
    model.network.eval()
    with torch.no_grad():
        hidden = replay.capture(model.logits, collate(encoded, model.pad_id)).clone()  # (W, 1, H)
    short = collate([(ids[:1],) for text in encoded for ids in text], model.pad_id)
    return model, replay, type(short)(short.input_ids, short.attention_mask, short.owner, short.size, hidden)


def logits_and_gradients(model, batch, mode):
    model.network.train(mode)
    model.network.zero_grad()
    torch.manual_seed(5)
    logits = model.logits(batch)
    logits.square().sum().backward()
    return logits.detach(), {
        name: own.grad.clone() for name, own in model.network.named_parameters() if own.grad is not None
    }


@pytest.mark.parametrize("mode", [False, True])
@pytest.mark.parametrize("pooling", ["native", "mean"])
@pytest.mark.parametrize("architecture", CHAINS)
def test_a_chain_gives_the_logits_and_gradients_of_its_network(checkpoint, architecture, pooling, mode):
    model, replay, batch = cut_at_the_head(checkpoint(architecture), pooling)
    assert replay.head is not None
    found, gradients = logits_and_gradients(model, batch, mode)
    replay.head = None
    expected, expected_gradients = logits_and_gradients(model, batch, mode)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    assert gradients.keys() == {name for name, own in expected_gradients.items() if own.any()}
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected_gradients[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("architecture", ["bert", "gpt2", "llama", "modernbert"])
def test_common_heads_are_chains_and_run_without_the_network(checkpoint, monkeypatch, architecture):
    model, replay, batch = cut_at_the_head(checkpoint(architecture))
    assert replay.head is not None

    def forbidden(*_, **__):
        raise AssertionError("the network ran")

    monkeypatch.setattr(model.network, "forward", forbidden)
    assert model.logits(batch).shape == (3, 3)


@pytest.mark.parametrize("architecture", sorted(NO_CHAINS))
def test_other_heads_run_in_their_network(checkpoint, architecture):
    model, replay, batch = cut_at_the_head(checkpoint(architecture))
    assert replay.head is None
    whole = collate(model.encode(TEXTS), model.pad_id)
    model.network.eval()
    torch.testing.assert_close(model.logits(batch), model.logits(whole), rtol=1e-5, atol=1e-5)


class Head(nn.Module):
    def __init__(self, between):
        super().__init__()
        self.first, self.last = nn.Linear(6, 6), nn.Linear(6, 2)
        self.between = between

    def forward(self, vectors):
        return self.last(self.between(self.first(vectors), self.training))


@pytest.mark.parametrize(
    "between",
    [
        lambda hidden, training: torch.tanh(hidden),
        lambda hidden, training: functional.dropout(hidden, 0.5, training),
        lambda hidden, training: hidden * 2,
    ],
    ids=["function", "dropout", "factor"],
)
def test_a_head_that_does_something_between_its_modules_is_no_chain(between):
    torch.manual_seed(0)
    head, vectors = Head(between), torch.randn(4, 6)
    assert find_chain(head, lambda: head(vectors), vectors) is None
    assert find_chain(head, lambda: head(vectors * 2), vectors) is None


def test_modules_in_a_row_are_a_chain():
    torch.manual_seed(0)
    head = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Dropout(0.5), nn.Linear(6, 2))
    vectors = torch.randn(4, 6)
    chain = find_chain(head, lambda: head(vectors), vectors)
    assert chain is not None
    assert chain.modules == tuple(head)
    assert find_chain(head, lambda: head(vectors * 2), vectors) is None


class OfThreeDimensions(nn.Linear):
    def forward(self, hidden):
        texts, tokens, _ = hidden.shape
        return super().forward(hidden).view(texts, tokens, -1)


def test_modules_that_take_another_form_are_no_chain():
    torch.manual_seed(0)
    head, vectors = nn.Sequential(OfThreeDimensions(6, 6), nn.Linear(6, 2)), torch.randn(4, 6)
    assert find_chain(head, lambda: head(vectors.unsqueeze(1))[:, 0], vectors) is None


def test_texts_of_a_token_are_batched_like_others(checkpoint):
    ids = [([7],), ([9],), ([8],)]
    found, expected = Inputs(ids, 0).batch([2, 0]), collate([ids[2], ids[0]], 0)
    for name in ("input_ids", "attention_mask", "owner", "size", "hidden"):
        assert str(getattr(found, name)) == str(getattr(expected, name)), name
