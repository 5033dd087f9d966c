"""Data sets and checkpoints for the benchmarks."""

import csv
import random
import shutil
from pathlib import Path
from typing import Any

import torch

Splits = dict[str, tuple[list[str], list[int]]]


def sms(path: str) -> list[tuple[str, str]]:
    """Return the SMS messages as (text, label) pairs, from a file or the built-in download."""
    from finetext.data import DataConfig, read

    dataset = read(path, DataConfig())
    return [(text, labels[0]) for text, labels in zip(dataset.texts, dataset.labels, strict=True)]


def balanced(messages: list[tuple[str, str]], seed: int = 123) -> list[tuple[str, str]]:
    """Return all spam and an equal number of ham messages, shuffled: 1,494 of the SMS Spam Collection."""
    spam = [message for message in messages if message[1] == "spam"]
    ham = [message for message in messages if message[1] == "ham"]
    chosen = spam + random.Random(seed).sample(ham, len(spam))
    random.Random(seed).shuffle(chosen)
    seen: dict[str, int] = {}
    distinct = []
    for text, label in chosen:  # numbered, because finetext keeps equal texts in one split
        seen[text] = seen.get(text, 0) + 1
        distinct.append((f"{text} {seen[text]}" if seen[text] > 1 else text, label))
    return distinct


def write_splits(examples: list[tuple[str, str]], folder: Path, shares: tuple[float, float]) -> Splits:
    """Write `train.csv`, `validation.csv` and `test.csv`, and return their texts and class ids."""
    folder.mkdir(parents=True, exist_ok=True)
    first, second = (round(share * len(examples)) for share in (shares[0], shares[0] + shares[1]))
    parts = {"train": examples[:first], "validation": examples[first:second], "test": examples[second:]}
    names = sorted({label for _, label in examples})
    for name, rows in parts.items():
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("text", "label"), *rows])
    return {
        name: ([text for text, _ in rows], [names.index(label) for _, label in rows])
        for name, rows in parts.items()
    }


def gpt2(folder: Path, tokenizer: str) -> Path:
    """Write a checkpoint of GPT-2's shape (124 M) with random weights; speed does not depend on them."""
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config()).save_pretrained(folder)
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(Path(tokenizer) / name, folder)
    AutoTokenizer.from_pretrained(folder).save_pretrained(folder)
    return folder


def minilm() -> Path:
    """Return the folder of the embedded MiniLM."""
    from finetext.models import find_model

    return find_model("minilm").folder


def lengths(folder: Path, texts: list[str]) -> list[int]:
    """Return the number of tokens of each text, including special tokens."""
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    return [len(ids) for ids in tokenizer(texts)["input_ids"]]


def read_splits(folder: Path) -> Splits:
    """Return the texts and class ids that `write_splits` wrote."""
    rows: dict[str, list[tuple[str, str]]] = {}
    for name in ("train", "validation", "test"):
        with (folder / f"{name}.csv").open(newline="", encoding="utf-8") as file:
            rows[name] = [(row["text"], row["label"]) for row in csv.DictReader(file)]
    names = sorted({label for examples in rows.values() for _, label in examples})
    return {
        name: ([text for text, _ in examples], [names.index(label) for _, label in examples])
        for name, examples in rows.items()
    }


def default(name: str, beside: str = "data") -> str:
    """Return the path of a shared data set beside the checkout, or the name of the built-in download without one."""
    path = Path(__file__).parents[2] / "shared" / beside / name
    return str(path) if path.exists() else "sms-spam"


def shuffled(messages: list[tuple[str, str]], seed: int = 1) -> list[tuple[str, str]]:
    """Return the messages in random order."""
    return random.Random(seed).sample(messages, len(messages))


def repeated(messages: list[tuple[str, str]], size: int) -> list[tuple[str, str]]:
    """Return `size` messages in random order, with a number appended to those that are repeated."""
    rounds = -(-size // len(messages))
    every = [
        (f"{text} {turn}" if turn else text, label) for turn in range(rounds) for text, label in messages
    ]
    return shuffled(every)[:size]


def bundle(folder: Path, target: Path) -> Path:
    """Save a two-class classifier with a fresh head."""
    from finetext.models import find_model, load_model, save_bundle
    from finetext.models.config import ModelConfig

    if not target.is_dir():
        save_bundle(
            load_model(find_model(str(folder)), ("ham", "spam"), "binary", ModelConfig(), 0), target, {}
        )
    return target


def tiny(folder: Path) -> Path:
    """Write a BERT with two layers of width 32 and MiniLM's tokenizer, whose forward pass takes next to no time."""
    from transformers import AutoTokenizer, BertConfig, BertModel

    tokenizer: Any = AutoTokenizer.from_pretrained(minilm())
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
    )
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_table(messages: list[tuple[str, str]], rows: int, path: Path) -> Path:
    """Write numbered messages to a CSV, JSON Lines or Parquet file, depending on its suffix."""
    import polars as pl

    texts = [messages[row % len(messages)][0] for row in range(rows)]
    frame = pl.DataFrame({"id": [f"{row:08}" for row in range(rows)], "text": texts})
    write = {".csv": frame.write_csv, ".jsonl": frame.write_ndjson, ".parquet": frame.write_parquet}
    write[path.suffix](path)
    return path
