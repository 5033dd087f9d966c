"""Run one measurement in a fresh process, so that all start alike and peak memory is measured separately.

`python -m benchmarks.worker` reads the measurement to run as JSON from stdin and prints its result as JSON.
"""

import csv
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from finetext.cli.app import SPINS

METRICS = ("accuracy", "macro_f1", "micro_f1", "mcc")
OFFLINE = {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
OF_FINETEXT = ("finetext", "predict", "in process", "bulk", "curve")
"""Measurements that run under the environment which finetext's commands set."""
TFIDF = "TF-IDF + logistic regression"


def measure(what: str, environment: dict[str, str] | None = None, **arguments: Any) -> dict[str, Any]:
    """Run a measurement in a fresh process and return its result, including its peak memory.

    Raises:
        RuntimeError: The measurement failed; the message ends with the tail of its stderr.
    """
    completed = subprocess.run(
        [sys.executable, "-m", "benchmarks.worker"],
        input=json.dumps({"what": what, **arguments}),
        capture_output=True,
        encoding="utf-8",
        env={
            **os.environ,
            **OFFLINE,
            **(dict([SPINS]) if what in OF_FINETEXT else {}),
            **(environment or {}),
        },
        check=False,
    )
    if completed.returncode:
        raise RuntimeError(f"{what}: {completed.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(completed.stdout.strip().splitlines()[-1])
    return result


def finetext_run(source: str, options: dict[str, Any]) -> dict[str, Any]:
    """Train and return the time of each stage and the metrics."""
    import finetext

    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        _prepare_cpu()
        run = finetext.train(source, output=Path(folder) / "run", **options)
        total = time.perf_counter() - began
        environment = json.loads(run.folder.environment.read_text())
        with run.folder.history.open() as file:
            steps = [float(row["seconds"]) for row in csv.DictReader(file)]
    seconds = environment["seconds"]
    recipe = seconds["features"] + seconds["training"] + seconds["evaluating"]
    return {
        "recipe": recipe,
        "total": total,
        "seconds": seconds,
        "features": environment["features"],
        "steps": len(steps),
        "step_seconds": sum(steps),
        "task": run.metrics.task,
        "train_texts": run.metrics.examples["train"],
        "test": {name: run.metrics.test.value(name) for name in METRICS},
        "tfidf": {name: run.metrics.baselines[TFIDF].value(name) for name in METRICS},
    }


def _prepare_cpu() -> None:
    """Set up the process as finetext's commands do."""
    from finetext.engine import prepare_cpu

    prepare_cpu()


def textbook(folder: str, source: str, full: bool) -> dict[str, Any]:
    """Time the textbook loop."""
    from benchmarks import data, textbook

    return textbook.measure(Path(folder), data.read_splits(Path(source)), full)


def stock(folder: str, source: str, **options: Any) -> dict[str, Any]:
    """Time stock Trainer."""
    from benchmarks import data, stock

    return stock.measure(Path(folder), data.read_splits(Path(source)), **options)


def pipeline(folder: str, source: str, batch: int, texts: int) -> dict[str, Any]:
    """Time transformers' text-classification pipeline on some texts."""
    from transformers import pipeline as make_pipeline

    from benchmarks import data

    chosen = data.read_splits(Path(source))["train"][0][:texts]
    classify = make_pipeline("text-classification", model=folder, device="cpu")
    classify(chosen[:8], batch_size=batch, truncation=True)
    began = time.perf_counter()
    classify(chosen, batch_size=batch, truncation=True)
    return {"texts_per_second": len(chosen) / (time.perf_counter() - began)}


def predict(folder: str, source: str, precision: str, texts: int) -> dict[str, Any]:
    """Time finetext's prediction on some texts."""
    import finetext
    from benchmarks import data

    chosen = data.read_splits(Path(source))["train"][0][:texts]
    classifier = finetext.load(folder, device="cpu", precision=precision)
    classifier.predict_proba(chosen[:8])
    began = time.perf_counter()
    classifier.predict_proba(chosen)
    seconds = time.perf_counter() - began
    encoded = classifier.encode(chosen)
    counts = [len(text[0]) for text in encoded]
    batches = classifier.model.batches(classifier.model.inputs(encoded))
    padded = sum(len(batch) * counts[batch[0]] for batch in batches)
    return {"texts_per_second": len(chosen) / seconds, "padding": 1 - sum(counts) / padded}


def in_process(folder: str, texts: list[str]) -> dict[str, Any]:
    """Time finetext on a list of texts, on lists of 32 and on single texts."""
    import finetext

    classifier = finetext.load(folder, device="cpu")
    classifier(texts[:64])
    rates = {}
    for size in (len(texts), 32):
        began = time.perf_counter()
        for start in range(0, len(texts), size):
            classifier(texts[start : start + size])
        rates[size] = len(texts) / (time.perf_counter() - began)
    lone = []
    for text in texts[:400]:
        began = time.perf_counter()
        classifier(text)
        lone.append(time.perf_counter() - began)
    return {
        "texts_per_second": rates[len(texts)],
        "of_32": rates[32],
        "p50_ms": 1e3 * statistics.median(lone),
    }


def bulk(folder: str, source: str, target: str, how: str) -> dict[str, Any]:
    """Label a file, either read into memory first or streamed to another file."""
    import polars as pl

    import finetext
    from finetext.data import DataConfig, open_rows
    from finetext.inference import Prediction, predict_into_file

    classifier = finetext.load(folder, device="cpu")
    classifier.predict_proba(["a warm-up text, so that everything is loaded"] * 8)
    if how == "memory":
        file = open_rows(Path(source), DataConfig())
        texts = pl.concat([block.frame for block in file.batches()])[file.text_column].fill_null("").to_list()
        began = time.perf_counter()
        rows = len(classifier.predict(texts))
    else:
        began = time.perf_counter()
        rows = predict_into_file(Prediction(classifier, Path(source)), Path(target), overwrite=True).rows
    return {"rows": rows, "texts_per_second": rows / (time.perf_counter() - began)}


def stock_quality(source: str, options: dict[str, Any], max_length: int, seed: int) -> dict[str, Any]:
    """Train stock Trainer for three epochs and return its metrics."""
    from benchmarks import quality

    return quality.stock_quality(source, options, max_length, seed)


def intervals() -> dict[str, Any]:
    """Time bootstrap intervals."""
    from benchmarks import judgement

    return judgement.intervals()


def curve(source: str) -> dict[str, Any]:
    """Time a learning curve."""
    from benchmarks import judgement

    return judgement.curve(source)


def rates() -> dict[str, Any]:
    """Measure the matrix rates of this machine in bf16 and float32."""
    import torch

    from benchmarks.floor import matrix_rate

    return {"bf16": matrix_rate(torch.bfloat16), "fp32": matrix_rate(torch.float32)}


MEASUREMENTS = {
    "finetext": finetext_run,
    "textbook": textbook,
    "stock": stock,
    "stock quality": stock_quality,
    "pipeline": pipeline,
    "predict": predict,
    "in process": in_process,
    "bulk": bulk,
    "rates": rates,
    "intervals": intervals,
    "curve": curve,
}


def _main() -> None:
    request = json.load(sys.stdin)
    what = request.pop("what")
    if what in OF_FINETEXT and what != "finetext":  # which does it itself, as part of its time
        _prepare_cpu()
    result = MEASUREMENTS[what](**request)
    result["peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps(result))


if __name__ == "__main__":
    _main()
