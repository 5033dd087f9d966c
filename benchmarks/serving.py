"""Throughput and latency of `finetext serve` beside a plain FastAPI endpoint that calls transformers' pipeline.

The clients form a closed loop: each sends its next text once its last one is answered. They run in this process, on
the same machine as the server, so both servers' measurements include their cost.
"""

import asyncio
import contextlib
import itertools
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import tables
from benchmarks.worker import measure

CLIENTS = (1, 8, 32, 128)
START_SECONDS = 120


@dataclass(frozen=True)
class LoadResult:
    """Throughput and latency as the clients saw them.

    Attributes:
        rate: Responses per second.
        p50: Median latency in milliseconds.
        p99: 99th percentile of the latency in milliseconds.
    """

    rate: float
    p50: float
    p99: float


def compare(bundle: Path, texts: Sequence[str], seconds: float, turns: int = 2) -> str:
    """Return a table of both servers, measured in alternation, and compare finetext's with the library alone.

    Args:
        bundle: The model's folder.
        texts: Short texts, which the clients take in turn.
        seconds: Duration of each measurement.
        turns: Measurements for each server and number of clients; the table shows their median.
    """
    finetext = [sys.executable, "-m", "finetext", "serve", str(bundle), "--device", "cpu", "--port"]
    plain = [sys.executable, "-m", "benchmarks.plain_server", str(bundle)]
    results: dict[tuple[str, int], list[LoadResult]] = {}
    alone = []
    for _ in range(turns):
        for name, command in (("finetext", finetext), ("plain", plain)):
            with running(command) as port:
                asyncio.run(load(port, texts, 4, min(2.0, seconds)))
                for clients in CLIENTS:
                    result = asyncio.run(load(port, texts, clients, seconds))
                    results.setdefault((name, clients), []).append(result)
        alone.append(measure("in process", folder=str(bundle), texts=list(texts)))
    rows = []
    for clients in CLIENTS:
        ours, theirs = (_median(results[name, clients]) for name in ("finetext", "plain"))
        rows.append(
            [
                str(clients),
                *(f"{result.rate:.0f}" for result in (ours, theirs)),
                f"{ours.rate / theirs.rate:.1f}x",
                *(f"{result.p50:.1f} / {result.p99:.1f}" for result in (ours, theirs)),
            ]
        )
    header = ["clients", "finetext, texts/s", "plain", "ratio", "finetext, p50 / p99 ms", "plain"]
    rate, of_32, lone = (
        statistics.median(result[name] for result in alone)
        for name in ("texts_per_second", "of_32", "p50_ms")
    )
    served = _median(results["finetext", 32]).rate
    return "\n\n".join(
        [
            tables.table(header, rows),
            f"The library without a server, measured in alternation with both: {rate:.0f} texts/s for a list of "
            f"{len(texts):,}, {of_32:.0f} for lists of 32. With 32 clients, the server reaches {served / rate:.0%} and "
            f"{served / of_32:.0%} of these rates. A single text takes {lone:.1f} ms (p50); the server adds "
            f"{_median(results['finetext', 1]).p50 - lone:.1f} ms.",
        ]
    )


def _median(results: Sequence[LoadResult]) -> LoadResult:
    return LoadResult(
        *np.median([(result.rate, result.p50, result.p99) for result in results], axis=0).tolist()
    )


@contextlib.contextmanager
def running(command: Sequence[str]) -> Iterator[int]:
    """Run a server for the duration of the `with` block and yield its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if name != "FINETEXT_TOKEN"}
    process = subprocess.Popen(
        [*command, str(port)],
        stderr=subprocess.DEVNULL,
        env={**environment, "TOKENIZERS_PARALLELISM": "false"},
    )
    try:
        _wait_until_ready(process, port)
        yield port
    finally:
        process.terminate()
        process.wait()


def _wait_until_ready(process: "subprocess.Popen[bytes]", port: int) -> None:
    from urllib.error import URLError
    from urllib.request import urlopen

    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(URLError, ConnectionError), urlopen(f"http://127.0.0.1:{port}/ready"):
            return
        time.sleep(0.1)
    raise RuntimeError(f"{process.args!r}: did not become ready")


async def load(port: int, texts: Sequence[str], clients: int, seconds: float) -> LoadResult:
    """Send texts one at a time from each of `clients` concurrent clients for some seconds.

    Raises:
        RuntimeError: A response had a status other than 200.
    """
    latencies: list[float] = []
    queue = itertools.cycle(texts)
    began = time.perf_counter()

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() - began < seconds:
            sent = time.perf_counter()
            writer.write(request({"text": next(queue)}))
            await receive(reader)
            latencies.append(time.perf_counter() - sent)
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(client() for _ in range(clients)))
    elapsed = time.perf_counter() - began
    milliseconds = np.array(latencies) * 1e3
    p50, p99 = np.percentile(milliseconds, [50, 99])
    return LoadResult(len(latencies) / elapsed, float(p50), float(p99))


def request(content: dict[str, Any]) -> bytes:
    """Return a request to label texts as bytes."""
    body = json.dumps(content).encode()
    head = "POST /classify HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: "
    return f"{head}{len(body)}\r\n\r\n".encode() + body


async def receive(reader: asyncio.StreamReader) -> Any:
    """Read a response.

    Raises:
        RuntimeError: Its status is not 200.
    """
    head = await reader.readuntil(b"\r\n\r\n")
    status = head.split(b" ", 2)[1]
    length = next(
        int(line.partition(b":")[2])
        for line in head.lower().split(b"\r\n")
        if line.startswith(b"content-length")
    )
    body = await reader.readexactly(length)
    if status != b"200":
        raise RuntimeError(f"status {status.decode()}: {body[:200]!r}")
    return json.loads(body)
