"""Folders like those of a training run or an evaluation, made from predictions."""

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np

from finetext.evaluation import TFIDF, compare_with_baseline, compute_metrics, is_right, write_predictions
from finetext.training.history import EVALUATION_COLUMNS, STEP_COLUMNS

HOSTILE = "<script>document.title='taken'</script> & \"quotes\" <img src=x onerror=alert(1)>"


def softmax(logits: np.ndarray) -> np.ndarray:
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


def random_predictions(number: int, classes: int, *, multi: bool = False, skill: float = 2.0, seed: int = 0):
    """Return random targets, and probabilities that are right more often than not."""
    random = np.random.default_rng(seed)
    if multi:
        targets = (random.random((number, classes)) < 0.3).astype(np.int64)
        logits = random.normal(size=(number, classes)) + skill * (2 * targets - 1)
        return targets, 1 / (1 + np.exp(-logits))
    targets = random.integers(0, classes, number)
    return targets, softmax(random.normal(size=(number, classes)) + skill * np.eye(classes)[targets])


def make_folder(
    path: Path,
    names: list[str],
    targets: np.ndarray,
    probs: np.ndarray,
    *,
    baseline: np.ndarray | None = None,
    training: bool = True,
    **more,
) -> dict:
    """Write a folder and return the content of its `metrics.json`.

    Args:
        path: The folder.
        names: The classes.
        targets: Targets of the test texts.
        probs: The model's probabilities.
        baseline: Probabilities of TF-IDF + logistic regression; None omits baselines and comparisons.
        training: Whether to write the folder of a run rather than that of an evaluation.
        **more: Further content of `metrics.json`.
    """
    task = "multi-label" if targets.ndim == 2 else "binary" if len(names) == 2 else "multi-class"
    path.mkdir(parents=True, exist_ok=True)
    texts = [
        f"{HOSTILE} {n}" if n % 2 else f"text number {n}, " + "word " * (n % 200) for n in range(len(targets))
    ]
    write_predictions(path / "predictions.csv", texts, targets, probs, names, task)
    test = compute_metrics(targets, probs, names, task)
    metrics = {
        "schema_version": 2,
        "task": task,
        "class_names": names,
        "synthetic_data": False,
        "examples": {"test": len(targets)},
        "test": test.to_dict(),
    }
    if training:
        metrics |= _train(path, names, texts, targets, task)
    if baseline is not None:
        beside = compute_metrics(targets, baseline, names, task)
        comparison = compare_with_baseline(*(is_right(targets, side, task) for side in (probs, baseline)))
        metrics["baselines"] = {TFIDF: beside.to_dict()}
        metrics["comparisons"] = {TFIDF: dataclasses.asdict(comparison)}
    metrics |= more
    (path / "metrics.json").write_text(json.dumps(metrics))
    return metrics


def _train(path: Path, names: list[str], texts: list[str], targets: np.ndarray, task: str) -> dict:
    labels = [
        "|".join(n for n, on in zip(names, t, strict=True) if on) if task == "multi-label" else names[t]
        for t in targets
    ]
    (path / "splits").mkdir(exist_ok=True)
    for split in ("train", "validation", "test"):
        with (path / "splits" / f"{split}.csv").open("w", newline="") as file:
            rows = [
                (f"{text} {split}", label, n)
                for n, (text, label) in enumerate(zip(texts, labels, strict=True))
            ]
            csv.writer(file, quoting=csv.QUOTE_NONNUMERIC).writerows([("text", "label", "row"), *rows])
    steps = 30
    with (path / "history.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*STEP_COLUMNS, *EVALUATION_COLUMNS])
        for step in range(1, steps + 1):
            evaluated = [0.5 / step, 0.8, 0.7, 0.6, 100] if step % 10 == 0 else [""] * 5
            writer.writerow([step, 1, step * 10, 1 / step, 0.001, 1.0, 0.1, *evaluated])
    (path / "config.toml").write_text(
        '[data]\nsource = "/somewhere/data.csv"\n\n[train]\nepochs = 3\nseed = 42\n'
    )
    (path / "environment.json").write_text(
        json.dumps(
            {
                "started": "2026-01-01T00:00:00+00:00",
                "seconds": {"training": 1.5},
                "command": ["/somewhere/finetext", "train"],
                "versions": {"finetext": "0.1.0"},
                "data": {"source": "/somewhere/data.csv", "revision": None},
                "model": {"name": "minilm", "revision": None},
            }
        )
    )
    return {
        "examples": {
            "train": len(targets),
            "train_after_balancing": 100,
            "validation": len(targets),
            "test": len(targets),
        },
        "best": {"metric": "macro_f1", "value": 0.7, "step": 30, "epoch": 3.0},
    }
