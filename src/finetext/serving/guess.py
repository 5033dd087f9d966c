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
        self._characters, self._tokens = FIRST_CHARACTERS, FIRST_TOKENS

    def __call__(self, text: str) -> int:
        """Return a guess, at least 2: most tokenizers add a token at both ends."""
        guess = len(text) * self._tokens // self._characters + 2
        return guess if self._most is None else min(guess, self._most)

    def learn(self, texts: Sequence[str], tokens: Sequence[int]) -> None:
        """Take note of texts and of how many tokens each has; what was cut tells nothing."""
        pairs = [
            (len(text), count)
            for text, count in zip(texts, tokens, strict=True)
            if self._most is None or count < self._most
        ]
        with self._lock:
            self._characters += sum(characters for characters, _ in pairs)
            self._tokens += sum(max(0, count - 2) for _, count in pairs)
            if self._characters > MEMORY:
                self._characters, self._tokens = self._characters // 2, self._tokens // 2
            self._tokens = max(self._tokens, self._characters // MOST_CHARACTERS)
