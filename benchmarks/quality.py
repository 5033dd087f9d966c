"""The untuned defaults on every kind of task, compared with TF-IDF + logistic regression and stock Trainer."""

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
"""Most texts per data set, so that stock Trainer's three epochs take minutes."""
PER_CLASS = 150
"""Most texts per class in the data set with many classes."""
MAX_LENGTH = 512
"""Texts are truncated to this number of tokens, by every system."""
SEEDS = (42, 1, 2)
"""Seeds of the splits, the head's initialisation and the order of the texts."""
MORE_SEEDS = (*SEEDS, 3, 4, 5)
"""Seeds for a data set whose test split is so small that results vary by a point between seeds."""

HEADER = [
    "task",
    "training texts",
    "metric",
    "finetext",
    "TF-IDF + LR",
    "Trainer, 3 epochs",
]


@dataclass(frozen=True)
class Task:
    """A data set and how it is used.

    Attributes:
        name: Name in the table.
        source: File or folder.
        options: Options with which finetext reads it.
        seeds: Seeds of its runs.
    """

    name: str
    source: str
    options: dict[str, Any]
    seeds: tuple[int, ...] = SEEDS


def tasks(sets: Path, work: Path) -> list[Task]:
    """Return the tasks: binary, tiny, imbalanced, six-class, four-class, multi-label and many-class."""
    limit = {"limit": LIMIT}
    sms = str(sets / "sms_spam" / "SMSSpamCollection")
    return [
        Task("SMS, binary, 13 % spam", sms, limit),
        Task("SMS, 64 to learn from", sms, {"test": 0.8, "validation": 0.2 - 64 / LIMIT, **limit}),
        Task("SMS, 2 % spam", str(_imbalanced_sms(sms, work / "sms-imbalanced.csv")), limit),
        Task("YouTube comments, binary", str(sets / "youtube_spam" / "all.csv"), {}, MORE_SEEDS),
        Task("TREC, six classes, whole", str(sets / "trec6"), {}),
        Task("AG News, four classes", str(sets / "ag_news" / "test.csv"), limit),
        Task("GoEmotions, 28 labels", str(sets / "goemotions"), limit),
        Task(
            "GoEmotions, one of 28 classes",
            str(_single_label_emotions(sets / "goemotions", work / "emotions.csv")),
            {},
        ),
    ]


def _imbalanced_sms(sms: str, target: Path) -> Path:
    """Write the SMS messages, thinned to one spam message in fifty."""
    from benchmarks import data

    messages = data.sms(sms)
    ham = [message for message in messages if message[1] == "ham"]
    spam = [message for message in messages if message[1] == "spam"]
    chosen = ham + random.Random(1).sample(spam, len(ham) // 49)
    with target.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *chosen])
    return target


def _single_label_emotions(emotions: Path, target: Path) -> Path:
    """Write the texts with exactly one label, at most `PER_CLASS` of each."""
    with (emotions / "train.csv").open(newline="", encoding="utf-8") as file:
        rows = [(row["text"], row["labels"]) for row in csv.DictReader(file) if "|" not in row["labels"]]
    random.Random(1).shuffle(rows)
    taken: Counter[str] = Counter()
    chosen = []
    for text, label in rows:
        taken[label] += 1
        if taken[label] <= PER_CLASS:
            chosen.append((text, label))
    with target.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *chosen])
    return target


def compare(sets: Path, work: Path) -> str:
    """Return a table of all tasks."""
    rows, leads = [], []
    for task in tasks(sets, work):
        runs = [_run(task, seed, work) for seed in task.seeds]
        kind = "micro_f1" if runs[0]["task"] == "multi-label" else "accuracy"
        scores = _by_system(runs, kind)  # (seeds, systems)
        macro = _by_system(runs, "macro_f1")
        cells = [
            f"{mean:.3f} ± {spread:.3f} / {macro_mean:.3f}"
            for mean, spread, macro_mean in zip(
                scores.mean(0), scores.std(0, ddof=1), macro.mean(0), strict=True
            )
        ]
        named = "micro-F1" if kind == "micro_f1" else "accuracy"
        rows.append([task.name, f"{runs[0]['train_texts']:,}", named, *cells])
        leads.append(scores[:, 0].mean() - scores[:, 1:].mean(0).max())
        print(" | ".join(rows[-1]), scores.round(4).tolist(), file=sys.stderr, flush=True)
    return "\n\n".join(
        [
            "MiniLM with the defaults, the same splits for all: mean ± standard deviation of the test accuracy "
            "(micro-F1 for multi-label tasks) over the seeds "
            f"{', '.join(map(str, SEEDS))}, for YouTube also {', '.join(map(str, MORE_SEEDS[len(SEEDS) :]))} / "
            "mean macro-F1. "
            f"{tables.machine()}.",
            tables.table(HEADER, rows),
            f"finetext's smallest lead over the better of the two others is {min(leads) * 100:+.1f} points.",
        ]
    )


def _run(task: Task, seed: int, work: Path) -> dict[str, Any]:
    """Return the metrics of all systems for one seed."""
    home = {"FINETEXT_HOME": str(work / "home-defaults")}
    options = task.options | {"max_length": MAX_LENGTH, "seed": seed}
    ours = measure("finetext", home, source=task.source, options=options)
    setting = json.dumps([task.name, Path(task.source).name, task.options, MAX_LENGTH, PER_CLASS, seed])
    path = work / f"stock-{hashlib.sha256(setting.encode()).hexdigest()[:16]}.json"
    return ours | {"stock": _stock_once(path, task, home, seed)["test"]}


def _by_system(runs: list[dict[str, Any]], metric: str) -> NDArray[np.float64]:
    return np.array([[run[system][metric] for system in ("test", "tfidf", "stock")] for run in runs])


def _stock_once(path: Path, task: Task, environment: dict[str, str], seed: int) -> dict[str, Any]:
    """Return Trainer's metrics, from the file of an earlier run if there is one: only its packages can change them."""
    if not path.is_file():
        result = measure(
            "stock quality",
            environment,
            source=task.source,
            options=task.options,
            max_length=MAX_LENGTH,
            seed=seed,
        )
        path.write_text(json.dumps(result))
    return dict(json.loads(path.read_text()))


def stock_quality(source: str, options: dict[str, Any], max_length: int, seed: int) -> dict[str, Any]:
    """Train stock Trainer on the splits that finetext makes, and return its metrics on the test split."""
    from benchmarks import data, stock
    from finetext.data import DataConfig, read, split
    from finetext.evaluation import compute_metrics, encode_targets
    from finetext.models import probabilities

    config = DataConfig(source=source, **options)
    dataset = read(source, config)
    splits = split(dataset, config, seed)
    parts = {}
    for name in ("train", "test"):
        subset = getattr(splits, name)
        targets = encode_targets(subset.labels, dataset.class_names, dataset.task)
        multi = dataset.task == "multi-label"
        parts[name] = (list(subset.texts), targets.astype(np.float32 if multi else np.int64).tolist())
    began = time.perf_counter()
    result = stock.quality(
        data.minilm(), parts, epochs=3, batch=8, seed=seed, task=dataset.task, max_length=max_length
    )
    probs = probabilities(result["logits"].astype(np.float32), dataset.task)
    targets = encode_targets(splits.test.labels, dataset.class_names, dataset.task)
    metrics = compute_metrics(targets, probs, dataset.class_names, dataset.task).to_dict()
    metric_names = ("accuracy", "macro_f1", "micro_f1", "mcc")
    return {
        "seconds": result["seconds"],
        "whole": time.perf_counter() - began,
        "test": {name: metrics[name] for name in metric_names},
    }
