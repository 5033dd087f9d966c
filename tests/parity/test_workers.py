"""Concurrent batches match the same batches run sequentially."""

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
from finetext.engine import batch_budget, collate, run_concurrently, split_threads, use_threads, workers
from finetext.models import find_model, load_model, predict_logits
from finetext.models.config import ModelConfig
from finetext.models.model import Model

TEXTS = [
    " ".join(["rain and tea", "win a prize now", "a"][place % 3 :] * (place % 7 + 1)) for place in range(60)
]


@pytest.fixture
def two_workers(monkeypatch):
    """Use two single-threaded workers for every reentrant model, however small."""
    monkeypatch.setattr(workers, "MIN_BATCH_MACS", 0)
    monkeypatch.setattr(workers, "MAX_IMBALANCE", 2.0)
    monkeypatch.setattr(Model, "threads", property(lambda model: model.split_threads(2)))


def load(checkpoint, architecture, **options):
    source = find_model(str(checkpoint(architecture)))
    return load_model(source, ("a", "b", "c"), "multi-class", ModelConfig(dropout=0.1, **options), seed=3)


def note_threads(model):
    seen = set()
    model.network.base_model.register_forward_pre_hook(lambda *_: seen.add(threading.current_thread().name))
    return seen


@pytest.mark.parametrize("pooling", ["native", "mean"])
@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_concurrent_logits_match_sequential_batches(checkpoint, two_workers, architecture, pooling):
    model = load(checkpoint, architecture, pooling=pooling)
    model.network.train()  # prediction must switch dropout off
    expected = np.concatenate([predict_logits(model, [text]) for text in TEXTS])
    seen = note_threads(model)
    for _ in range(3):
        logits = predict_logits(model, TEXTS, max_tokens=80)
        np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
    assert len([name for name in seen if name.startswith("finetext-worker")]) == 2
    assert model.network.training


@pytest.mark.parametrize("architecture", ["bert", "gpt2", "llama", "modernbert"])
def test_concurrent_calls_do_not_affect_each_other(checkpoint, architecture):
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
def test_cached_features_and_the_tail_above_them_match_sequential_batches(
    checkpoint, two_workers, architecture
):
    from finetext.models.trunk import _trunk

    model = load(checkpoint, architecture)
    assert model.cut(1) is None
    trunk = _trunk(model, {}, "fp32", "fp32")
    windows = [ids for text in model.encode(TEXTS) for ids in text]
    seen = note_threads(model)
    assert trunk.threads == [1, 1]
    for budget in (40, 200):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("finetext.cache.features.default_token_budget", lambda _, tokens=budget: tokens)
            features = dict(trunk.run(windows))
        assert sorted(features) == list(range(len(windows)))
        model.network.eval()
        with torch.no_grad():
            for place, ids in enumerate(windows):
                (alone,) = model.runner.capture(collate([(ids,)], model.pad_id))
                torch.testing.assert_close(features[place], alone, rtol=1e-4, atol=1e-5)
        model.network.train()
    assert len([name for name in seen if name.startswith("finetext-worker")]) == 2


def test_a_network_whose_rotary_tables_change_has_one_worker(checkpoint, tmp_path, monkeypatch):
    factors = {"short_factor": [1.0] * 4, "long_factor": [2.0] * 4}
    scaled = ARCHITECTURES["phi3"] | {
        "original_max_position_embeddings": 16,
        "rope_parameters": {"rope_type": "longrope", "rope_theta": 10000.0, **factors},
    }
    monkeypatch.setitem(ARCHITECTURES, "phi3", scaled)
    model = load(lambda kind: make_checkpoint(kind, tmp_path), "phi3")
    assert model.split_threads(2) == [2]
    assert "rotary" in model.fast_paths()["concurrent batches"].reason


def test_workers_keep_order_modes_and_threads():
    before = torch.get_num_threads()

    def note(item):
        time.sleep(0.01 * (item % 3))
        modes = (torch.is_inference_mode_enabled(), torch.is_grad_enabled(), torch.is_autocast_enabled("cpu"))
        return item, threading.current_thread().name, torch.get_num_threads(), modes

    caller = threading.current_thread().name
    try:
        use_threads(3)
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
            concurrent = list(run_concurrently(note, range(20), [10**9] * 20, split_threads(3)))
        plain = list(run_concurrently(note, range(20), [10**9] * 20, split_threads(1)))
        assert torch.get_num_threads() == 3
        with ThreadPoolExecutor(1) as pool:  # a thread that is started later
            assert pool.submit(torch.get_num_threads).result() == 3
    finally:
        use_threads(before)
    assert [item for item, *_ in concurrent] == [item for item, *_ in plain] == list(range(20))
    assert {(name, count) for _, name, count, _ in concurrent} == {
        ("finetext-worker_0", 2),
        ("finetext-worker_1", 1),
    } or {(name, count) for _, name, count, _ in concurrent} == {
        ("finetext-worker_0", 1),
        ("finetext-worker_1", 2),
    }
    assert {modes for *_, modes in concurrent} == {(True, False, True)}
    assert {name for _, name, *_ in plain} == {caller} and {modes for *_, modes in plain} == {
        (False, True, False)
    }


@pytest.mark.parametrize("costs", [[10**9], [1] * 20, [10**12, 10**9, 10**9]])
def test_small_or_uneven_batches_run_one_after_the_other(costs):
    names = run_concurrently(lambda _: threading.current_thread().name, costs, costs, [1, 1])
    assert set(names) == {threading.current_thread().name}


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_stops_all_workers(error):
    done = []

    def fail(item):
        if item == 7:
            raise error("seven")
        done.append(item)

    with pytest.raises(error, match="seven"):
        list(run_concurrently(fail, range(1000), [10**9] * 1000, [1, 1]))
    gc.collect()
    assert len(done) < 100
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("finetext-worker")]


def test_closing_the_iterator_stops_all_workers():
    done = []
    for item in run_concurrently(done.append, range(1000), [10**9] * 1000, [1, 1]):
        assert item is None
        break
    gc.collect()
    assert len(done) < 100
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("finetext-worker")]


@given(st.lists(st.integers(1, 500), min_size=1, max_size=200), st.integers(1, 10**8))
@example([500] * 8, 510465)  # half of the budget would be too small for a worker
def test_the_budget_of_a_batch_is_bounded(lengths, products):
    total = sum(lengths)
    assert batch_budget(total, 2048, 1, products) == 2048
    budget = batch_budget(total, 2048, 2, products)
    assert budget == 2048 or 768 <= budget <= 1024
    if budget < 2048:
        assert (
            budget == 1024 or budget * 2 * workers.BATCHES_PER_WORKER >= total
        )  # no more batches than needed
        assert budget * products >= workers.MIN_BATCH_MACS * 0.99


def test_a_network_that_is_not_reentrant_serves_one_caller_at_a_time(checkpoint):
    model = load(checkpoint, "bert")
    model._not_reentrant = "for the test"
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
