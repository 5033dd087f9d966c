"""The batcher by itself: what its lanes take, and that each text gets its own answer."""

import asyncio
import contextlib
import threading

import numpy as np
import pytest
import torch

from finetext.serving.batcher import Batcher, Closed, ModelFailed, QueueFull

TEXTS = [f"rain and tea {'win a prize ' * (place % 6)}{place % 10}" for place in range(80)]


@contextlib.contextmanager
def batching(classifier, threads=2, **options):
    """A batcher, what its batches were (lane, texts), and on how many threads each ran."""
    batches, counts = [], []
    settings = {"max_tokens": 100_000, "max_wait": 0.003, "max_queue": 1000}
    batcher = Batcher(
        classifier,
        **(settings | options),
        threads=threads,
        observe=lambda texts, _: batches.append((threading.current_thread(), texts)),
    )
    assert batcher.warm.wait(30)
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
        assert not batcher.running


def test_a_long_list_is_shared_by_two_lanes(library):
    classifier = library("clear")
    expected = classifier.logits(TEXTS)

    async def ask(batcher):
        return await batcher.submit(TEXTS).future

    with batching(classifier) as (batcher, batches, counts):
        found = asyncio.run(ask(batcher))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert sum(texts for _, texts in batches) == len(TEXTS)
    assert batches[0][1] == len(TEXTS) // 2 and batcher.waiting == 0
    assert counts[0] == 1
    with batching(classifier, threads=1) as (batcher, batches, counts):
        found = asyncio.run(ask(batcher))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert [texts for _, texts in batches] == [len(TEXTS)]
    assert set(counts) == {1}


def test_what_a_batch_takes_is_run_at_once_when_the_texts_are_known(library):
    classifier = library("clear")
    lengths = [len(ids) for (ids,) in classifier.encode(TEXTS)]
    assert abs(sum(map(len, TEXTS)) / sum(lengths) - 4) > 1  # not what the guess begins with
    budget = 8 * max(lengths)

    async def ask(batcher):
        await asyncio.gather(*(batcher.submit(TEXTS[n % 20 :]).future for n in range(20)))

    with batching(classifier, max_tokens=budget, max_queue=10_000, threads=1) as (batcher, batches, counts):
        asyncio.run(ask(batcher))  # learns
        batches.clear()
        counts.clear()
        asyncio.run(ask(batcher))
    assert len(counts) < 1.1 * len(batches)
    tokens = sum(sum(lengths[n % 20 :]) for n in range(20))
    assert len(batches) < 1.2 * tokens / budget


def test_each_text_of_many_requests_has_its_own_answer(library):
    classifier = library("clear")
    expected = classifier.logits(TEXTS)
    random = np.random.default_rng(5)

    async def client(batcher):
        for size in random.integers(1, 12, 12).tolist():
            places = random.integers(0, len(TEXTS), size).tolist()
            found = await batcher.submit([TEXTS[n] for n in places]).future
            np.testing.assert_allclose(found, expected[places], rtol=1e-4, atol=1e-4)
            await asyncio.sleep(random.uniform(0, 0.004))

    async def ask(batcher):
        await asyncio.gather(*(client(batcher) for _ in range(24)))

    with batching(classifier) as (batcher, batches, _):
        asyncio.run(ask(batcher))
        assert batcher.waiting == 0
    assert len({thread for thread, _ in batches}) == 2


def test_a_lone_request_has_all_cores_and_one_beside_another_its_share(library):
    classifier = library("clear")
    held, let_go = threading.Event(), threading.Event()

    def hold(network, args, kwargs):
        if kwargs["input_ids"].shape[1] > 60:
            held.set()
            assert let_go.wait(30)

    async def ask(batcher, counts):
        await batcher.submit(["tea"]).future
        assert counts == [2]
        slow = batcher.submit(["win a prize now " * 30])
        assert await asyncio.to_thread(held.wait, 30)
        await batcher.submit(["tea"]).future  # while the other batch is under way
        assert counts == [2, 2, 1] and not slow.future.done()
        let_go.set()
        await slow.future

    before = torch.get_num_threads()
    with batching(classifier) as (batcher, batches, counts):
        handle = classifier.model.network.register_forward_pre_hook(hold, with_kwargs=True)
        try:
            asyncio.run(ask(batcher, counts))
        finally:
            let_go.set()
            handle.remove()
    assert torch.get_num_threads() == before
    assert [thread for thread, _ in batches] == [batcher.threads[0], batcher.threads[0], batcher.threads[1]]


def test_a_failing_text_is_its_own_request_s_fault_in_either_lane(library):
    classifier = library("fragile")

    async def ask(batcher):
        jobs = [batcher.submit(["tea"] * 5 + ["unknown"] * (n % 3 == 0)) for n in range(30)]
        return await asyncio.gather(*(job.future for job in jobs), return_exceptions=True)

    with batching(classifier) as (batcher, _, _):
        found = asyncio.run(ask(batcher))
    assert [isinstance(own, ModelFailed) for own in found] == [n % 3 == 0 for n in range(30)]
    assert {len(own) for own in found if not isinstance(own, ModelFailed)} == {5}


def test_what_was_taken_is_answered_and_no_more_is(library):
    classifier = library("clear")

    async def ask(batcher):
        with pytest.raises(QueueFull) as full:
            for _ in range(10):
                batcher.submit(TEXTS)
        assert full.value.retry_seconds >= 1
        jobs = list(batcher._jobs)
        batcher.close()
        with pytest.raises(Closed):
            batcher.submit(["tea"])
        return [len(own) for own in await asyncio.gather(*(job.future for job in jobs))]

    with batching(classifier, max_queue=200) as (batcher, _, _):
        found = asyncio.run(ask(batcher))
        assert set(found) == {len(TEXTS)}


def test_a_request_that_is_dropped_leaves_the_queue(library):
    classifier = library("clear")

    async def ask(batcher):
        jobs = [batcher.submit(TEXTS) for _ in range(5)]
        for job in jobs[1:]:
            batcher.drop(job)
        await jobs[0].future
        await asyncio.sleep(0.2)
        assert batcher.waiting == 0

    with batching(classifier) as (batcher, batches, _):
        asyncio.run(ask(batcher))
    assert sum(texts for _, texts in batches) < 5 * len(TEXTS)
