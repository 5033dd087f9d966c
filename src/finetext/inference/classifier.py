"""A loaded bundle that labels texts."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from finetext.decision import Decision, abstains, confidence, decide
from finetext.engine import Encoded, Precision, choose_device, choose_precision, pack, prepare_cpu
from finetext.errors import UsageError, closest
from finetext.inference.explanation import Explanation, find_spans, log_odds, variants, weigh
from finetext.models import Model, is_exported, load_bundle, load_exported, predict_logits, probabilities
from finetext.runs import model_folder

Answer = dict[str, Any]
"""`{"label": …, "score": …}`, as transformers' text-classification pipeline gives it."""


class TextTypeError(UsageError, TypeError):
    """Something that is not a text was given to be labelled."""


class Classifier:
    """Labels texts.

    Example:
        >>> classifier = finetext.load("runs/sample-minilm-1")      # doctest: +SKIP
        >>> classifier("win a prize, text now")                     # doctest: +SKIP
        [{'label': 'spam', 'score': 0.98}]
    """

    def __init__(self, model: Model, precision: Precision | None = None) -> None:
        """Take a loaded model, and the arithmetic to run it in (float32 by default)."""
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
        """How probabilities become labels, as it was saved with the model."""
        return self.model.settings.decision

    @property
    def precision(self) -> str:
        """The arithmetic it runs in: fp32, tf32, bf16 or fp16."""
        return self._precision.name

    def __call__(self, texts: str | Sequence[str], top_k: int | None = 1) -> list[Any]:
        """Label one text or several, in the shape of transformers' text-classification pipeline.

        Args:
            texts: A text, or a list of them.
            top_k: How many labels a text; None for all, the likeliest first. With 1 the saved thresholds decide;
                the label is None where the classifier abstains.

        Returns:
            For one text, a list of `{"label", "score"}`. For a list, one `{"label", "score"}` a text with
            `top_k=1`, else a list of them a text.

        Raises:
            UsageError: Something is not a text, or `top_k` is below 1.
        """
        if top_k is not None and top_k < 1:
            raise UsageError(f"top_k must be at least 1, or None for all labels, not {top_k}.")
        single = isinstance(texts, str)
        probs = self.predict_proba([texts] if isinstance(texts, str) else texts)
        answers = [self._answers(row, top_k) for row in probs]
        if single:
            return answers[0]
        return [own[0] for own in answers] if top_k == 1 else answers

    def _answers(self, probs: NDArray[np.float32], top_k: int | None) -> list[Answer]:
        if top_k == 1 and self.task != "multi-label":
            labels = self.decide(probs)
            score = float(confidence(probs[None], self.task, self.decision)[0])
            return [{"label": labels[0] if labels else None, "score": score}]
        order = np.argsort(-probs, kind="stable")[:top_k]
        return [{"label": self.class_names[i], "score": float(probs[i])} for i in order]

    def predict_proba(
        self, texts: Sequence[str], *, progress: Callable[[int], None] | None = None
    ) -> NDArray[np.float32]:
        """Return the probability of each class for each text.

        Args:
            texts: `N` texts.
            progress: Called after each batch with the number of texts in it.

        Returns:
            `(N, C)` float32; rows sum to 1, or hold one probability a label if multi-label.

        Raises:
            UsageError: Something is not a text.
        """
        _check_texts(texts)
        return self.score(self.encode(texts), progress=progress)

    def explain(self, text: str, label: str | None = None) -> Explanation:
        """Say which words of a text speak for a label and which against it.

        Each word is left out once, and weighs as much as the log-odds of the label fall. In a text of more than 512
        words neighbouring ones are left out together. Of a text that is cut at `max_length`, what lies behind the
        cut weighs nothing or little.

        Args:
            text: A text.
            label: A class; by default the predicted one, even if the classifier would abstain.

        Raises:
            UsageError: `text` is not a text, or there is no such label.
        """
        if not isinstance(text, str):
            raise TextTypeError(f"the text must be a string, not {type(text).__name__}.")
        if label is not None and label not in self.class_names:
            raise UsageError(
                f"no label {label!r}; the labels are {', '.join(self.class_names)}.{closest(label, self.class_names)}"
            )
        spans = find_spans(text)
        return self.explanation(text, spans, self.logits(variants(text, spans)), label)

    def explanation(
        self,
        text: str,
        spans: Sequence[tuple[int, int]],
        logits: NDArray[np.float32],
        label: str | None = None,
    ) -> Explanation:
        """Return what logits that are there already say of the words of a text.

        Args:
            text: The text.
            spans: Its words, from `find_spans`.
            logits: `(1 + spans, C)`, of the text and of its `variants`.
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
            words=weigh(spans, text, odds),
        )

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """Return the token ids of each text, for `score`; another thread may do it while the model runs."""
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
            max_tokens: Budget of what runs at a time; by default what suits the device.
            progress: Called after each batch with the number of texts in it.

        Returns:
            `(N, C)` float32.
        """
        device = self.model.device
        amp = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self._precision.name)
        mixed = (
            amp is not None and device.type != "cpu"
        )  # on the CPU the weights are packed in that precision
        with torch.autocast(device.type, dtype=amp, enabled=mixed):
            return predict_logits(self.model, texts, max_tokens=max_tokens, progress=progress)

    def predict(self, texts: Sequence[str]) -> list[tuple[str, ...]]:
        """Return the predicted labels of each text: one, or none if it abstains; any number if multi-label."""
        return self.decide_all(self.predict_proba(texts))

    def decide(self, probs: NDArray[np.float32]) -> tuple[str, ...]:
        """Return the labels that a text's probabilities `(C,)` stand for."""
        return self.decide_all(probs[None])[0]

    def decide_all(self, probs: NDArray[np.float32]) -> list[tuple[str, ...]]:
        """Return the labels that the probabilities of texts `(N, C)` stand for."""
        chosen = decide(probs, self.task, self.decision)
        if self.task == "multi-label":
            names = np.asarray(self.class_names, dtype=object)
            return [tuple(names[own.astype(bool)]) for own in chosen]
        single = [(name,) for name in self.class_names]
        without = abstains(probs, self.task, self.decision)
        return [() if none else single[own] for own, none in zip(chosen, without, strict=True)]


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
        in_memory: Copy the weights, which are otherwise read from their file as they are needed: without it, a
            file that is written over while the classifier is in use ends the process (SIGBUS).

    Raises:
        UsageError: There is no such folder or device.
        ModelError: It holds no classifier, or one that is damaged or not safe to load.
    """
    folder = Path(path)
    if not folder.exists():
        raise UsageError(f"{path}: no such folder. Name a run folder or a saved model.")
    prepare_cpu()
    if is_exported(model_folder(folder)):
        return _load_exported(folder, device, precision)
    chosen = choose_device(device)
    arithmetic = choose_precision(precision, chosen)
    model = load_bundle(model_folder(folder), allow_pickle=allow_pickle)
    model.network.to(chosen)
    model.network.eval()
    if in_memory and chosen.type == "cpu":
        for tensor in (*model.network.parameters(), *model.network.buffers()):
            tensor.data = tensor.data.clone()
    if chosen.type == "cpu":
        pack([model.network], torch.bfloat16 if arithmetic.name == "bf16" else torch.float32)
    return Classifier(model, arithmetic)


def _load_exported(folder: Path, device: str, precision: str) -> Classifier:
    if device not in ("auto", "cpu") or precision not in ("auto", "fp32"):
        raise UsageError(
            f"{folder}: an ONNX export runs on the CPU in the arithmetic it was exported in. "
            "Leave out --device and --precision."
        )
    return Classifier(load_exported(model_folder(folder)))
