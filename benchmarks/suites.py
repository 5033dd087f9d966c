"""The suites: functions that each run their measurements and return a section of the README."""

import shutil
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import data, floor, tables
from benchmarks.worker import measure

RECIPE = {
    "trainable": "last-block",
    "epochs": 5,
    "batch_size": 8,
    "eval_every": 50,
    "learning_rate": 5e-5,
    "weight_decay": 0.1,
    "warmup": 0.0,
    "head_start": "none",
}

DEFAULT_BATCH = 16
"""finetext's default `--batch-size`."""


@dataclass(frozen=True)
class Place:
    """The benchmarks' inputs and working folder.

    Attributes:
        work: Folder for checkpoints, data and activation caches.
        sms: The SMS Spam Collection.
        sets: Folder with further data sets.
        tokenizer: Folder with GPT-2's vocabulary and merges.
        gpt2: A GPT-2 checkpoint, None for its shape with random weights.
        full: Run slow baselines in full.
    """

    work: Path
    sms: str
    sets: str
    tokenizer: str
    gpt2: str | None
    full: bool

    def cold_home(self, name: str) -> dict[str, str]:
        """Return an environment with an empty activation cache of its own."""
        folder = self.work / f"home-{name}"
        shutil.rmtree(folder, ignore_errors=True)
        return {"FINETEXT_HOME": str(folder)}

    def gpt2_folder(self) -> Path:
        """Return the GPT-2 checkpoint, written first if none was passed."""
        if self.gpt2:
            return Path(self.gpt2)
        folder = self.work / "gpt2"
        return folder if folder.is_dir() else data.gpt2(folder, self.tokenizer)

    def sms_folder(self, name: str, balanced: bool, shares: tuple[float, float] = (0.7, 0.1)) -> Path:
        """Return a folder with train, validation and test files of the SMS messages."""
        folder = self.work / name
        if not folder.is_dir():
            messages = data.sms(self.sms)
            data.write_splits(
                data.balanced(messages) if balanced else data.shuffled(messages), folder, shares
            )
        return folder


def recipe(place: Place) -> str:
    """The whole recipe of the book chapter, compared with the textbook loop and stock Trainer."""
    folder, source = place.gpt2_folder(), place.sms_folder("sms-balanced", balanced=True)
    stock_options = {"trainable": "last-block", "epochs": 5, "batch": 8, "steps": None if place.full else 20}
    sources = {"folder": str(folder), "source": str(source)}
    cold, warm, textbook, stock = [], [], [], []
    for turn in range(2):  # interleaved, so that a slow hour slows all of them
        home = place.cold_home(str(turn))
        options = {**RECIPE, "model": str(folder)}
        cold.append(measure("finetext", home, source=str(source), options={**options, "seed": 1}))
        textbook.append(measure("textbook", **sources, full=place.full))
        warm.append(measure("finetext", home, source=str(source), options={**options, "seed": 2}))
        stock.append(measure("stock", **sources, **stock_options))
    head_options = {**RECIPE, "model": str(folder), "trainable": "head", "seed": 1}
    head = measure("finetext", place.cold_home("head"), source=str(source), options=head_options)
    rates = measure("rates")
    best = min(run["recipe"] for run in cold)
    rows = []
    for name, runs, key in (
        ("textbook loop, float32", textbook, "seconds"),
        ("stock Trainer, float32, training steps alone", stock, "seconds"),
        ("finetext, cold cache", cold, "recipe"),
        ("finetext, warm cache, another seed", warm, "recipe"),
    ):
        seconds = statistics.median(run[key] for run in runs)
        ratio = statistics.median(
            run[key] / cold_run["recipe"] for run, cold_run in zip(runs, cold, strict=True)
        )
        peak = max(run["peak_bytes"] for run in runs)
        rows.append([name, f"{seconds:.1f} s", f"{ratio:.2f}x", tables.gigabytes(peak)])
    faster = statistics.median(c["recipe"] / w["recipe"] for c, w in zip(cold, warm, strict=True))
    return "\n\n".join(
        [
            f"GPT-2 124 M{'' if place.gpt2 else ' (its shape, random weights)'}, 1,494 balanced SMS messages, "
            "70/10/20, last layer + final norm + head, batch 8, 5 epochs, evaluation every 50 steps, "
            f"two interleaved turns. {tables.machine()}.",
            tables.table(["", "median", "of finetext's cold run", "peak memory"], rows),
            f"Textbook: {textbook[0]['arithmetic']}. Trainer: {stock[0]['arithmetic']}. finetext's time covers the "
            f"frozen-layer pass ({cold[0]['seconds']['features']:.1f} s), {cold[0]['steps']} steps with their "
            f"evaluations ({cold[0]['seconds']['training']:.1f} s) and the final evaluation "
            f"({cold[0]['seconds']['evaluating']:.1f} s), but not reading, loading, saving and verifying the bundle "
            f"({cold[0]['total']:.0f} s with these). A warm cache makes it {faster:.2f} times faster again. "
            f"{_head_line(head, 5)}",
            _floor_line(folder, source, cold[0], best, rates),
        ]
    )


def _head_line(run: dict[str, Any], epochs: int) -> str:
    share = _head_share(run, epochs)
    return f"When only the head is trained, the steps of an epoch cost {share:.1%} of the frozen-layer pass."


def _head_share(run: dict[str, Any], epochs: int) -> float:
    share: float = run["step_seconds"] / epochs / run["seconds"]["features"]
    return share


def _floor_line(
    folder: Path, source: Path, run: dict[str, Any], seconds: float, rates: dict[str, Any]
) -> str:
    splits = data.read_splits(source)
    lengths = data.lengths(folder, splits["train"][0])
    trunk, tail = floor.operations(
        tokens=run["features"]["computed_tokens"],
        trained_tokens=5 * sum(lengths),
        trained_texts=5 * len(lengths),
        layers=11,
        tail=1,
        width=768,
        mlp=3072,
    )
    least = trunk / rates["bf16"] + tail / rates["fp32"]
    return (
        f"Lower bound: {trunk / 1e12:.2f} Tflop in the frozen layers at {rates['bf16'] / 1e9:,.0f} Gflop/s (bf16) and "
        f"{tail / 1e12:.2f} Tflop in the trained ones at {rates['fp32'] / 1e9:,.0f} Gflop/s (float32), both rates "
        f"measured in the same hour, take {least:.1f} s; the run takes {seconds / least:.2f} times as long."
    )


def minilm(place: Place) -> str:
    """Complete MiniLM runs on all SMS messages."""
    folder, source = data.minilm(), place.sms_folder("sms-full", balanced=False)
    home = place.cold_home("minilm")
    options = {
        "model": str(folder),
        "trainable": "last-block",
        "epochs": 3,
        "batch_size": 8,
        "head_start": "none",
    }
    cold = measure("finetext", home, source=str(source), options={**options, "seed": 1})
    warm = measure("finetext", home, source=str(source), options={**options, "seed": 2})
    head = measure(
        "finetext",
        place.cold_home("head"),
        source=str(source),
        options={**options, "trainable": "head"},
    )
    larger = measure(
        "finetext",
        place.cold_home("head"),
        source=str(source),
        options={**options, "trainable": "head", "batch_size": DEFAULT_BATCH},
    )
    every = measure("finetext", home, source=str(source), options={**options, "trainable": "all"})
    steps = {"steps": None if place.full else 40, "epochs": 3, "batch": 8}
    stock = measure("stock", folder=str(folder), source=str(source), trainable="all", **steps)
    rows = [
        [
            "stock Trainer, all parameters, training steps alone",
            f"{stock['seconds']:.1f} s",
            "-",
            tables.gigabytes(stock["peak_bytes"]),
        ]
    ]
    for name, run in (
        ("finetext, all parameters", every),
        ("finetext, last layer, cold cache", cold),
        ("finetext, last layer, warm cache", warm),
        ("finetext, head alone, cold cache", head),
    ):
        accuracy = f"{run['test']['accuracy']:.4f}"
        rows.append([name, f"{run['recipe']:.1f} s", accuracy, tables.gigabytes(run["peak_bytes"])])
    return "\n\n".join(
        [
            "MiniLM (22.7 M), the full SMS Spam Collection (5,574 messages, 70/10/20), batch 8, 3 epochs, "
            f"evaluations included. {tables.machine()}.",
            tables.table(["", "time", "test accuracy", "peak memory"], rows),
            f"Trainer: {stock['arithmetic']}. {_head_line(head, 3)} With batches of {DEFAULT_BATCH}, "
            f"finetext's default, they cost {_head_share(larger, 3):.1%}.",
        ]
    )


def prediction(place: Place) -> str:
    """Prediction compared with transformers' pipeline."""
    source = place.sms_folder("sms-full", balanced=False)
    home = place.cold_home("predict")
    paragraphs = []
    for name, folder, texts in (
        ("MiniLM (22.7 M)", data.minilm(), 2000),
        ("GPT-2 (124 M)", place.gpt2_folder(), 2000),
    ):
        bundle = str(data.bundle(folder, place.work / f"bundle-{Path(folder).name}"))
        sources: dict[str, Any] = {"folder": bundle, "source": str(source)}
        slow = measure("pipeline", home, **sources, batch=1, texts=400)
        batched = measure("pipeline", home, **sources, batch=32, texts=400)
        single = measure("predict", home, **sources, precision="fp32", texts=texts)
        half = measure("predict", home, **sources, precision="bf16", texts=texts)
        rows = [
            [
                label,
                f"{result['texts_per_second']:.0f}",
                f"{result['texts_per_second'] / slow['texts_per_second']:.1f}x",
                f"{result['texts_per_second'] / batched['texts_per_second']:.1f}x",
                tables.gigabytes(result["peak_bytes"]),
            ]
            for label, result in (
                ("pipeline, batch 1", slow),
                ("pipeline, batch 32", batched),
                ("finetext, float32", single),
                ("finetext, bf16", half),
            )
        ]
        paragraphs.append(
            f"{name}, {texts:,} SMS messages (400 of them for the pipeline); finetext's batches are "
            f"{half['padding']:.1%} padding."
        )
        paragraphs.append(
            tables.table(
                ["", "texts/s", "vs pipeline, batch 1", "vs pipeline, batch 32", "peak memory"], rows
            )
        )
    return "\n\n".join([f"Prediction throughput. {tables.machine()}.", *paragraphs])


def bulk(place: Place) -> str:
    """Streaming a file through a model compared with labelling it in memory: throughput, and memory by file size."""
    messages = data.shuffled(data.sms(place.sms))
    small, large = (100_000, 1_000_000) if place.full else (20_000, 100_000)
    tiny = data.bundle(data.tiny(place.work / "tiny"), place.work / "bundle-tiny")
    minilm = data.bundle(data.minilm(), place.work / "bundle-minilm")
    jobs = [("a tiny BERT", tiny, small, suffix) for suffix in ("csv", "jsonl", "parquet")]
    jobs += [("a tiny BERT", tiny, large, "csv"), ("MiniLM", minilm, 20_000, "csv")]
    rows = []
    for name, folder, size, suffix in jobs:
        source = data.write_table(messages, size, place.work / f"rows-{size}.{suffix}")
        target = place.work / f"labelled-{size}.{suffix}"
        arguments = {"folder": str(folder), "source": str(source), "target": str(target)}
        memory, streamed = [], []
        for _ in range(2):  # interleaved, so that a slow minute slows both
            memory.append(measure("bulk", **arguments, how="memory"))
            streamed.append(measure("bulk", **arguments, how="streamed"))
        share = statistics.median(
            result["texts_per_second"] / other["texts_per_second"]
            for result, other in zip(streamed, memory, strict=True)
        )
        rows.append(
            [
                f"{name}, {size:,} rows of {suffix}",
                f"{statistics.median(result['texts_per_second'] for result in memory):,.0f}",
                f"{statistics.median(result['texts_per_second'] for result in streamed):,.0f}",
                f"{share:.0%}",
                tables.gigabytes(max(result["peak_bytes"] for result in memory)),
                tables.gigabytes(max(result["peak_bytes"] for result in streamed)),
            ]
        )
    header = [
        "",
        "in memory, texts/s",
        "streamed, texts/s",
        "streamed / in memory",
        "peak in memory",
        "peak streamed",
    ]
    return "\n\n".join(
        [
            "SMS messages in rows of a number and a text. In memory: the labelling alone, after the file was read. "
            f"Streamed: checking the file, reading, labelling, writing and syncing. {tables.machine()}.",
            tables.table(header, rows),
        ]
    )


def scaling(place: Place) -> str:
    """Cost by number of texts and of trained layers."""
    import csv

    folder = data.minilm()
    messages = data.sms(place.sms)
    grown = []
    for size in (1000, 4000, 16000):
        target = place.work / f"sms-{size}"
        data.write_splits(data.repeated(messages, size), target, (0.8, 0.1))
        with (target / "train.csv").open(newline="", encoding="utf-8") as file:
            train = sum(1 for _ in csv.reader(file)) - 1
        home = place.cold_home(str(size))
        options = {"model": str(folder), "trainable": "last-block", "epochs": 1, "head_start": "none"}
        run = measure("finetext", home, source=str(target), options=options)
        seconds = run["seconds"]
        grown.append(
            [
                f"{size:,}",
                f"{seconds['features']:.1f} s",
                f"{seconds['training']:.1f} s",
                f"{train / seconds['training']:.0f}",
                tables.gigabytes(run["peak_bytes"]),
            ]
        )
    tails = []
    home = place.cold_home("tails")
    for trainable in ("head", "last-block", "last-2-blocks", "last-4-blocks", "all"):
        options = {"model": str(folder), "trainable": trainable, "epochs": 1, "head_start": "none"}
        run = measure("finetext", home, source=str(place.work / "sms-4000"), options=options)
        seconds = run["seconds"]
        tails.append(
            [
                trainable,
                f"{seconds['features']:.1f} s",
                f"{seconds['training']:.1f} s",
                tables.gigabytes(run["peak_bytes"]),
            ]
        )
    return "\n\n".join(
        [
            f"MiniLM, SMS messages, batch 16, one epoch, cold cache. {tables.machine()}.",
            tables.table(
                ["texts", "frozen-layer pass", "epoch of the last layer", "trained texts/s", "peak memory"],
                grown,
            ),
            tables.table(["trained, 4,000 texts", "frozen-layer pass", "epoch", "peak memory"], tails),
        ]
    )


def precision(place: Place) -> str:
    """Test accuracy with a bf16 and a float32 activation cache, for three seeds."""
    rows = []
    differences = []
    for seed in (1, 2, 3):
        home = place.cold_home("precision")
        accuracies = {}
        for dtype in ("bf16", "fp32"):
            arithmetic = {"precision": "fp32"} if dtype == "fp32" else {}
            options = {"model": str(data.minilm()), "store": dtype, "seed": seed, **arithmetic}
            accuracies[dtype] = measure("finetext", home, source=place.sms, options=options)["test"][
                "accuracy"
            ]
        differences.append(accuracies["bf16"] - accuracies["fp32"])
        rows.append(
            [
                str(seed),
                f"{accuracies['bf16']:.4f}",
                f"{accuracies['fp32']:.4f}",
                f"{differences[-1] * 100:+.2f}",
            ]
        )
    return "\n\n".join(
        [
            "MiniLM with the defaults on all SMS messages: accuracy on the 1,115 test texts.",
            tables.table(["seed", "bf16 cache", "float32 cache", "difference, points"], rows),
        ]
    )


def defaults(place: Place) -> str:
    """The untuned defaults on every kind of task, compared with TF-IDF and three epochs of stock Trainer."""
    from benchmarks.quality import compare

    return compare(Path(place.sets), place.work)


def judgement(place: Place) -> str:
    """The cost of intervals, the report and a learning curve."""
    from benchmarks.judgement import judge

    return judge(place.work, place.sms)


def serving(place: Place) -> str:
    """`finetext serve` compared with a plain FastAPI endpoint that calls transformers' pipeline, and under overload."""
    from benchmarks import open_loop
    from benchmarks.serving import compare

    bundle = data.bundle(data.minilm(), place.work / "bundle-served")
    texts = [text for text, _ in data.shuffled(data.sms(place.sms))][:1000]
    seconds, turns, open_seconds = (10.0, 2, 60.0) if place.full else (4.0, 2, 15.0)
    return "\n\n".join(
        [
            f"MiniLM (22.7 M), single SMS messages, closed loop, {seconds:g} s each, median of {turns} turns; the "
            f"clients run on the same machine. {tables.machine()}.",
            compare(bundle, texts, seconds, turns),
            "The same server under open-loop load, where clients do not wait for responses: Poisson arrivals at "
            f"multiples of the capacity, {open_seconds:g} s each.",
            open_loop.measure(bundle, list(dict.fromkeys(texts)), open_seconds),
        ]
    )


def memory(place: Place) -> str:
    """Peak memory of the commands by text length, compared with stock Trainer."""
    from benchmarks.memory import memory_table

    return memory_table(Path(place.sets), place.work, data.shuffled(data.sms(place.sms)), place.full)


SUITES: dict[str, Callable[[Place], str]] = {
    "recipe": recipe,
    "minilm": minilm,
    "prediction": prediction,
    "bulk": bulk,
    "scaling": scaling,
    "precision": precision,
    "defaults": defaults,
    "judgement": judgement,
    "serving": serving,
    "memory": memory,
}
