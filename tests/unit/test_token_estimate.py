"""The server's estimate of token counts."""

import threading

from hypothesis import given
from hypothesis import strategies as st

from finetext.serving.token_estimate import MAX_CHARACTERS_PER_TOKEN, MEMORY, TokenEstimator


def test_the_estimate_starts_from_a_default_ratio_and_learns():
    estimate = TokenEstimator(None)
    assert estimate("word" * 100) == 102
    for _ in range(100):
        estimate.learn(
            ["x" * 1000] * 3, [502] * 3
        )  # two characters per token, and a special token at either end
    assert 200 <= estimate("word" * 100) <= 202
    for _ in range(1000):
        estimate.learn(["x" * 1000], [252])
    assert 100 <= estimate("word" * 100) <= 103  # older lengths are forgotten


def test_truncated_texts_are_not_learnt_from():
    estimate = TokenEstimator(128)
    estimate.learn(["x" * 50_000] * 10, [128] * 10)
    assert estimate("word" * 10) == 12
    assert estimate("word" * 1000) == 128


def test_blank_texts_do_not_lower_the_estimate_for_other_texts():
    estimate = TokenEstimator(None)
    for _ in range(50):
        estimate.learn([" " * 10_000], [2])
    assert estimate("x" * 8000) == 8000 // MAX_CHARACTERS_PER_TOKEN + 2


@given(
    st.lists(st.tuples(st.integers(0, 3 * MEMORY), st.integers(0, 10**6)), max_size=30),
    st.sampled_from([None, 1, 16, 512]),
    st.integers(0, 10**5),
)
def test_the_estimate_stays_within_bounds(seen, most, length):
    estimate = TokenEstimator(most)
    for characters, tokens in seen:
        estimate.learn(["x" * characters], [tokens])
    estimated = estimate("x" * length)
    assert estimated >= min(2, most or 2) and (most is None or estimated <= most)
    assert most is not None or estimated >= length // MAX_CHARACTERS_PER_TOKEN


def test_threads_share_one_estimate():
    estimate = TokenEstimator(None)
    work = [
        threading.Thread(target=lambda: [estimate.learn(["x" * 30], [12]) for _ in range(1500)])
        for _ in range(4)
    ]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    assert abs(estimate("x" * 3000) - 1002) <= 20
