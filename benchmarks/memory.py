"""Peak memory by text length, and memory growth, of the commands as users start them, sampled from outside."""

import asyncio
import csv
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks import data, tables
from benchmarks.serving import receive, request, running
from benchmarks.worker import OFFLINE, measure
from finetext.training.history import STEP_COLUMNS

EPOCHS = 4
PART = 2500
"""Texts taken of each data set, unless run with `--full`."""
INTERVAL_SECONDS = 0.05
SWEEP = """
[train]
epochs = 2
[sweep]
method = "random"
trials = 2
[sweep.space]
learning_rate = {low = 1e-4, high = 1e-3, log = true}
"""


@dataclass(frozen=True)
class Usage:
    """The memory of a process.

    Attributes:
        peak: Peak resident memory in bytes, including mapped files.
        growth: Relative growth of the anonymous memory from the second quarter to the last; None if unknown.
    """

    peak: int
    growth: float | None

    def __str__(self) -> str:
        return tables.gigabytes(self.peak) + ("" if self.growth is None else f" ({self.growth:+.0%})")


def memory_table(sets: Path, work: Path, messages: list[tuple[str, str]], full: bool) -> str:
    """Return a table with a row for each text length."""
    news = sets / "ag_news" / "test.csv"
    lengths = {"SMS": messages, "AG News": ag_news(news, 1), "AG News, three joined": ag_news(news, 3)}
    rows = []
    for number, (name, examples) in enumerate(lengths.items()):
        folder = work / f"memory-{number}"
        source = folder / "data"
        data.write_splits(examples if full else examples[:PART], source, (0.7, 0.1))
        stock_options = {"trainable": "all", "epochs": EPOCHS, "batch": 16, "steps": None if full else 60}
        stock = measure("stock", folder=str(data.minilm()), source=str(source), **stock_options)
        usages = [Usage(stock["peak_bytes"], None), *_commands(folder, source, 60.0 if full else 20.0)]
        rows.append([name, *map(str, usages)])
    return "\n\n".join(
        [
            f"MiniLM (22.7 M) with the defaults: batch 16, {EPOCHS} epochs (stock Trainer trains all layers). Peak "
            "resident memory, and in brackets the growth of anonymous memory from the second epoch (or quarter of the "
            f"running time) to the last. {tables.machine()}.",
            tables.table(["texts", "stock Trainer", "train", "predict", "curve", "sweep", "serve"], rows),
        ]
    )


def ag_news(path: Path, joined: int) -> list[tuple[str, str]]:
    """Return the stories of AG News' test file, shuffled, with `joined` stories of a class in each text."""
    stories: dict[str, list[str]] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            stories.setdefault(row["label"], []).append(row["text"])
    texts = [
        (" ".join(of_class[start : start + joined]), label)
        for label, of_class in stories.items()
        for start in range(0, len(of_class) - joined + 1, joined)
    ]
    return data.shuffled(texts)


def _commands(folder: Path, source: Path, serving_seconds: float) -> Iterator[Usage]:
    run, settings = folder / "run", folder / "sweep.toml"
    settings.write_text(SWEEP, encoding="utf-8")
    yield _run_command(
        folder, "train", source, "--epochs", EPOCHS, "--output", run, history=run / "history.csv"
    )
    yield _run_command(
        folder, "predict", run, "--file", source / "train.csv", "--output", folder / "labelled.csv"
    )
    sizes = ("--sizes", "64,256", "--test-size", 200)  # the joined stories leave few texts to test on
    curve = _run_command(folder, "curve", source, *sizes, "--output", folder / "curve")
    yield Usage(curve.peak, None)  # without growth: its later subsets are larger
    yield _run_command(folder, "sweep", source, "--config", settings, "--output", folder / "sweep")
    yield _serve(run, data.read_splits(source)["train"][0], serving_seconds)


def _run_command(folder: Path, *words: object, history: Path | None = None) -> Usage:
    """Run a command and return its memory usage.

    Raises:
        RuntimeError: The command failed; the message ends with the tail of its output.
    """
    environment = {**os.environ, **OFFLINE, "FINETEXT_HOME": str(folder / "home")}
    command = [sys.executable, "-m", "finetext", *map(str, words)]
    with tempfile.TemporaryFile("w+", encoding="utf-8") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
        sampler = _Sampler(process.pid, history)
        if process.wait():
            log.seek(0)
            raise RuntimeError(f"{' '.join(command)}: {log.read()[-2000:]}")
    return sampler.usage()


class _Sampler(threading.Thread):
    """Samples the memory of a process until it ends or `stop` is set."""

    def __init__(self, pid: int, history: Path | None = None) -> None:
        super().__init__()
        self.stop = threading.Event()
        self._pid, self._history = pid, history
        self._peak = 0
        self._samples: list[tuple[int, int]] = []  # epoch, bytes
        self.start()

    def run(self) -> None:
        while not self.stop.wait(INTERVAL_SECONDS):
            try:
                status = Path(f"/proc/{self._pid}/status").read_text(encoding="utf-8")
            except (FileNotFoundError, ProcessLookupError):
                return
            sizes = dict(line.split(":", 1) for line in status.splitlines())
            if "VmHWM" not in sizes:  # a zombie: it has exited but has not been waited for
                return
            high, anonymous = (1024 * int(sizes[name].split()[0]) for name in ("VmHWM", "RssAnon"))
            self._peak = max(self._peak, high)
            self._samples.append((self._epoch(), anonymous))

    def usage(self) -> Usage:
        self.join()
        if self._history is None:
            quarter = len(self._samples) // 4
            second, last = self._samples[quarter : 2 * quarter], self._samples[3 * quarter :]
        else:
            second, last = (
                [sample for sample in self._samples if sample[0] == epoch] for epoch in (2, EPOCHS)
            )
        if not second or not last:
            return Usage(self._peak, None)
        return Usage(self._peak, max(b for _, b in last) / max(b for _, b in second) - 1)

    def _epoch(self) -> int:
        """Return the current epoch, counted from 1; 0 before training begins, one past the last when it is over."""
        if self._history is None or not self._history.is_file():
            return 0
        with self._history.open(encoding="utf-8", newline="") as file:
            *_, last = [["", ""], *csv.reader(file)]
        evaluated = any(last[len(STEP_COLUMNS) :])
        return int(last[1]) + evaluated if last[1:] and last[1].isdigit() else 0


def _serve(bundle: Path, texts: list[str], seconds: float) -> Usage:
    command = [sys.executable, "-m", "finetext", "serve", str(bundle), "--device", "cpu", "--port"]
    with running(command) as port:
        server = next(child for child in psutil.Process().children() if "serve" in child.cmdline())
        sampler = _Sampler(server.pid)
        asyncio.run(_send(port, texts, seconds))
        sampler.stop.set()
        return sampler.usage()


async def _send(port: int, texts: list[str], seconds: float) -> None:
    """Send lists of 1 to 64 texts of mixed lengths from four concurrent clients."""
    ends = time.monotonic() + seconds

    async def client(seed: int) -> None:
        draw = random.Random(seed)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.monotonic() < ends:
            writer.write(request({"texts": draw.sample(texts, draw.choice((1, 4, 16, 64)))}))
            await receive(reader)
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*map(client, range(4)))
