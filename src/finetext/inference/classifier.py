"""A loaded classifier."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from finetext.decision import Decision, abstains, confidence, decide
from finetext.engine import Encoded, Precision, choose_device, choose_precision, pack
from finetext.errors import UsageError, closest
from finetext.inference.explanation import Explanation, Word, find_spans, leave_one_out, log_odds
from finetext.models import Model, is_exported, load_bundle, predict_logits, probabilities
from finetext.runs import model_folder

Answer = dict[str, Any]
"""`{"label": …, "score": …}`, as transformers' text-classification pipeline returns it."""


class TextTypeError(UsageError, TypeError):
    """A text to be classified is not a string."""


class Classifier:
    """A trained classifier.

    Example:
        >>> classifier = finetext.load("runs/sample-minilm-1")      # doctest: +SKIP
        >>> classifier("win a prize, text now")                     # doctest: +SKIP
        [{'label': 'spam', 'score': 0.98}]
    """

    def __init__(self, model: Model, precision: Precision | None = None) -> None:
        """Wrap a loaded model, to run in a precision (float32 by default)."""
        self.model = model
        self._precision = precision or Precision("fp32")

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes in the order of their ids."""
        return self.model.class_names

    @property
    def task(self) -> str:
        """Binary, multi-class or multi-label."""
        return self.model.task

    @property
    def decision(self) -> Decision:
        """The saved rule by which probabilities become labels."""
        return self.model.settings.decision

    @property
    def precision(self) -> str:
        """The precision it runs in: fp32, tf32, bf16 or fp16."""
        return self._precision.name

    def __call__(self, texts: str | Sequence[str], top_k: int | None = 1) -> list[Any]:
        """Label texts, with the interface of transformers' text-classification pipeline.

        Args:
            texts: A text, or a list of them.
            top_k: How many labels per text, most likely first; None for all. With 1 the saved thresholds decide, and
                the label is None where the classifier abstains.

        Returns:
            For one text, a list of `{"label", "score"}`. For a list of texts, one `{"label", "score"}` per text with
            `top_k=1`, else a list of them per text.

        Raises:
            UsageError: A text is not a string, or `top_k` is below 1.
        """
        if top_k is not None and top_k < 1:
            raise UsageError(f"top_k must be at least 1, or None for all labels, not {top_k}.")
        if isinstance(texts, str):
            return self._ranked_labels(self.predict_proba([texts])[0], top_k)
        answers = [self._ranked_labels(probs, top_k) for probs in self.predict_proba(texts)]
        return [answer[0] for answer in answers] if top_k == 1 else answers

    def _ranked_labels(self, probs: NDArray[np.float32], top_k: int | None) -> list[Answer]:
        if top_k == 1 and self.task != "multi-label":
            labels = self.decide(probs)
            score = float(confidence(probs[None], self.task, self.decision)[0])
            return [{"label": labels[0] if labels else None, "score": score}]
        return self.rank(probs, top_k)

    def rank(self, values: NDArray[np.float32], top_k: int | None = None) -> list[Answer]:
        """Return `{"label", "score"}` of the highest of a text's probabilities or logits `(C,)`, highest first."""
        order = np.argsort(-values, kind="stable")[:top_k]
        return [{"label": self.class_names[i], "score": float(values[i])} for i in order]

    def predict_proba(
        self, texts: Sequence[str], *, progress: Callable[[int], None] | None = None
    ) -> NDArray[np.float32]:
        """Return the probability of each class for each text.

        Args:
            texts: `N` texts.
            progress: Called after each batch with the number of texts in it.

        Returns:
            `(N, C)` float32. Rows sum to 1; in multi-label tasks each label has a probability of its own.

        Raises:
            UsageError: A text is not a string.
        """
        _check_texts(texts)
        return self.score(self.encode(texts), progress=progress)

    def explain(self, text: str, label: str | None = None) -> Explanation:
        """Explain which words of a text speak for a label and which against it.

        Each word is left out once; its weight is the drop in the label's log-odds. In a text of more than 512 words
        neighbouring ones are left out together. In a text truncated at `max_length`, words behind the cut weigh
        little or nothing.

        Args:
            text: A text.
            label: A class; by default the predicted one, even if the classifier would abstain.

        Raises:
            UsageError: `text` is not a string, or the label does not exist.
        """
        if not isinstance(text, str):
            raise TextTypeError(f"the text must be a string, not {type(text).__name__}.")
        if label is not None and label not in self.class_names:
            raise UsageError(
                f"no label {label!r}; the labels are {', '.join(self.class_names)}.{closest(label, self.class_names)}"
            )
        spans = find_spans(text)
        return self.explanation(text, spans, self.logits(leave_one_out(text, spans)), label)

    def explanation(
        self,
        text: str,
        spans: Sequence[tuple[int, int]],
        logits: NDArray[np.float32],
        label: str | None = None,
    ) -> Explanation:
        """Build the explanation of a text from logits that have already been computed.

        Args:
            text: The text.
            spans: Its words, from `find_spans`.
            logits: `(1 + spans, C)`, of `leave_one_out(text, spans)`.
            label: A class; by default the predicted one.
        """
        probs = probabilities(logits[:1], self.task)
        if label is not None:
            chosen = self.class_names.index(label)
        elif self.task == "multi-label":
            chosen = int(probs[0].argmax())
        else:
            chosen = int(decide(probs, self.task, self.decision)[0])
        odds = log_odds(logits, self.task)[:, chosen]
        return Explanation(
            text=text,
            label=self.class_names[chosen],
            score=float(probs[0, chosen]),
            log_odds=float(odds[0]),
            words=tuple(
                Word(text[start:end], start, end, float(odds[0] - without))
                for (start, end), without in zip(spans, odds[1:], strict=True)
            ),
        )

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """Return the token ids of each text, for `score`; safe to call in a thread while the model runs."""
        return self.model.encode(list(texts))

    def score(
        self, encoded: Sequence[Encoded], *, progress: Callable[[int], None] | None = None
    ) -> NDArray[np.float32]:
        """Return the probability of each class for each encoded text, `(N, C)` like `predict_proba`."""
        return probabilities(self.logits(encoded, progress=progress), self.task)

    def logits(
        self,
        texts: Sequence[str] | Sequence[Encoded],
        *,
        max_tokens: int | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> NDArray[np.float32]:
        """Return the logits of each text.

        Args:
            texts: `N` texts, or those already encoded by the model.
            max_tokens: Tokens of a forward pass; by default what suits the device.
            progress: Called after each batch with the number of texts in it.

        Returns:
            `(N, C)` float32.
        """
        device = self.model.device
        amp = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self._precision.name)
        mixed = amp is not None and device.type != "cpu"  # on the CPU the weights have that precision
        with torch.autocast(device.type, dtype=amp, enabled=mixed):
            return predict_logits(self.model, texts, max_tokens=max_tokens, progress=progress)

    def predict(self, texts: Sequence[str]) -> list[tuple[str, ...]]:
        """Return the predicted labels of each text: one, none where it abstains, or any number if multi-label."""
        return self.decide_all(self.predict_proba(texts))

    def decide(self, probs: NDArray[np.float32]) -> tuple[str, ...]:
        """Return the labels predicted from the probabilities `(C,)` of a text."""
        return self.decide_all(probs[None])[0]

    def decide_all(self, probs: NDArray[np.float32]) -> list[tuple[str, ...]]:
        """Return the labels predicted from the probabilities `(N, C)` of texts."""
        chosen = decide(probs, self.task, self.decision)
        if self.task == "multi-label":
            names = np.asarray(self.class_names, dtype=object)
            return [tuple(names[row.astype(bool)]) for row in chosen]
        labels = [(name,) for name in self.class_names]
        abstained = abstains(probs, self.task, self.decision)
        return [() if none else labels[index] for index, none in zip(chosen, abstained, strict=True)]


def _check_texts(texts: Sequence[str]) -> None:
    if isinstance(texts, (str, bytes)) or not isinstance(texts, (Sequence, np.ndarray)):
        raise TextTypeError(f"texts must be a list of strings, not {type(texts).__name__}.")
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise TextTypeError(f"text {index} must be a string, not {type(text).__name__}.")


def load(
    path: str | Path,
    *,
    device: str = "auto",
    precision: str = "fp32",
    allow_pickle: bool = False,
    in_memory: bool = False,
) -> Classifier:
    """Load a trained classifier.

    Args:
        path: A run folder, a bundle, an ONNX export, or any Hugging Face folder with a sequence classifier.
        device: auto, cpu, cuda or mps.
        precision: auto, fp32, tf32, bf16 or fp16.
        allow_pickle: Accept a folder without safetensors.
        in_memory: Copy the weights instead of mapping their file into memory; overwriting a mapped file while the
            classifier is in use ends the process (SIGBUS).

    Raises:
        UsageError: The folder or the device does not exist.
        ModelError: The folder holds no classifier, or one that is damaged or not safe to load.
    """
    folder = Path(path)
    if not folder.exists():
        raise UsageError(f"{path}: no such folder. Name a run folder or a saved model.")
    bundle = model_folder(folder)
    if is_exported(bundle):
        if device not in ("auto", "cpu") or precision not in ("auto", "fp32"):
            raise UsageError(
                f"{folder}: an ONNX export runs on the CPU, in the precision it was exported in. "
                "Leave out --device and --precision."
            )
        return Classifier(load_bundle(bundle))
    target = choose_device(device)
    chosen = choose_precision(precision, target)
    model = load_bundle(bundle, allow_pickle=allow_pickle)
    model.network.to(target)
    model.network.eval()
    if in_memory and target.type == "cpu":
        for tensor in (*model.network.parameters(), *model.network.buffers()):
            tensor.data = tensor.data.clone()
    if target.type == "cpu":
        pack([model.network], torch.bfloat16 if chosen.name == "bf16" else torch.float32)
    return Classifier(model, chosen)
