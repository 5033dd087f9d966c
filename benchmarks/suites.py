"""What is measured, each as a function that returns its table."""

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
"""finetext's `--batch-size` where nothing is asked for."""


@dataclass(frozen=True)
class Place:
    """Where the benchmarks find and leave things.

    Attributes:
        work: Folder for checkpoints, data and stores.
        sms: The SMS Spam Collection.
        sets: Folder of further data sets.
        tokenizer: Folder with GPT-2's vocabulary and merges.
        gpt2: A GPT-2 checkpoint, None for its shape with random weights.
        full: Run slow baselines whole.
    """

    work: Path
    sms: str
    sets: str
    tokenizer: str
    gpt2: str | None
    full: bool

    def cold_home(self, name: str) -> dict[str, str]:
        """Return the environment of a feature cache of its own that holds nothing."""
        folder = self.work / f"home-{name}"
        shutil.rmtree(folder, ignore_errors=True)
        return {"FINETEXT_HOME": str(folder)}

    def gpt2_folder(self) -> Path:
        """Return the GPT-2 checkpoint, made if there is none."""
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
    """The whole recipe of the book chapter at full size, against the textbook loop and stock Trainer."""
    folder, source = place.gpt2_folder(), place.sms_folder("sms-balanced", balanced=True)
    stock_options = {"trainable": "last-block", "epochs": 5, "batch": 8, "steps": None if place.full else 20}
    given = {"folder": str(folder), "source": str(source)}
    cold, warm, textbook, stock = [], [], [], []
    for turn in range(2):  # interleaved, so that a slow hour is slow for all
        home = place.cold_home(str(turn))
        options = {**RECIPE, "model": str(folder)}
        cold.append(measure("finetext", home, source=str(source), options={**options, "seed": 1}))
        textbook.append(measure("textbook", **given, full=place.full))
        warm.append(measure("finetext", home, source=str(source), options={**options, "seed": 2}))
        stock.append(measure("stock", **given, **stock_options))
    head_options = {**RECIPE, "model": str(folder), "trainable": "head", "seed": 1}
    head = measure("finetext", place.cold_home("head"), source=str(source), options=head_options)
    rates = measure("rates")
    best = min(own["recipe"] for own in cold)
    rows = []
    for name, found, key in (
        ("textbook loop, float32", textbook, "seconds"),
        ("stock Trainer, float32, its training steps alone", stock, "seconds"),
        ("finetext, cold store", cold, "recipe"),
        ("finetext, warm store, another seed", warm, "recipe"),
    ):
        seconds = statistics.median(own[key] for own in found)
        own_ratio = statistics.median(
            own[key] / mine["recipe"] for own, mine in zip(found, cold, strict=True)
        )
        peak = max(own["peak_bytes"] for own in found)
        rows.append([name, f"{seconds:.1f} s", f"{own_ratio:.2f}x", tables.gigabytes(peak)])
    faster = statistics.median(c["recipe"] / w["recipe"] for c, w in zip(cold, warm, strict=True))
    return "\n\n".join(
        [
            f"GPT-2 124 M{'' if place.gpt2 else ' (its shape, random weights)'}, 1,494 balanced SMS messages, "
            "70/10/20, last block + final norm + head, batch 8, 5 epochs, evaluation every 50 steps, "
            f"two interleaved turns. {tables.machine()}.",
            tables.table(["", "median", "of finetext's cold run", "peak memory"], rows),
            f"Textbook: {textbook[0]['arithmetic']}. Trainer: {stock[0]['arithmetic']}. finetext's figure is whole: "
            f"trunk pass {cold[0]['seconds']['features']:.1f} s, {cold[0]['steps']} steps and their evaluations "
            f"{cold[0]['seconds']['training']:.1f} s, final evaluation {cold[0]['seconds']['evaluating']:.1f} s; "
            f"reading, loading, saving and proving the bundle come on top ({cold[0]['total']:.0f} s in all). "
            f"The warm store makes it {faster:.2f} times faster again. {_head_line(head, 5)}",
            _floor_line(folder, source, cold[0], best, rates),
        ]
    )


def _head_line(run: dict[str, Any], epochs: int) -> str:
    return f"The steps of an epoch of the head alone cost {_head_share(run, epochs):.1%} of the first pass."


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
        f"The floor: {trunk / 1e12:.2f} Tflop below the cut at {rates['bf16'] / 1e9:,.0f} Gflop/s (bf16) and "
        f"{tail / 1e12:.2f} Tflop in the tail at {rates['fp32'] / 1e9:,.0f} Gflop/s (float32), both rates measured "
        f"in the same hour, are {least:.1f} s; the run takes {seconds / least:.2f} times that."
    )


def minilm(place: Place) -> str:
    """MiniLM on the full SMS data, whole runs."""
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
    for name, found in (
        ("finetext, all parameters", every),
        ("finetext, last block, cold store", cold),
        ("finetext, last block, warm store", warm),
        ("finetext, head alone, cold store", head),
    ):
        accuracy = f"{found['test']['accuracy']:.4f}"
        rows.append([name, f"{found['recipe']:.1f} s", accuracy, tables.gigabytes(found["peak_bytes"])])
    return "\n\n".join(
        [
            "MiniLM (22.7 M), the full SMS Spam Collection (5,574 messages, 70/10/20), batch 8, 3 epochs, "
            f"evaluations included. {tables.machine()}.",
            tables.table(["", "time", "test accuracy", "peak memory"], rows),
            f"Trainer: {stock['arithmetic']}. {_head_line(head, 3)} With batches of {DEFAULT_BATCH}, "
            f"finetext's default: {_head_share(larger, 3):.1%}.",
        ]
    )


def prediction(place: Place) -> str:
    """Prediction against transformers' pipeline."""
    source = place.sms_folder("sms-full", balanced=False)
    home = place.cold_home("predict")
    paragraphs = []
    for name, folder, texts in (
        ("MiniLM (22.7 M)", data.minilm(), 2000),
        ("GPT-2 (124 M)", place.gpt2_folder(), 2000),
    ):
        bundle = str(data.bundle(folder, place.work / f"bundle-{Path(folder).name}"))
        given: dict[str, Any] = {"folder": bundle, "source": str(source)}
        slow = measure("pipeline", home, **given, batch=1, texts=400)
        batched = measure("pipeline", home, **given, batch=32, texts=400)
        single = measure("predict", home, **given, precision="fp32", texts=texts)
        half = measure("predict", home, **given, precision="bf16", texts=texts)
        rows = [
            [
                label,
                f"{own['texts_per_second']:.0f}",
                f"{own['texts_per_second'] / slow['texts_per_second']:.1f}x",
                f"{own['texts_per_second'] / batched['texts_per_second']:.1f}x",
                tables.gigabytes(own["peak_bytes"]),
            ]
            for label, own in (
                ("pipeline, as it is", slow),
                ("pipeline, batch 32", batched),
                ("finetext, float32", single),
                ("finetext, bf16", half),
            )
        ]
        paragraphs.append(
            f"{name}, {texts:,} SMS messages (the pipeline: 400 of them); "
            f"padding {half['padding']:.1%} of the tokens."
        )
        paragraphs.append(
            tables.table(["", "texts/s", "of the pipeline", "of its batch 32", "peak memory"], rows)
        )
    return "\n\n".join([f"Labelling texts. {tables.machine()}.", *paragraphs])


def bulk(place: Place) -> str:
    """Streaming a file through a model against labelling it in memory: rate, and memory as the file grows."""
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
        given = {"folder": str(folder), "source": str(source), "target": str(target)}
        memory, streamed = [], []
        for _ in range(2):  # interleaved, so that a slow minute is slow for both
            memory.append(measure("bulk", **given, how="memory"))
            streamed.append(measure("bulk", **given, how="streamed"))
        share = statistics.median(
            own["texts_per_second"] / other["texts_per_second"]
            for own, other in zip(streamed, memory, strict=True)
        )
        rows.append(
            [
                f"{name}, {size:,} rows of {suffix}",
                f"{statistics.median(own['texts_per_second'] for own in memory):,.0f}",
                f"{statistics.median(own['texts_per_second'] for own in streamed):,.0f}",
                f"{share:.0%}",
                tables.gigabytes(max(own["peak_bytes"] for own in memory)),
                tables.gigabytes(max(own["peak_bytes"] for own in streamed)),
            ]
        )
    header = ["", "in memory, texts/s", "streamed, texts/s", "share", "peak in memory", "peak streamed"]
    return "\n\n".join(
        [
            "SMS messages in rows of a number and a text. In memory: the labelling alone, the table being there. "
            f"Streamed: looking the file through, reading, labelling, writing and syncing. {tables.machine()}.",
            tables.table(header, rows),
        ]
    )


def scaling(place: Place) -> str:
    """Cost as the data grows and as the tail grows."""
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
        found = measure("finetext", home, source=str(target), options=options)
        seconds = found["seconds"]
        grown.append(
            [
                f"{size:,}",
                f"{seconds['features']:.1f} s",
                f"{seconds['training']:.1f} s",
                f"{train / seconds['training']:.0f}",
                tables.gigabytes(found["peak_bytes"]),
            ]
        )
    tails = []
    home = place.cold_home("tails")
    for trainable in ("head", "last-block", "last-2-blocks", "last-4-blocks", "all"):
        options = {"model": str(folder), "trainable": trainable, "epochs": 1, "head_start": "none"}
        found = measure("finetext", home, source=str(place.work / "sms-4000"), options=options)
        seconds = found["seconds"]
        tails.append(
            [
                trainable,
                f"{seconds['features']:.1f} s",
                f"{seconds['training']:.1f} s",
                tables.gigabytes(found["peak_bytes"]),
            ]
        )
    return "\n\n".join(
        [
            f"MiniLM, SMS messages, batch 16, one epoch, cold store. {tables.machine()}.",
            tables.table(
                ["texts", "trunk pass", "an epoch of the last block", "trained texts/s", "peak memory"], grown
            ),
            tables.table(["trained, 4,000 texts", "trunk pass", "an epoch", "peak memory"], tails),
        ]
    )


def precision(place: Place) -> str:
    """Test accuracy from a bf16 store and from a float32 one, over three seeds."""
    rows = []
    differences = []
    for seed in (1, 2, 3):
        home = place.cold_home("precision")
        found = {}
        for store in ("bf16", "fp32"):
            arithmetic = {"precision": "fp32"} if store == "fp32" else {}
            options = {"model": str(data.minilm()), "store": store, "seed": seed, **arithmetic}
            found[store] = measure("finetext", home, source=place.sms, options=options)["test"]["accuracy"]
        differences.append(found["bf16"] - found["fp32"])
        rows.append(
            [str(seed), f"{found['bf16']:.4f}", f"{found['fp32']:.4f}", f"{differences[-1] * 100:+.2f}"]
        )
    return "\n\n".join(
        [
            "MiniLM on the full SMS data with the defaults, accuracy on the 1,115 test texts.",
            tables.table(["seed", "bf16 store", "float32 store", "difference, points"], rows),
        ]
    )


def defaults(place: Place) -> str:
    """The untuned defaults on every kind of task, beside TF-IDF and stock Trainer's three epochs."""
    from benchmarks.quality import compare

    return compare(Path(place.sets), place.work)


def judgement(place: Place) -> str:
    """What intervals, the report and a learning curve cost."""
    from benchmarks.judgement import judge

    return judge(place.work, place.sms)


def serving(place: Place) -> str:
    """`finetext serve` against a plain FastAPI endpoint that calls transformers' pipeline, and at overload."""
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
            "The same server in an open loop, which waits for no answer: Poisson arrivals at a share of the capacity, "
            f"{open_seconds:g} s each.",
            open_loop.measure(bundle, list(dict.fromkeys(texts)), open_seconds),
        ]
    )


def memory(place: Place) -> str:
    """Peak memory of every command by length of text, beside stock Trainer."""
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
