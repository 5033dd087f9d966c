"""The server's guess of a text's tokens."""

import threading

from hypothesis import given
from hypothesis import strategies as st

from finetext.serving.token_estimate import MEMORY, MOST_CHARACTERS, TokenGuess


def test_it_begins_with_what_is_common_and_learns():
    guess = TokenGuess(None)
    assert guess("word" * 100) == 102
    for _ in range(100):
        guess.learn(["x" * 1000] * 3, [502] * 3)  # two characters a token, and one at both ends
    assert 200 <= guess("word" * 100) <= 202
    for _ in range(1000):
        guess.learn(["x" * 1000], [252])
    assert 100 <= guess("word" * 100) <= 103  # and forgets


def test_a_text_that_was_cut_tells_nothing():
    guess = TokenGuess(128)
    guess.learn(["x" * 50_000] * 10, [128] * 10)
    assert guess("word" * 10) == 12
    assert guess("word" * 1000) == 128


def test_blanks_do_not_make_texts_seem_empty():
    guess = TokenGuess(None)
    for _ in range(50):
        guess.learn([" " * 10_000], [2])
    assert guess("x" * 8000) == 8000 // MOST_CHARACTERS + 2


@given(
    st.lists(st.tuples(st.integers(0, 3 * MEMORY), st.integers(0, 10**6)), max_size=30),
    st.sampled_from([None, 1, 16, 512]),
    st.integers(0, 10**5),
)
def test_whatever_it_has_seen_it_guesses(seen, most, length):
    guess = TokenGuess(most)
    for characters, tokens in seen:
        guess.learn(["x" * characters], [tokens])
    found = guess("x" * length)
    assert found >= min(2, most or 2) and (most is None or found <= most)
    assert most is not None or found >= length // MOST_CHARACTERS


def test_threads_learn_together():
    guess = TokenGuess(None)
    work = [
        threading.Thread(target=lambda: [guess.learn(["x" * 30], [12]) for _ in range(1500)])
        for _ in range(4)
    ]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    assert abs(guess("x" * 3000) - 1002) <= 20
