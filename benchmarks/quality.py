"""The untuned defaults on every kind of task, beside TF-IDF + logistic regression and stock Trainer."""

import csv
import hashlib
import json
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import tables
from benchmarks.worker import measure

LIMIT = 2000
"""Texts a set, so that stock Trainer's three epochs stay within minutes."""
EACH = 150
"""Texts of a class of the set with many classes, where there are so many."""
MAX_LENGTH = 512
"""Longest text in tokens, for all."""
SEEDS = (42, 1, 2)
"""Of the splits, the head and the order of the texts."""
MORE_SEEDS = (*SEEDS, 3, 4, 5)
"""For a set whose test split is so small that three seeds differ by a point."""

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
        seeds: What it is run with.
    """

    name: str
    source: str
    options: dict[str, Any]
    seeds: tuple[int, ...] = SEEDS


def tasks(sets: Path, work: Path) -> list[Task]:
    """Return the tasks: binary, imbalanced, tiny, six-class, four-class, many-class, multi-label."""
    limit = {"limit": LIMIT}
    sms = str(sets / "sms_spam" / "SMSSpamCollection")
    return [
        Task("SMS, binary, 13 % spam", sms, limit),
        Task("SMS, 64 to learn from", sms, {"test": 0.8, "validation": 0.2 - 64 / LIMIT, **limit}),
        Task("SMS, 2 % spam", str(_thinned(sms, work / "sms-imbalanced.csv")), limit),
        Task("YouTube comments, binary", str(sets / "youtube_spam" / "all.csv"), {}, MORE_SEEDS),
        Task("TREC, six classes, whole", str(sets / "trec6"), {}),
        Task("AG News, four classes", str(sets / "ag_news" / "test.csv"), limit),
        Task("GoEmotions, 28 labels", str(sets / "goemotions"), limit),
        Task("GoEmotions, one of 28 classes", str(_singled(sets / "goemotions", work / "emotions.csv")), {}),
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


def _singled(emotions: Path, target: Path) -> Path:
    """Write the texts of one label, at most so many of each."""
    with (emotions / "train.csv").open(newline="", encoding="utf-8") as file:
        rows = [(own["text"], own["labels"]) for own in csv.DictReader(file) if "|" not in own["labels"]]
    random.Random(1).shuffle(rows)
    taken: Counter[str] = Counter()
    chosen = []
    for text, label in rows:
        taken[label] += 1
        if taken[label] <= EACH:
            chosen.append((text, label))
    with target.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *chosen])
    return target


def compare(sets: Path, work: Path) -> str:
    """Return the table over all tasks."""
    rows, leads = [], []
    for task in tasks(sets, work):
        runs = [_run(task, seed, work) for seed in task.seeds]
        kind = "micro_f1" if runs[0]["task"] == "multi-label" else "accuracy"
        figures = _of_each(runs, kind)  # (seeds, ways)
        macro = _of_each(runs, "macro_f1")
        cells = [
            f"{mean:.3f} ± {spread:.3f} / {own:.3f}"
            for mean, spread, own in zip(figures.mean(0), figures.std(0, ddof=1), macro.mean(0), strict=True)
        ]
        named = "micro-F1" if kind == "micro_f1" else "accuracy"
        rows.append([task.name, f"{runs[0]['train_texts']:,}", named, *cells])
        leads.append(figures[:, 0].mean() - figures[:, 1:].mean(0).max())
        print(" | ".join(rows[-1]), figures.round(4).tolist(), file=sys.stderr, flush=True)
    return "\n\n".join(
        [
            "MiniLM with the defaults, the same splits for all, mean and standard deviation over the seeds "
            f"{', '.join(map(str, SEEDS))}, of YouTube also {', '.join(map(str, MORE_SEEDS[len(SEEDS) :]))}; "
            "accuracy, or micro-F1 of several labels, and macro-F1 on the test split. "
            f"{tables.machine()}.",
            tables.table(HEADER, rows),
            f"finetext's smallest lead over the better of the two is {min(leads) * 100:+.1f} points.",
        ]
    )


def _run(task: Task, seed: int, work: Path) -> dict[str, Any]:
    """Return the figures of all ways on one seed."""
    home = {"FINETEXT_HOME": str(work / "home-defaults")}
    options = task.options | {"max_length": MAX_LENGTH, "seed": seed}
    ours = measure("finetext", home, source=task.source, options=options)
    setting = json.dumps([task.name, Path(task.source).name, task.options, MAX_LENGTH, EACH, seed])
    path = work / f"stock-{hashlib.sha256(setting.encode()).hexdigest()[:16]}.json"
    return ours | {"stock": _stock_once(path, task, home, seed)["test"]}


def _of_each(runs: list[dict[str, Any]], figure: str) -> NDArray[np.float64]:
    return np.array([[run[way][figure] for way in ("test", "tfidf", "stock")] for run in runs])


def _stock_once(path: Path, task: Task, environment: dict[str, str], seed: int) -> dict[str, Any]:
    """Return Trainer's figures, from the file of a run before if there is one: only its packages change them."""
    if not path.is_file():
        found = measure(
            "stock quality",
            environment,
            source=task.source,
            options=task.options,
            max_length=MAX_LENGTH,
            seed=seed,
        )
        path.write_text(json.dumps(found))
    return dict(json.loads(path.read_text()))


def stock_quality(source: str, options: dict[str, Any], max_length: int, seed: int) -> dict[str, Any]:
    """Train stock Trainer on the splits that finetext makes, and return its figures on the test split."""
    from benchmarks import data, stock
    from finetext.data import DataConfig, read, split
    from finetext.evaluation import compute_metrics, encode_targets
    from finetext.models import probabilities

    config = DataConfig(source=source, **options)
    dataset = read(source, config)
    splits = split(dataset, config, seed)
    parts = {}
    for name in ("train", "test"):
        own = getattr(splits, name)
        targets = encode_targets(own.labels, dataset.class_names, dataset.task)
        multi = dataset.task == "multi-label"
        parts[name] = (list(own.texts), targets.astype(np.float32 if multi else np.int64).tolist())
    began = time.perf_counter()
    found = stock.quality(
        data.minilm(), parts, epochs=3, batch=8, seed=seed, task=dataset.task, max_length=max_length
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
