"""The probe's features at a depth match a model that is truncated there."""

import pytest
import torch

from finetext.engine import collate, pool
from finetext.models import find_model, load_model, pooled_by_depth
from finetext.models import layer_outputs as depths
from finetext.models.config import ModelConfig

TEXTS = ["win a prize now", "tea", "the rain has stopped " * 4, "call home"]


def load(checkpoint, architecture, **options):
    source = find_model(str(checkpoint(architecture)))
    model = load_model(source, ("a", "b"), "binary", ModelConfig(dropout=0.0, **options), seed=3)
    model.network.eval()
    return model


@pytest.mark.parametrize("pooling", ["native", "mean"])
@pytest.mark.parametrize("architecture", ["gpt2", "llama", "bert", "modernbert", "deberta-v2", "opt"])
def test_features_at_a_depth_match_the_truncated_model(monkeypatch, checkpoint, architecture, pooling):
    if pooling == "mean" and architecture not in ("gpt2", "bert"):
        pytest.skip("pooling is the same for all")
    monkeypatch.setattr(depths, "computes_bf16_fast", lambda device: False)
    model = load(checkpoint, architecture, pooling=pooling)
    seen = []
    vectors, seconds = pooled_by_depth(model, model.inputs(model.encode(TEXTS)), seen.append)
    assert sum(seen) == len(TEXTS) and bool((seconds.diff() > 0).all())
    for depth in (1, 2):
        shorter = load(checkpoint, architecture, pooling=pooling, depth=depth)
        batch = collate(shorter.encode(TEXTS), shorter.pad_id)
        with torch.no_grad():
            inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
            hidden = shorter.network.base_model(**inputs)[0]
        expected = pool(hidden, batch.attention_mask, shorter.reads)
        scale = expected.abs().max().clamp(min=1)
        assert (vectors[depth - 1] - expected).abs().max() <= 1e-5 * scale, depth


def test_sizes_match_the_truncated_models(checkpoint):
    model = load(checkpoint, "gpt2")
    sizes = [
        sum(parameter.numel() for parameter in load(checkpoint, "gpt2", depth=depth).network.parameters())
        for depth in (1, 2)
    ]
    assert depths.parameters_by_depth(model) == sizes
