"""Batches that run at the same time, against the same batches one after the other."""

import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from checkpoints import ARCHITECTURES, make_checkpoint
from finetext.engine import collate, in_lanes, lane_budget, lanes_of, use_threads
from finetext.engine import workers as lanes
from finetext.models import find_model, load_model, predict_logits
from finetext.models.config import ModelConfig
from finetext.models.model import Model

TEXTS = [
    " ".join(["rain and tea", "win a prize now", "a"][place % 3 :] * (place % 7 + 1)) for place in range(60)
]


@pytest.fixture
def two_lanes(monkeypatch):
    """Two lanes of a thread for every model that may run twice at a time, however small."""
    monkeypatch.setattr(lanes, "LEAST_PRODUCTS", 0)
    monkeypatch.setattr(lanes, "MOST_WAITING", 2.0)
    monkeypatch.setattr(Model, "lanes", property(lambda model: [1, 1] if model.side_by_side else [1]))


def load(checkpoint, architecture, **options):
    source = find_model(str(checkpoint(architecture)))
    return load_model(source, ("a", "b", "c"), "multi-class", ModelConfig(dropout=0.1, **options), seed=3)


def note_threads(model):
    seen = set()
    model.network.register_forward_pre_hook(lambda *_: seen.add(threading.current_thread().name))
    return seen


@pytest.mark.parametrize("pooling", ["native", "mean"])
@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_logits_are_those_of_one_batch_after_the_other(checkpoint, two_lanes, architecture, pooling):
    model = load(checkpoint, architecture, pooling=pooling)
    model.network.train()  # its dropout must not be in force
    expected = np.concatenate([predict_logits(model, [text]) for text in TEXTS])
    seen = note_threads(model)
    for _ in range(3):
        found = predict_logits(model, TEXTS, max_tokens=80)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert len([name for name in seen if name.startswith("lane")]) == (2 if model.side_by_side else 0)
    assert model.side_by_side == bool(model.anatomy.layers)
    assert model.network.training


@pytest.mark.parametrize("architecture", ["bert", "gpt2", "llama", "modernbert"])
def test_threads_of_a_caller_do_not_disturb_each_other(checkpoint, architecture):
    model = load(checkpoint, architecture)
    model.network.eval()
    batches = [collate(model.encode(TEXTS[start : start + 5]), model.pad_id) for start in range(0, 60, 5)]
    with torch.no_grad():
        expected = [model.logits(batch) for batch in batches]

    def run(seed):
        order = np.random.default_rng(seed).permutation(len(batches)).tolist() * 3
        with torch.no_grad():
            return all(torch.allclose(model.logits(batches[n]), expected[n], atol=1e-5) for n in order)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(run, range(4)))


@pytest.mark.parametrize("architecture", ["bert", "gpt2"])
def test_stored_features_and_the_tail_behind_them_are_the_same(checkpoint, two_lanes, architecture):
    from finetext.models.trunk import _trunk

    model = load(checkpoint, architecture)
    assert model.cut(1) is not None
    trunk = _trunk(model, model.replay, {}, "fp32", "fp32")
    windows = [ids for text in model.encode(TEXTS) for ids in text]
    seen = note_threads(model)
    assert trunk.lanes == [1, 1]
    for budget in (40, 200):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("finetext.cache.features.default_token_budget", lambda _, own=budget: own)
            found = dict(trunk.run(windows))
        assert sorted(found) == list(range(len(windows)))
        model.network.eval()
        with torch.no_grad():
            for place, ids in enumerate(windows):
                alone = model.replay.capture(model.logits, collate([(ids,)], model.pad_id))[0]
                torch.testing.assert_close(found[place], alone, rtol=1e-4, atol=1e-5)
        model.network.train()
    assert len([name for name in seen if name.startswith("lane")]) == 2


def test_a_network_that_changes_as_it_runs_has_one_lane(checkpoint, tmp_path, monkeypatch):
    class Counting(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, hidden):
            self.seen += 1
            return self.inner(hidden)

    model = load(checkpoint, "bert")
    layer = model.anatomy.layers[0]
    layer.intermediate.dense = Counting(layer.intermediate.dense)
    again = Model(model.network, model.tokenizer, model.class_names, model.settings, model.anatomy)
    assert model.side_by_side and not again.side_by_side

    factors = {"short_factor": [1.0] * 4, "long_factor": [2.0] * 4}
    scaled = ARCHITECTURES["phi3"] | {
        "original_max_position_embeddings": 16,
        "rope_parameters": {"rope_type": "longrope", "rope_theta": 10000.0, **factors},
    }
    monkeypatch.setitem(ARCHITECTURES, "phi3", scaled)
    model = load(lambda kind: make_checkpoint(kind, tmp_path), "phi3")
    assert not model.side_by_side


def test_lanes_keep_order_modes_and_threads():
    before = torch.get_num_threads()

    def note(item):
        time.sleep(0.01 * (item % 3))
        modes = (torch.is_inference_mode_enabled(), torch.is_grad_enabled(), torch.is_autocast_enabled("cpu"))
        return item, threading.current_thread().name, torch.get_num_threads(), modes

    own = threading.current_thread().name
    try:
        use_threads(3)
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
            found = list(in_lanes(note, range(20), [10**9] * 20, lanes_of(3)))
        plain = list(in_lanes(note, range(20), [10**9] * 20, lanes_of(1)))
        assert torch.get_num_threads() == 3
        with ThreadPoolExecutor(1) as pool:  # a thread that starts later
            assert pool.submit(torch.get_num_threads).result() == 3
    finally:
        use_threads(before)
    assert [item for item, *_ in found] == [item for item, *_ in plain] == list(range(20))
    assert {(name, count) for _, name, count, _ in found} == {("lane_0", 2), ("lane_1", 1)} or {
        (name, count) for _, name, count, _ in found
    } == {("lane_0", 1), ("lane_1", 2)}
    assert {modes for *_, modes in found} == {(True, False, True)}
    assert {name for _, name, *_ in plain} == {own} and {modes for *_, modes in plain} == {
        (False, True, False)
    }


@pytest.mark.parametrize("costs", [[10**9], [1] * 20, [10**12, 10**9, 10**9]])
def test_what_is_small_or_uneven_has_one_lane(costs):
    names = in_lanes(lambda _: threading.current_thread().name, costs, costs, [1, 1])
    assert set(names) == {threading.current_thread().name}


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_fault_ends_all_lanes(error):
    done = []

    def fail(item):
        if item == 7:
            raise error("seven")
        done.append(item)

    with pytest.raises(error, match="seven"):
        list(in_lanes(fail, range(1000), [10**9] * 1000, [1, 1]))
    gc.collect()
    assert len(done) < 100
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lane")]


def test_who_stops_listening_ends_all_lanes():
    done = []
    for item in in_lanes(done.append, range(1000), [10**9] * 1000, [1, 1]):
        assert item is None
        break
    gc.collect()
    assert len(done) < 100
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lane")]


@given(st.lists(st.integers(1, 500), min_size=1, max_size=200), st.integers(1, 10**8))
@example([500] * 8, 510465)  # a batch of half the budget would be too small for a lane
def test_the_budget_is_no_larger_than_asked_for_and_enough_for_all(lengths, products):
    total = sum(lengths)
    assert lane_budget(total, 2048, 1, products) == 2048
    budget = lane_budget(total, 2048, 2, products)
    assert budget == 2048 or 768 <= budget <= 1024
    if budget < 2048:
        assert budget == 1024 or budget * 2 * lanes.BATCHES >= total  # no more batches than are of use
        assert budget * products >= lanes.LEAST_PRODUCTS * 0.99


def test_a_network_that_changes_as_it_runs_serves_one_caller_at_a_time(checkpoint):
    model = load(checkpoint, "albert")
    batch = collate(model.encode(TEXTS[:5]), model.pad_id)
    inside, most = [], []

    def enter(*_):
        inside.append(0)
        most.append(len(inside))
        time.sleep(0.01)

    model.network.register_forward_pre_hook(enter)
    model.network.register_forward_hook(lambda *_: inside.remove(0))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: model.logits(batch), range(12)))
    assert most == [1] * 12
