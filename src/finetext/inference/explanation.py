"""Explaining a prediction by leaving out one word at a time.

Occlusion (Li, Monroe and Jurafsky, 2016, arXiv:1612.08220). Words are removed rather than replaced by a mask token:
decoders have none, a fine-tuned encoder has not seen its own since pretraining, and with one method for all models
weights are comparable.
"""

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_SPANS = 512
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
        word: As written in the text.
        start: Where it begins, in characters.
        end: Where it ends, exclusive.
        weight: How much the label's log-odds drop without it; below 0 it is evidence against the label.
    """

    word: str
    start: int
    end: int
    weight: float


@dataclass(frozen=True)
class Explanation:
    """How much each word of a text contributes to a label.

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
        """Return the words with the largest absolute weights."""
        return sorted(self.words, key=lambda word: -abs(word.weight))[:count]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return dataclasses.asdict(self) | {"words": [dataclasses.asdict(word) for word in self.words]}


def find_spans(text: str, limit: int = MAX_SPANS) -> list[tuple[int, int]]:
    """Return start and end of each word, or of groups of neighbouring words if there are more than `limit`.

    Example:
        >>> find_spans("don't, now")
        [(0, 5), (5, 6), (7, 10)]
    """
    spans = [match.span() for match in _WORD.finditer(text)]
    size = -(-len(spans) // limit)
    groups = [spans[start : start + size] for start in range(0, len(spans), size or 1)]
    return [(group[0][0], group[-1][1]) for group in groups]


def remove_span(text: str, start: int, end: int) -> str:
    """Return a text without a span, and without one of the two gaps that would meet."""
    before, after = text[:start], text[end:]
    if not before:
        return after.lstrip()
    if not _STARTS_WORD.match(after):
        before = before.rstrip()
    return before + after


def leave_one_out(text: str, spans: Sequence[tuple[int, int]]) -> list[str]:
    """Return a text, followed by the text without each of the spans."""
    return [text, *(remove_span(text, start, end) for start, end in spans)]


def log_odds(logits: NDArray[np.float32], task: str) -> NDArray[np.float64]:
    """Return `log(p / (1 - p))` of each class, `(N, C)`, computed from logits so that a p near 1 loses no precision."""
    exact = logits.astype(np.float64)
    if task == "multi-label":
        return exact
    edge = np.full((len(exact), 1), -np.inf)
    before = np.logaddexp.accumulate(exact, axis=1)[:, :-1]
    after = np.logaddexp.accumulate(exact[:, ::-1], axis=1)[:, ::-1][:, 1:]
    others = np.logaddexp(np.hstack([edge, before]), np.hstack([after, edge]))  # (N, C), all but each class
    return np.asarray(exact - others)
