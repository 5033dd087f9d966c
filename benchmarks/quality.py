"""The untuned defaults on every kind of task, beside TF-IDF + logistic regression and stock Trainer."""

import csv
import json
import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import tables
from benchmarks.worker import measure

LIMIT = 2000
"""Texts a set, so that stock Trainer's three epochs stay within minutes."""


HEADER = [
    "task",
    "learnt from",
    "figure",
    "finetext",
    "TF-IDF + LR",
    "Trainer, 3 epochs",
]


@dataclass(frozen=True)
class Task:
    """A data set as the table names it.

    Attributes:
        name: What stands in the table.
        source: The file or folder.
        options: How finetext reads it.
        max_length: Longest text in tokens, for both.
    """

    name: str
    source: str
    options: dict[str, Any]
    max_length: int = 512


def tasks(sets: Path, work: Path) -> list[Task]:
    """Return the tasks: binary, imbalanced, tiny, six-class, four-class, many-class, multi-label."""
    limit = {"limit": LIMIT}
    sms = str(sets / "sms_spam" / "SMSSpamCollection")
    return [
        Task("SMS, binary, 13 % spam", sms, limit),
        Task("SMS, 64 to learn from", sms, {"test": 0.8, "validation": 0.2 - 64 / LIMIT, **limit}),
        Task("SMS, 2 % spam", str(_thinned(sms, work / "sms-imbalanced.csv")), limit),
        Task("YouTube comments, binary", str(sets / "youtube_spam" / "all.csv"), {}),
        Task("TREC, six classes, whole", str(sets / "trec6"), {}),
        Task("AG News, four classes", str(sets / "ag_news" / "test.csv"), limit),
        Task("GoEmotions, 28 labels", str(sets / "goemotions"), limit),
        Task("MBTI, sixteen classes, 128 tokens", str(sets / "mbti_reddit" / "all.csv"), limit, 128),
    ]


def _thinned(sms: str, target: Path) -> Path:
    """Write the SMS messages with one spam message in fifty."""
    from benchmarks import data

    messages = data.sms(sms)
    ham = [own for own in messages if own[1] == "ham"]
    spam = [own for own in messages if own[1] == "spam"]
    chosen = ham + random.Random(1).sample(spam, len(ham) // 49)
    with target.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *chosen])
    return target


def compare(sets: Path, work: Path) -> str:
    """Return the table over all tasks."""
    rows = []
    worst = []
    for index, task in enumerate(tasks(sets, work)):
        home = {"FINETEXT_HOME": str(work / "home-defaults")}
        options = task.options | {"max_length": task.max_length}
        ours = measure("finetext", home, source=task.source, options=options)
        stock = _stock_once(work / f"stock-{index}.json", task, home)
        key = "micro_f1" if ours["task"] == "multi-label" else "accuracy"
        figures = (ours["test"][key], ours["tfidf"][key], stock["test"][key])
        macro = (ours["test"]["macro_f1"], ours["tfidf"]["macro_f1"], stock["test"]["macro_f1"])
        rows.append(
            [task.name, f"{ours['train_texts']:,}", "micro-F1" if key == "micro_f1" else "accuracy"]
            + [f"{figure:.3f} / {own:.3f}" for figure, own in zip(figures, macro, strict=True)]
        )
        worst.append(min(figures[0] - figures[1], figures[0] - figures[2]))
        print(" | ".join(rows[-1]), file=sys.stderr, flush=True)
    return "\n\n".join(
        [
            "MiniLM with the defaults, the same splits for all (seed 42); accuracy, or micro-F1 of several labels, and "
            f"macro-F1 on the test split. {tables.machine()}.",
            tables.table(HEADER, rows),
            f"finetext's smallest lead over the better of the two is {min(worst) * 100:+.1f} points.",
        ]
    )


def _stock_once(path: Path, task: Task, environment: dict[str, str]) -> dict[str, Any]:
    """Return Trainer's figures, from the file of a run before if there is one: only its packages change them."""
    if not path.is_file():
        found = measure(
            "stock quality", environment, source=task.source, options=task.options, max_length=task.max_length
        )
        path.write_text(json.dumps(found))
    return dict(json.loads(path.read_text()))


def stock_quality(source: str, options: dict[str, Any], max_length: int) -> dict[str, Any]:
    """Train stock Trainer on the splits that finetext makes, and return its figures on the test split."""
    import numpy as np

    from benchmarks import data, stock
    from finetext.data import DataConfig, read, split
    from finetext.evaluation import compute_metrics, encode_targets
    from finetext.models import probabilities

    config = DataConfig(source=source, **options)
    dataset = read(source, config)
    splits = split(dataset, config, 42)
    parts = {}
    for name in ("train", "test"):
        own = getattr(splits, name)
        targets = encode_targets(own.labels, dataset.class_names, dataset.task)
        multi = dataset.task == "multi-label"
        parts[name] = (list(own.texts), targets.astype(np.float32 if multi else np.int64).tolist())
    began = time.perf_counter()
    found = stock.quality(
        data.minilm(), parts, epochs=3, batch=8, seed=42, task=dataset.task, max_length=max_length
    )
    probs = probabilities(found["logits"].astype(np.float32), dataset.task)
    targets = encode_targets(splits.test.labels, dataset.class_names, dataset.task)
    metrics = compute_metrics(targets, probs, dataset.class_names, dataset.task).to_dict()
    wanted = ("accuracy", "macro_f1", "micro_f1", "mcc")
    return {
        "seconds": found["seconds"],
        "whole": time.perf_counter() - began,
        "test": {name: metrics[name] for name in wanted},
    }
