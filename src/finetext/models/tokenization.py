"""From texts to token ids: the position limit, what is done with long texts, and special tokens."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from finetext.engine import Encoded
from finetext.errors import ModelError, UsageError, first_line

DEFAULT_LIMIT = 2048
"""For a model whose configuration names no limit, such as one with relative positions."""
OVERLAP = 4
"""Neighbouring windows share one part in so many of their tokens."""
_LIMITS = ("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx")


def load_tokenizer(folder: Path) -> Any:
    """Load a folder's tokenizer so that no text can produce a special token.

    A text that holds a literal `<|endoftext|>` or `[SEP]` is split like any other; truncation and padding that
    the file brings along are switched off; padding is on the right.

    Raises:
        ModelError: The tokenizer cannot be loaded.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, split_special_tokens=True, trust_remote_code=False, local_files_only=True
        )
    except Exception as error:  # readers of tokenizers fail in many ways, all of them the folder's fault
        raise ModelError(f"{folder}: its tokenizer cannot be loaded ({first_line(error)}).") from error
    tokenizer.padding_side = "right"
    tokenizer.truncation_side = "right"
    forget_lengths(tokenizer)
    return tokenizer


def forget_lengths(tokenizer: Any) -> None:
    """Switch off truncation and padding that a tokenizer file brings along or that a call left behind."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        backend.no_truncation()
        backend.no_padding()
    lengths = ("max_length", "stride", "truncation_strategy", "pad_to_multiple_of")
    for name in (*lengths, "is_local", "local_files_only"):
        tokenizer.init_kwargs.pop(name, None)


def position_limit(config: Any, network: Any = None) -> int:
    """Return the longest text in tokens that a model can read, special tokens included.

    It comes from the configuration and, where there is one, the table of position embeddings; models of the
    RoBERTa kind lose the positions up to their padding index.
    """
    text_config = config.get_text_config()
    named = (int(getattr(text_config, name, None) or 0) for name in _LIMITS)
    limit = next((value for value in named if value > 0), DEFAULT_LIMIT)  # XLNet, which has none, says -1
    for name, module in network.named_modules() if network is not None else ():
        if name.endswith("position_embeddings") and hasattr(module, "num_embeddings"):
            padding = -1 if module.padding_idx is None else module.padding_idx
            return min(limit, int(module.num_embeddings) - padding - 1)
    return limit


def choose_limit(wanted: int | None, limit: int) -> int:
    """Return the maximum length to use.

    Raises:
        UsageError: More is wanted than the model can read.
    """
    if wanted is not None and wanted > limit:
        raise UsageError(
            f"`max_length` {wanted}: the model reads {limit} tokens at most. Lower --max-length."
        )
    return limit if wanted is None else wanted


def choose_pad_token(tokenizer: Any) -> None:
    """Give a tokenizer that has no pad token one that is already in its vocabulary.

    In this order: a token made for it, the end-of-text token, the unknown token; but none that the tokenizer
    itself appends to a text, since plain transformers finds the last token by its not being the pad token.

    Raises:
        ModelError: There is none.
    """
    added = set(tokenizer("a")["input_ids"]) - set(tokenizer("a", add_special_tokens=False)["input_ids"])
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id not in added:
        return
    made_for_it = [token for token in tokenizer.get_added_vocab() if "pad" in token.lower()]
    for token in (*made_for_it, tokenizer.eos_token, tokenizer.unk_token, tokenizer.bos_token):
        if token is not None and tokenizer.convert_tokens_to_ids(token) not in added:
            tokenizer.pad_token = token
            return
    raise ModelError("the tokenizer has no token to pad with. Add a pad token to it and save it again.")


class TextEncoder:
    """Turns texts into token ids of at most `max_length`, by one policy for long texts everywhere.

    Attributes:
        max_length: Longest window in tokens, special tokens included.
        long_texts: `truncate`, `head-tail` or `windows`.
    """

    def __init__(
        self, tokenizer: Any, max_length: int, long_texts: Literal["truncate", "head-tail", "windows"]
    ) -> None:
        self.max_length = max_length
        self.long_texts = long_texts
        self._tokenizer = tokenizer
        self._prefix, self._suffix = special_ends(tokenizer)
        self._room = max_length - len(self._prefix) - len(self._suffix)
        if self._room < 1:
            raise UsageError(
                f"`max_length` {max_length} leaves no room beside the special tokens. Raise --max-length."
            )

    def __call__(self, texts: Sequence[str]) -> list[Encoded]:
        """Return the windows of each text; every text has at least one, with at least one token."""
        return [self._windows(body) for body in self._bodies(texts)]

    def count(self, texts: Sequence[str]) -> list[int]:
        """Return the full length of each text in tokens, special tokens included."""
        ends = len(self._prefix) + len(self._suffix)
        return [len(body) + ends for body in self._bodies(texts)]

    def _bodies(self, texts: Sequence[str]) -> list[list[int]]:
        if not texts:
            return []
        encoded = self._tokenizer(
            [well_formed(text) for text in texts],
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            truncation=False,
            padding=False,
            verbose=False,  # or it would warn of texts longer than its model_max_length
        )
        return list(encoded["input_ids"])

    def _windows(self, body: list[int]) -> Encoded:
        room = self._room
        if len(body) <= room:
            parts = [body]
        elif self.long_texts == "truncate":
            parts = [body[:room]]
        elif self.long_texts == "head-tail":
            tail = room // 2
            parts = [body[: room - tail] + body[len(body) - tail :]]
        else:
            stride = room - room // OVERLAP
            starts = range(0, len(body) - (room - stride), stride)
            parts = [body[start : start + room] for start in starts]
        return tuple(self._prefix + part + self._suffix or [self._tokenizer.pad_token_id] for part in parts)


def special_ends(tokenizer: Any) -> tuple[list[int], list[int]]:
    """Return the special token ids that the tokenizer puts before and after a text."""
    whole = list(tokenizer("a")["input_ids"])
    body = list(tokenizer("a", add_special_tokens=False)["input_ids"])
    for start in range(len(whole) - len(body) + 1):
        if whole[start : start + len(body)] == body:
            return whole[:start], whole[start + len(body) :]
    raise ModelError(
        "the tokenizer changes a text when it adds special tokens, which finetext cannot handle."
    )


def well_formed(text: str) -> str:
    """Return a text that every tokenizer takes.

    JSON can name halves of a surrogate pair, which none takes: pairs are joined, a lone half is replaced.
    """
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
