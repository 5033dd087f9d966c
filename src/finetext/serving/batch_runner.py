"""Running a batch of texts through a model, so that each text gets an outcome of its own."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from finetext.engine import default_token_budget
from finetext.inference import Classifier
from finetext.serving import logs
from finetext.serving.errors import ApiError, internal_error
from finetext.serving.token_estimate import TokenEstimator

WARM_UP_TEXTS = ("a", "warm up the model " * 8, "and its arithmetic for long texts too " * 40)


Outcome = NDArray[np.float32] | ApiError
"""The logits of a text, `(C,)`, or why there are none."""


class BatchRunner:
    """A model with its token budget and an estimate of text lengths; several threads may use it."""

    def __init__(
        self, classifier: Classifier, max_tokens: int | None, observe: Callable[[int, int], None]
    ) -> None:
        settings = classifier.model.settings
        self.classifier = classifier
        self.max_tokens = max_tokens or default_token_budget(classifier.model.device)
        self._max_length = None if settings.long_texts == "windows" else settings.max_length
        self.estimate_tokens = TokenEstimator(self._max_length)
        self._observe = observe

    def warm_up(self) -> None:
        """Run a few texts, then as many as a batch may hold, so that its memory is allocated."""
        count = max(1, self.max_tokens // self.estimate_tokens(WARM_UP_TEXTS[-1]))
        for texts in (*([text] for text in WARM_UP_TEXTS), [WARM_UP_TEXTS[-1]] * count):
            self.classifier.logits(texts, max_tokens=self.max_tokens)

    def run(self, texts: Sequence[str], whole: Sequence[bool]) -> list[Outcome]:
        """Return the outcome of each text; with `whole` it is an error if the model would truncate it."""
        try:
            return self._run(texts, whole)
        except BaseException as error:  # panics of a tokenizer do not derive from Exception
            if len(texts) > 1:  # a text on which the model fails must not fail its neighbours
                pairs = zip(texts, whole, strict=True)
                return [outcome for text, flag in pairs for outcome in self.run([text], [flag])]
            logs.failure("model failed", error)
            return [internal_error()]

    def _run(self, texts: Sequence[str], whole: Sequence[bool]) -> list[Outcome]:
        outcomes: dict[int, Outcome] = {}
        checked = [n for n, flag in enumerate(whole) if flag]
        limit = self._max_length
        if limit is not None and checked:
            counts = self.classifier.model.token_counts([texts[n] for n in checked])
            for n, count in zip(checked, counts, strict=True):
                if count > limit:
                    message = (
                        f"A text has {count} tokens; the model reads {limit}. Set truncate to cut long texts."
                    )
                    outcomes[n] = ApiError(422, message, ("max_length", limit))
        readable = [n for n in range(len(texts)) if n not in outcomes]
        if readable:
            chosen = [texts[n] for n in readable]
            encoded = self.classifier.encode(chosen)
            counts = [sum(map(len, windows)) for windows in encoded]
            self.estimate_tokens.learn(chosen, counts)
            self._observe(len(chosen), sum(counts))
            logits = self.classifier.logits(encoded, max_tokens=self.max_tokens)
            outcomes.update(zip(readable, logits, strict=True))
        return [outcomes[n] for n in range(len(texts))]
