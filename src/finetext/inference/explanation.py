"""Which words of a text speak for a label and which against it, by leaving out one after the other.

Occlusion (Li, Monroe and Jurafsky, 2016, arXiv:1612.08220). Words are left out and not replaced by a mask token:
decoders have none, a fine-tuned encoder has not seen its own since pretraining, and one way for all models makes
weights comparable.
"""

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_SPANS = 512
"""Most variants of a text; in a longer one neighbouring words are left out together."""
_IDEOGRAPHS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_MARKS = r"!-#%-/:-@\[-`{-~¡«»¿\u2010-\u203e\u3001-\u303f\uff01-\uff0f\uff1a-\uff20"
_LETTER = rf"[^\s{_MARKS}{_IDEOGRAPHS}]"
_WORD = re.compile(rf"{_LETTER}+(?:['’.,_@-]{_LETTER}+)*|[{_IDEOGRAPHS}]|[{_MARKS}]+")
_STARTS_WORD = re.compile(rf"{_LETTER}|[{_IDEOGRAPHS}]")


@dataclass(frozen=True)
class Word:
    """A word, a run of punctuation marks, or neighbouring words of a long text.

    Attributes:
        word: As it stands in the text.
        start: Where it begins, in characters.
        end: Where it ends, exclusive.
        weight: By how much the log-odds of the label fall without it; below 0 it speaks against the label.
    """

    word: str
    start: int
    end: int
    weight: float


@dataclass(frozen=True)
class Explanation:
    """What in a text speaks for a label.

    Attributes:
        text: The text.
        label: The label.
        score: Its probability.
        log_odds: `log(score / (1 - score))`.
        words: In the order of the text.
    """

    text: str
    label: str
    score: float
    log_odds: float
    words: tuple[Word, ...]

    def strongest(self, count: int) -> list[Word]:
        """Return the words with the largest weights, whichever way they speak."""
        return sorted(self.words, key=lambda word: -abs(word.weight))[:count]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return dataclasses.asdict(self) | {"words": [dataclasses.asdict(word) for word in self.words]}


def find_spans(text: str, most: int = MOST_SPANS) -> list[tuple[int, int]]:
    """Return start and end of each word, or of groups of neighbouring words if there are more than `most`.

    Example:
        >>> find_spans("don't, now")
        [(0, 5), (5, 6), (7, 10)]
    """
    spans = [found.span() for found in _WORD.finditer(text)]
    size = -(-len(spans) // most)
    groups = [spans[start : start + size] for start in range(0, len(spans), size or 1)]
    return [(group[0][0], group[-1][1]) for group in groups]


def without(text: str, start: int, end: int) -> str:
    """Return a text without a span, and without one of the two gaps that would meet."""
    before, after = text[:start], text[end:]
    if not before:
        return after.lstrip()
    if not _STARTS_WORD.match(after):
        before = before.rstrip()
    return before + after


def variants(text: str, spans: Sequence[tuple[int, int]]) -> list[str]:
    """Return a text, and after it the text without each of the spans."""
    return [text, *(without(text, start, end) for start, end in spans)]


def log_odds(logits: NDArray[np.float32], task: str) -> NDArray[np.float64]:
    """Return `log(p / (1 - p))` of each class, `(N, C)`, computed from logits so that a sure p loses nothing."""
    exact = logits.astype(np.float64)
    if task == "multi-label":
        return exact
    edge = np.full((len(exact), 1), -np.inf)
    before = np.logaddexp.accumulate(exact, axis=1)[:, :-1]
    after = np.logaddexp.accumulate(exact[:, ::-1], axis=1)[:, ::-1][:, 1:]
    others = np.logaddexp(
        np.hstack([edge, before]), np.hstack([after, edge])
    )  # (N, C), of all but each class
    return np.asarray(exact - others)


def weigh(spans: Sequence[tuple[int, int]], text: str, odds: NDArray[np.float64]) -> tuple[Word, ...]:
    """Return the words with their weights.

    Args:
        spans: Where they are.
        text: The text.
        odds: `(1 + spans,)`, the log-odds of the label for the text and for the text without each span.
    """
    return tuple(
        Word(text[start:end], start, end, float(odds[0] - own))
        for (start, end), own in zip(spans, odds[1:], strict=True)
    )
