import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from finetext.engine import collate, token_budget_batches, usable_cores
from finetext.engine.batching import MAX_PADDED
from finetext.engine.device import choose_device, choose_precision
from finetext.errors import UsageError

LENGTHS = st.lists(st.integers(1, 300), max_size=200)


@given(LENGTHS, st.integers(1, 1000))
def test_every_item_is_in_one_batch_within_the_budget(lengths, budget):
    batches = token_budget_batches(lengths, budget)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        padded = len(batch) * max(lengths[index] for index in batch)
        assert padded <= budget or len(batch) == 1


@given(LENGTHS, st.integers(1, 1000))
def test_without_padding_the_budget_counts_real_tokens(lengths, budget):
    batches = token_budget_batches(lengths, budget, packed=True)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        batch_lengths = [lengths[index] for index in batch]
        assert len(batch) == 1 or (
            sum(batch_lengths) <= budget and len(batch_lengths) * max(batch_lengths) <= MAX_PADDED * budget
        )


def test_only_short_lists_mix_texts_of_any_length_in_a_batch():
    import random

    draw = random.Random(0)
    lengths = [max(3, int(draw.lognormvariate(3, 0.6))) for _ in range(5000)]
    assert token_budget_batches(lengths, 2048, packed=True) == token_budget_batches(lengths, 2048)
    assert len(token_budget_batches(lengths[:32], 2048)) > 1
    assert len(token_budget_batches(lengths[:32], 2048, packed=True)) == 1


def test_padding_is_under_ten_percent_of_the_tokens_in_bulk():
    import random

    draw = random.Random(0)
    lengths = [max(3, int(draw.lognormvariate(3, 0.6))) for _ in range(5000)]
    batches = token_budget_batches(lengths, 2048)
    padded = sum(len(batch) * max(lengths[i] for i in batch) for batch in batches)
    assert sum(lengths) / padded > 0.9


@pytest.mark.parametrize("side", ["right", "left"])
def test_collate_pads_to_the_longest_window(side):
    batch = collate([([5, 6, 7],), ([8], [9, 10])], pad_id=1, padding_side=side)
    assert batch.size == 2
    assert batch.owner.tolist() == [0, 1, 1]
    assert batch.attention_mask.sum(1).tolist() == [3, 1, 2]
    rows = {"right": [[5, 6, 7], [8, 1, 1], [9, 10, 1]], "left": [[5, 6, 7], [1, 1, 8], [1, 9, 10]]}
    assert batch.input_ids.tolist() == rows[side]


def test_auto_precision_is_safe_on_this_machine():
    device = choose_device("auto")
    assert choose_precision("auto", torch.device("cpu")).name == "fp32"
    assert device.type in ("cpu", "cuda", "mps")
    assert 1 <= usable_cores() <= 4096


@pytest.mark.parametrize("name", ["tf32", "fp16"])
def test_a_precision_that_the_cpu_lacks_falls_back_with_a_notice(name):
    precision = choose_precision(name, torch.device("cpu"))
    assert precision.name == "fp32" and name in precision.notice


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA GPU here")
def test_a_missing_device_is_refused():
    with pytest.raises(UsageError, match="--device cpu"):
        choose_device("cuda")
