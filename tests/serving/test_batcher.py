"""The batcher by itself: its workers share texts, and every text gets its own result."""

import asyncio
import contextlib
import threading

import numpy as np
import pytest
import torch

from finetext.serving import ServeConfig
from finetext.serving.batcher import Batcher
from finetext.serving.errors import ApiError

TEXTS = [f"rain and tea {'win a prize ' * (place % 6)}{place % 10}" for place in range(80)]


@contextlib.contextmanager
def batching(classifier, threads=2, **options):
    """Return a batcher, its batches as (worker, texts), and the number of threads that each ran on."""
    batches, counts = [], []
    settings = {"max_tokens": 100_000, "max_wait_ms": 3, "max_queue": 1000}
    batcher = Batcher(
        classifier,
        ServeConfig(**(settings | options)),
        threads=threads,
        observe=lambda texts, _: batches.append((threading.current_thread(), texts)),
    )
    assert batcher.warm.wait(120)
    handle = classifier.model.network.register_forward_pre_hook(
        lambda *_: counts.append(torch.get_num_threads())
    )
    try:
        yield batcher, batches, counts
    finally:
        handle.remove()
        batcher.close()
        for thread in batcher.threads:
            thread.join(10)
        assert not batcher.is_running


def test_a_long_list_is_shared_by_two_workers(library):
    classifier = library("clear")
    expected = classifier.logits(TEXTS)

    async def ask(batcher):
        return await batcher.submit(TEXTS).future

    with batching(classifier) as (batcher, batches, counts):
        logits = asyncio.run(ask(batcher))
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
    assert sum(texts for _, texts in batches) == len(TEXTS)
    assert batches[0][1] == len(TEXTS) // 2 and batcher.waiting == 0
    assert counts[0] == 1
    with batching(classifier, threads=1) as (batcher, batches, counts):
        logits = asyncio.run(ask(batcher))
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
    assert [texts for _, texts in batches] == [len(TEXTS)]
    assert set(counts) == {1}


def test_batches_fill_their_budget_once_token_counts_are_learnt(library):
    classifier = library("clear")
    lengths = [len(ids) for (ids,) in classifier.encode(TEXTS)]
    assert abs(sum(map(len, TEXTS)) / sum(lengths) - 4) > 1  # differs from the initial estimate
    budget = 8 * max(lengths)

    async def ask(batcher):
        await asyncio.gather(*(batcher.submit(TEXTS[n % 20 :]).future for n in range(20)))

    with batching(classifier, max_tokens=budget, max_queue=10_000, threads=1) as (batcher, batches, counts):
        asyncio.run(ask(batcher))  # the estimate learns
        batches.clear()
        counts.clear()
        asyncio.run(ask(batcher))
    assert len(counts) < 1.1 * len(batches)
    tokens = sum(sum(lengths[n % 20 :]) for n in range(20))
    assert len(batches) < 1.2 * tokens / budget


def test_concurrent_requests_get_the_results_of_their_texts(library):
    classifier = library("clear")
    expected = classifier.logits(TEXTS)
    random = np.random.default_rng(5)

    async def client(batcher):
        for size in random.integers(1, 12, 12).tolist():
            places = random.integers(0, len(TEXTS), size).tolist()
            logits = await batcher.submit([TEXTS[n] for n in places]).future
            np.testing.assert_allclose(logits, expected[places], rtol=1e-4, atol=1e-4)
            await asyncio.sleep(random.uniform(0, 0.004))

    async def ask(batcher):
        await asyncio.gather(*(client(batcher) for _ in range(24)))

    with batching(classifier) as (batcher, batches, _):
        asyncio.run(ask(batcher))
        assert batcher.waiting == 0
    assert len({thread for thread, _ in batches}) == 2


def test_a_single_request_uses_all_cores_and_concurrent_ones_share_them(library):
    classifier = library("clear")
    held, let_go = threading.Event(), threading.Event()

    def hold(network, args, kwargs):
        if "input_ids" in kwargs and kwargs["input_ids"].shape[1] > 60:  # only calls of the backbone
            held.set()
            assert let_go.wait(30)

    async def ask(batcher, counts):
        await batcher.submit(["tea"]).future
        assert counts == [2]
        slow = batcher.submit(["win a prize now " * 30])
        assert await asyncio.to_thread(held.wait, 30)
        await batcher.submit(["tea"]).future  # while the other batch is running
        assert counts == [2, 1] and not slow.future.done()
        let_go.set()
        await slow.future

    before = torch.get_num_threads()
    with batching(classifier) as (batcher, batches, counts):
        handle = classifier.model.network.base_model.register_forward_pre_hook(hold, with_kwargs=True)
        try:
            asyncio.run(ask(batcher, counts))
        finally:
            let_go.set()
            handle.remove()
    assert torch.get_num_threads() == before
    assert [thread for thread, _ in batches] == [batcher.threads[0], batcher.threads[0], batcher.threads[1]]


def test_a_failing_text_fails_only_its_own_request(library):
    classifier = library("fragile")

    async def ask(batcher):
        requests = [batcher.submit(["tea"] * 5 + ["unknown"] * (n % 3 == 0)) for n in range(30)]
        return await asyncio.gather(*(request.future for request in requests), return_exceptions=True)

    with batching(classifier) as (batcher, _, _):
        outcomes = asyncio.run(ask(batcher))
    statuses = [outcome.status if isinstance(outcome, ApiError) else 200 for outcome in outcomes]
    assert statuses == [200 if n % 3 else 500 for n in range(30)]
    assert {len(logits) for logits in outcomes if not isinstance(logits, ApiError)} == {5}


def test_queued_requests_are_answered_after_the_queue_is_full_or_closed(library):
    classifier = library("clear")

    async def ask(batcher):
        requests = []
        with pytest.raises(ApiError) as full:
            for _ in range(10):
                requests.append(batcher.submit(TEXTS))
        assert full.value.status == 429 and int(full.value.headers["Retry-After"]) >= 1
        batcher.close()
        with pytest.raises(ApiError, match="shutting down"):
            batcher.submit(["tea"])
        return [len(logits) for logits in await asyncio.gather(*(request.future for request in requests))]

    with batching(classifier, max_queue=200) as (batcher, _, _):
        assert set(asyncio.run(ask(batcher))) == {len(TEXTS)}


def test_a_request_that_is_dropped_leaves_the_queue(library):
    classifier = library("clear")

    async def ask(batcher):
        requests = [batcher.submit(TEXTS) for _ in range(5)]
        for request in requests[1:]:
            batcher.drop(request)
        await requests[0].future
        await asyncio.sleep(0.2)
        assert batcher.waiting == 0

    with batching(classifier) as (batcher, batches, _):
        asyncio.run(ask(batcher))
    assert sum(texts for _, texts in batches) < 5 * len(TEXTS)
