"""How many tokens a text has, before it is divided into tokens."""

import threading
from collections.abc import Sequence

FIRST_CHARACTERS, FIRST_TOKENS = 4000, 1000
"""What it starts from: English, in the vocabulary of a common model."""
MEMORY = 100_000
"""Characters of which half are forgotten when there are more: texts may change with the day."""
MOST_CHARACTERS = 8
"""A token is taken to have no more, whatever was learnt: a client that sends blanks must not overfill batches."""


class TokenGuess:
    """Learns from the texts of one model how many characters a token has; safe to call from several threads."""

    def __init__(self, most: int | None) -> None:
        """Start with what is common.

        Args:
            most: Tokens that a text is cut at, None if it is not.
        """
        self._most = most
        self._lock = threading.Lock()
        self._seen = FIRST_CHARACTERS, FIRST_TOKENS

    def __call__(self, text: str) -> int:
        """Return a guess; most tokenizers add a token at both ends."""
        characters, tokens = self._seen
        guess = len(text) * tokens // characters + 2
        return guess if self._most is None else min(guess, self._most)

    def learn(self, texts: Sequence[str], counts: Sequence[int]) -> None:
        """Take note of texts and of how many tokens each has; what was cut tells nothing."""
        pairs = [
            (len(text), count)
            for text, count in zip(texts, counts, strict=True)
            if self._most is None or count < self._most
        ]
        with self._lock:
            characters, tokens = self._seen
            characters += sum(length for length, _ in pairs)
            tokens += sum(max(0, count - 2) for _, count in pairs)
            if characters > MEMORY:
                characters, tokens = characters // 2, tokens // 2
            self._seen = characters, max(tokens, -(-characters // MOST_CHARACTERS))
