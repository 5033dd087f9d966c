"""Our forward pass matches plain transformers, whatever the padding and the other texts in a batch."""

import pytest
import torch
from transformers import AutoModel, AutoModelForSequenceClassification

from checkpoints import ARCHITECTURES, DECODERS
from finetext.engine import collate, pool
from finetext.models import find_model, load_model, predict_logits, save_bundle
from finetext.models.config import ModelConfig

TEXTS = [
    "win a prize now",
    "tea",
    "a literal <|endoftext|> and [SEP] and [PAD] in the middle",
    "<|endoftext|>",
    "the rain has stopped " * 4,
    "ends with <|endoftext|>",
]


def load(checkpoint, architecture, **options):
    folder = checkpoint(architecture)
    model = load_model(
        find_model(str(folder)), ("a", "b", "c"), "multi-class", ModelConfig(**options), seed=3
    )
    model.network.eval()
    with torch.no_grad():  # a head with clearly different logits for different texts
        for name, parameter in model.network.named_parameters():
            if name in model.structure.head and parameter.ndim == 2:
                parameter.mul_(30)
    return model


def same(ours, theirs):
    """Compare to 1e-5 of the largest logit, because float32 sums depend on their order."""
    return bool((ours - theirs).abs().max() <= 1e-5 * theirs.abs().max().clamp(min=1))


def logits(model, texts, side="right"):
    with torch.inference_mode():
        return model.logits(collate(model.encode(texts), model.pad_id, side))


@pytest.mark.parametrize("architecture", sorted(DECODERS))
def test_padding_side_does_not_change_the_logits_of_a_decoder(checkpoint, architecture):
    model = load(checkpoint, architecture)
    assert same(logits(model, TEXTS), logits(model, TEXTS, "left"))


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_batch_size_and_neighbours_do_not_change_logits(checkpoint, architecture):
    model = load(checkpoint, architecture)
    whole = logits(model, TEXTS)
    single = torch.cat([logits(model, [text]) for text in TEXTS])
    assert same(single, whole)
    assert same(logits(model, TEXTS[::-1]).flip(0), whole)
    assert same(torch.from_numpy(predict_logits(model, TEXTS, max_tokens=24)), whole)
    assert whole.std(0).min() > 1e-3


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_plain_transformers_gives_the_same_logits_for_a_saved_bundle(tmp_path, checkpoint, architecture):
    model = load(checkpoint, architecture)
    save_bundle(model, tmp_path / "bundle", {})
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "bundle").eval()
    assert type(plain) is type(model.network)
    with torch.inference_mode():
        batch = collate(model.encode(TEXTS), model.pad_id)
        theirs = plain(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
    assert same(logits(model, TEXTS), theirs)


@pytest.mark.parametrize("pooling", ["first", "last", "mean"])
@pytest.mark.parametrize("architecture", ["bert", "roberta", "gpt2", "llama"])
def test_pooling_matches_its_definition(checkpoint, architecture, pooling):
    model = load(checkpoint, architecture, pooling=pooling)
    plain = AutoModel.from_pretrained(checkpoint(architecture)).eval()
    network = model.network
    for text in TEXTS:
        (ids,) = model.encode([text])[0]
        with torch.inference_mode():
            hidden = plain(input_ids=torch.tensor([ids])).last_hidden_state[0]  # (T, H)
            vector = {"first": hidden[0], "last": hidden[-1], "mean": hidden.mean(0)}[pooling]
            if architecture == "bert":
                expected = network.classifier(network.bert.pooler(vector[None, None]))[0]
            elif architecture == "roberta":
                expected = network.classifier(vector[None, None])[0]
            else:
                expected = network.score(vector)
        assert same(logits(model, [text])[0], expected)


def test_pooling_ignores_padding_on_either_side():
    hidden = torch.arange(24.0).reshape(2, 4, 3)
    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 0]])
    assert torch.equal(pool(hidden, mask, "first"), torch.stack([hidden[0, 2], hidden[1, 0]]))
    assert torch.equal(pool(hidden, mask, "last"), torch.stack([hidden[0, 3], hidden[1, 2]]))
    assert torch.allclose(
        pool(hidden, mask, "mean"), torch.stack([hidden[0, 2:].mean(0), hidden[1, :3].mean(0)])
    )


@pytest.mark.parametrize(("how", "combine"), [("mean", lambda w: w.mean(0)), ("max", lambda w: w.amax(0))])
def test_window_logits_are_combined(checkpoint, how, combine):
    model = load(checkpoint, "bert", long_texts="windows", max_length=8, window_pooling=how)
    texts = ["tea", "win a prize now and call home for your gold and your cash today", "rain"]
    encoded = model.encode(texts)
    assert len(encoded[1]) > 2
    expected = []
    with torch.inference_mode():
        for windows in encoded:
            window_logits = torch.cat([model.logits(collate([(ids,)], model.pad_id)) for ids in windows])
            expected.append(combine(window_logits))
    assert same(logits(model, texts), torch.stack(expected))
    bulk = predict_logits(model, texts, max_tokens=16)
    assert same(torch.from_numpy(bulk), torch.stack(expected))
    model.logits(collate(encoded, model.pad_id)).sum().backward()
    assert model.network.classifier.weight.grad.abs().sum() > 0


def test_the_pooled_position_is_derived_from_the_structure(checkpoint):
    pooling_by_name = {name: load(checkpoint, name).structure.reads for name in ARCHITECTURES}
    assert {name for name, reads in pooling_by_name.items() if reads == "last"} == DECODERS
    assert {name for name, reads in pooling_by_name.items() if reads == "pooler"} == {"bert", "albert"}
    assert set(pooling_by_name.values()) == {"last", "pooler", "first"}


def test_progress_counts_every_text_once(checkpoint):
    model = load(checkpoint, "bert", long_texts="windows", max_length=8)
    texts = ["tea", "win a prize now and call home for your gold and your cash today", "rain"] * 5
    done = []
    predict_logits(model, texts, max_tokens=16, progress=done.append)
    assert sum(done) == len(texts) and len(done) > 5
