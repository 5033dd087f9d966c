"""Zero-shot classification with a causal language model: the likelihood of each label word as the next words.

Nothing is sampled: the model reads the prompt and each label word, and a word's log-likelihood is the sum over its
tokens of their log-probabilities, each given the prompt and the tokens before. It is not divided by the number of
tokens: the sum is the probability that the model writes the word, whereas the mean would favour long words, whose
later tokens follow from the first ones.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from finetext.engine import collate, default_token_budget, token_budget_batches
from finetext.errors import UsageError, closest
from finetext.models.causal import LanguageModel
from finetext.models.tokenization import special_ends, well_formed

TEXT = "{text}"
YES, NO = "yes", "no"


@dataclass(frozen=True)
class Question:
    """What the model is asked about each text, and the words that it may answer.

    Attributes:
        template: The prompt, with `{text}` where the text goes.
        words: The answers between which it chooses.
    """

    template: str
    words: tuple[str, ...]


def default_questions(
    class_names: Sequence[str], task: str, template: str | None = None, words: Mapping[str, str] | None = None
) -> list[Question]:
    """Return the question for a task; for a multi-label task one for each class, answered by no or yes.

    Args:
        class_names: The classes in the order of their ids.
        task: binary, multi-class or multi-label.
        template: The user's own prompt; it holds `{text}`, for a multi-label task also `{label}`.
        words: The user's own word for each class.

    Raises:
        UsageError: The prompt lacks a place, or the words are not one for each class.
    """
    for place in (TEXT, "{label}") if task == "multi-label" else (TEXT,):
        if template is not None and template.count(place) != 1:
            raise UsageError(f"--prompt: must hold {place} once, where that goes.")
    if task == "multi-label":
        if words:
            raise UsageError("--label-words: a multi-label task asks yes or no for each label. Leave it out.")
        asked = template or _ask_yes_or_no("{label}")
        return [Question(asked.replace("{label}", name), (NO, YES)) for name in class_names]
    if words:
        _check_words(words, class_names)
        chosen = tuple(words[name] for name in class_names)
        return [Question(template or _ask_which(chosen), chosen)]
    if task == "binary" and template is None:
        return [Question(_ask_yes_or_no(class_names[1]), (NO, YES))]
    return [Question(template or _ask_which(class_names), tuple(class_names))]


def _ask_yes_or_no(name: str) -> str:
    return f"Is the following text '{name}'? Answer with '{YES}' or '{NO}'.\n\nText: {TEXT}\n\nAnswer:"


def _ask_which(names: Sequence[str]) -> str:
    listed = ", ".join(f"'{name}'" for name in names)
    return f"Which of these describes the following text: {listed}? Answer with one of them.\n\nText: {TEXT}\n\nAnswer:"


def _check_words(words: Mapping[str, str], class_names: Sequence[str]) -> None:
    for name in words:
        if name not in class_names:
            raise UsageError(f"--label-words.{name}: there is no such class.{closest(name, class_names)}")
    missing = [name for name in class_names if not words.get(name, "").strip()]
    if missing:
        raise UsageError(
            f"--label-words: no word for {', '.join(map(repr, missing))}. Give one for each class."
        )
    if len(set(words.values())) < len(words):
        raise UsageError("--label-words: two classes share a word. Give each its own.")


class Prompter:
    """Puts texts into a question and reads the likelihood of its answers off a language model.

    A tokenizer with a chat template gets the question as a user's message. A text that is too long is cut at its
    end; the question stays whole.
    """

    def __init__(self, model: LanguageModel, question: Question, max_length: int | None = None) -> None:
        """Prepare a question.

        Args:
            model: The model.
            question: The question.
            max_length: Longest prompt with its answer, in tokens; by default the model's own limit.

        Raises:
            UsageError: There is no room for a text beside the question.
        """
        self._model, self._tokenizer = model, model.tokenizer
        self._chat = bool(getattr(self._tokenizer, "chat_template", None))
        # What the tokenizer puts before a text, but nothing behind it; a chat template has its own.
        self._start = [] if self._chat else special_ends(model.tokenizer)[0]
        template = question.template
        if self._chat:
            message = [{"role": "user", "content": template.removesuffix("\n\nAnswer:")}]
            template = self._tokenizer.apply_chat_template(
                message, tokenize=False, add_generation_prompt=True
            )
        self._before, _, self._after = template.partition(TEXT)
        self.answers = [self._answer_ids(word) for word in question.words]
        limit = min(model.limit, max_length or model.limit)
        self._room = limit - max(map(len, self.answers))
        if len(self._encode("")) >= self._room:
            raise UsageError(
                f"the prompt has {len(self._encode(''))} tokens and leaves no room for a text: the limit is {limit}. "
                "Shorten --prompt, or raise --max-length."
            )

    def prompt(self, text: str) -> list[int]:
        """Return the token ids of the question about a text, cut so that an answer fits behind it."""
        text = well_formed(text)
        ids = self._encode(text)
        if len(ids) > self._room:
            text_ids = self._tokenizer(text, add_special_tokens=False)["input_ids"]
            keep = len(text_ids)
            while len(ids) > self._room:  # half a character or word may take more tokens than the whole
                keep = max(0, keep - (len(ids) - self._room))
                ids = self._encode(self._tokenizer.decode(text_ids[:keep]))
        return ids

    def _encode(self, text: str) -> list[int]:
        # The special tokens of a chat template count; those that a text spells out are broken up.
        for token in self._tokenizer.all_special_tokens if self._chat else ():
            text = text.replace(token, f"{token[0]} {token[1:]}")
        return [*self._start, *self._ids(f"{self._before}{text}{self._after}")]

    def _ids(self, text: str) -> list[int]:
        encoded = self._tokenizer(text, add_special_tokens=False, split_special_tokens=not self._chat)
        return list(encoded["input_ids"])

    def _answer_ids(self, word: str) -> list[int]:
        """Return the tokens of a word as they follow the prompt."""
        gap = "" if not self._after or self._after[-1].isspace() or self._chat else " "
        stub, whole = self._ids(self._after), self._ids(f"{self._after}{gap}{word}")
        if whole[: len(stub)] == stub and len(whole) > len(stub):
            return whole[len(stub) :]
        return self._ids(f"{gap}{word}")

    def log_likelihoods(
        self,
        texts: Sequence[str],
        *,
        max_tokens: int | None = None,
        progress: Callable[[int], None] = lambda done: None,
    ) -> NDArray[np.float64]:
        """Return the log-likelihood of each answer behind the question about each text, `(N, A)`.

        Args:
            texts: `N` texts.
            max_tokens: Budget of a batch, padding included; by default what suits the device.
            progress: Called with the number of texts done since the last call.
        """
        # One pass for each answer of several tokens; it also gives the first token of all others.
        several = [place for place, ids in enumerate(self.answers) if len(ids) > 1] or [0]
        prompts = [self.prompt(text) for text in texts]
        rows = [(text, answer) for text in range(len(texts)) for answer in several]
        encoded = [[*prompts[text], *self.answers[answer][:-1]] for text, answer in rows]
        likelihoods = np.zeros((len(texts), len(self.answers)))
        left = np.full(len(texts), len(several))
        budget = max_tokens or default_token_budget(self._model.network.device)
        for chosen in token_budget_batches(list(map(len, encoded)), budget):
            starts = [len(prompts[rows[row][0]]) - 1 for row in chosen]
            logs, first = self._log_probs([encoded[row] for row in chosen], min(starts))
            for place, (row, start) in enumerate(zip(chosen, starts, strict=True)):
                text, asked = rows[row]
                for answer in range(len(self.answers)) if asked == several[0] else (asked,):
                    ids = self.answers[answer]
                    if len(ids) == 1 or answer == asked:
                        at = torch.arange(start - first, start - first + len(ids))
                        likelihoods[text, answer] = float(logs[place, at, torch.tensor(ids)].double().sum())
                left[text] -= 1
                progress(int(left[text] == 0))
        return likelihoods

    def _log_probs(self, windows: Sequence[list[int]], first: int) -> tuple[Tensor, int]:
        """Return the log-probabilities of the next token from a position on, `(B, T - first, V)`, and the position.

        The padding is on the right, where no token of a causal model sees it: positions are those of the text.
        """
        network = self._model.network
        batch = collate([(ids,) for ids in windows], self._tokenizer.eos_token_id or 0).to(network.device)
        keep = torch.arange(first, batch.input_ids.shape[1], device=network.device)
        inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask, "use_cache": False}
        few = "logits_to_keep" in inspect.signature(network.forward).parameters
        with torch.inference_mode():
            logits = network(**inputs, **({"logits_to_keep": keep} if few else {})).logits
        return torch.log_softmax(logits.float(), dim=-1).cpu(), first if few else 0

    def write(self, text: str, tokens: int = 20) -> str:
        """Return what the model writes behind the question about a text, greedily."""
        ids = self.prompt(text)
        tokens = max(1, min(tokens, self._model.limit - len(ids)))
        written = self._model.continue_ids(ids, tokens)
        return str(self._tokenizer.decode(written, skip_special_tokens=True)).strip()


def class_probabilities(likelihoods: Sequence[NDArray[np.float64]], task: str) -> NDArray[np.float64]:
    """Return the probabilities `(N, C)` that log-likelihoods of answers stand for, among these answers.

    Args:
        likelihoods: `(N, C)`; for a multi-label task `(N, 2)` for each class, of no and of yes.
        task: binary, multi-class or multi-label.
    """
    shares = [torch.softmax(torch.from_numpy(values), dim=-1).numpy() for values in likelihoods]
    return np.stack([share[:, 1] for share in shares], axis=1) if task == "multi-label" else shares[0]
