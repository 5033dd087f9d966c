"""Estimating token counts without tokenizing."""

import threading
from collections.abc import Sequence

INITIAL_CHARACTERS, INITIAL_TOKENS = 4000, 1000
"""The ratio to start from: English, in the vocabulary of a common model."""
MEMORY = 100_000
"""Characters after which earlier texts count half: texts may change over the day."""
MAX_CHARACTERS_PER_TOKEN = 8
"""Upper bound, whatever was learnt: a client that sends blanks must not overfill batches."""


class TokenEstimator:
    """Learns from a model's texts how many characters a token has; safe to use from several threads."""

    def __init__(self, max_length: int | None) -> None:
        """Start with the initial ratio.

        Args:
            max_length: Tokens at which a text is truncated, None if it is not.
        """
        self._max_length = max_length
        self._lock = threading.Lock()
        self._seen = INITIAL_CHARACTERS, INITIAL_TOKENS

    def __call__(self, text: str) -> int:
        """Return an estimate; most tokenizers add a token at both ends."""
        characters, tokens = self._seen
        estimate = len(text) * tokens // characters + 2
        return estimate if self._max_length is None else min(estimate, self._max_length)

    def learn(self, texts: Sequence[str], counts: Sequence[int]) -> None:
        """Learn from texts and their token counts; truncated ones are ignored."""
        pairs = [
            (len(text), count)
            for text, count in zip(texts, counts, strict=True)
            if self._max_length is None or count < self._max_length
        ]
        with self._lock:
            characters, tokens = self._seen
            characters += sum(length for length, _ in pairs)
            tokens += sum(max(0, count - 2) for _, count in pairs)
            if characters > MEMORY:
                characters, tokens = characters // 2, tokens // 2
            self._seen = characters, max(tokens, -(-characters // MAX_CHARACTERS_PER_TOKEN))
