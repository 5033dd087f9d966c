"""`finetext serve` under open-loop load: requests arrive at a fixed rate, however fast the server responds.

A closed loop (`benchmarks.serving`) slows down with the server and so hides the effects of overload. Here arrivals are
Poisson, each request takes a free keep-alive connection or a new one, and every response is checked after the run.
"""

import asyncio
import gc
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import cycle
from pathlib import Path
from urllib.request import urlopen

import numpy as np

from benchmarks import tables
from benchmarks.serving import running

LOADS = (0.5, 1.0, 2.0, 4.0)
"""Arrival rates relative to the capacity."""
CLIENTS = 64
"""Clients in the closed loop that measures the capacity."""
IDLE_SECONDS = 2.0
"""An idle connection is not reused after this time; the server closes it after 5 seconds."""
GRACE_SECONDS = 60.0
"""Time to wait for outstanding responses after the last request."""
TOLERANCE = 1e-5
"""Largest accepted difference between two probabilities."""
ROUTES = ("/classify", "/predict")
"""Every fifth request goes to the second of these."""
RESIDENT = "process_resident_memory_bytes"

Expected = dict[str, dict[str, float]]
"""Each text's probability of each label, from the library."""


@dataclass(eq=False)
class Request:
    """A request and its response.

    Attributes:
        route: Path of the request.
        text: The text to label.
        due: When it was due to be sent, in seconds of `time.perf_counter`.
        answered: When the response was complete, None before that.
        status: Status of the response.
        retry_after: The response's `Retry-After` header, None if it has none.
        body: Body of the response.
    """

    route: str
    text: str
    due: float
    answered: float | None = None
    status: int | None = None
    retry_after: str | None = None
    body: bytes = b""


@dataclass
class Tally:
    """The requests of a run and their outcomes.

    Attributes:
        requests: All requests that were sent.
        seconds: Time from the first arrival to the last.
        unexpected: Number of times that bytes arrived on a connection with no request outstanding.
    """

    requests: list[Request] = field(default_factory=list)
    seconds: float = 0.0
    unexpected: int = 0

    @property
    def statuses(self) -> Counter[int]:
        """Number of responses by status."""
        return Counter(request.status for request in self.requests if request.status is not None)

    @property
    def answers(self) -> Counter[tuple[str, int]]:
        """Number of responses by route and status."""
        return Counter(
            (request.route, request.status) for request in self.requests if request.status is not None
        )

    @property
    def lost(self) -> int:
        """Number of requests without a response."""
        return sum(request.status is None for request in self.requests)

    def latencies(self, *statuses: int) -> list[float]:
        """Return the milliseconds from each request's due time to its response, for these statuses."""
        answered = (request for request in self.requests if request.status in statuses)
        return [
            (request.answered - request.due) * 1e3 for request in answered if request.answered is not None
        ]

    def served(self, began: float) -> float:
        """Return the successful responses per second during the arrivals."""
        until = began + self.seconds
        return (
            sum(request.status == 200 and (request.answered or until) < until for request in self.requests)
            / self.seconds
        )


class _Connection(asyncio.Protocol):
    """A keep-alive connection with at most one outstanding request."""

    def __init__(self, pool: "Pool") -> None:
        self._pool = pool
        self._request: Request | None = None
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self.free_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def send(self, request: Request) -> None:
        assert self._transport is not None
        self._request = request
        self._transport.write(message(request.route, request.text))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        length = _header(head, b"content-length") if end else None
        if length is None or len(rest) < int(length):
            return
        request, self._request, self._buffer = self._request, None, b""
        if request is None or len(rest) > int(length):
            self._pool.tally.unexpected += 1
            return
        request.answered = time.perf_counter()
        request.status = int(head[9:12])
        after = _header(head, b"retry-after")
        request.retry_after = after.decode() if after else None
        request.body = rest
        self.free_since = 0.0 if _header(head, b"connection") == b"close" else request.answered
        self._pool.take_back(self, request)

    def connection_lost(self, error: Exception | None) -> None:
        if self._request is not None:
            self._pool.lose()
        elif self._buffer:
            self._pool.tally.unexpected += 1
        self._pool.forget(self)

    @property
    def usable(self) -> bool:
        """Whether the server certainly still keeps it open."""
        assert self._transport is not None
        return not self._transport.is_closing() and time.perf_counter() - self.free_since < IDLE_SECONDS

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def _header(head: bytes, name: bytes) -> bytes | None:
    # Compares the name as uvicorn writes it: the load generator shares the server's cores and must be cheap.
    _, separator, rest = head.partition(b"\r\n" + name + b": ")
    return rest.partition(b"\r\n")[0] if separator else None


class Pool:
    """The open connections, and the tally of their requests."""

    def __init__(self, port: int, after: Callable[[_Connection], None] | None = None) -> None:
        """Create a pool for a port; `after` is called with each connection whose request has been answered."""
        self.tally = Tally()
        self._port = port
        self._after = after
        self._free: list[_Connection] = []
        self._all: set[_Connection] = set()
        self._under_way = 0
        self._starting: set[asyncio.Task[None]] = set()

    def start(self, text: str, due: float) -> None:
        """Send a request on a free or new connection without waiting."""
        request = Request(ROUTES[len(self.tally.requests) % 5 == 4], text, due)
        self.tally.requests.append(request)
        self._under_way += 1
        while self._free:
            connection = self._free.pop()
            if connection.usable:
                return connection.send(request)
            connection.close()
        task = asyncio.ensure_future(self._open(request))
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    async def _open(self, request: Request) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(lambda: _Connection(self), "127.0.0.1", self._port)
        except OSError:
            return self.lose()
        self._all.add(connection)
        connection.send(request)

    def take_back(self, connection: _Connection, request: Request) -> None:
        """Return a connection whose request has been answered to the pool."""
        self._under_way -= 1
        self._free.append(connection)
        if self._after is not None:
            self._after(connection)

    def lose(self) -> None:
        """Record that a request will never be answered."""
        self._under_way -= 1

    def forget(self, connection: _Connection) -> None:
        """Remove a closed connection."""
        self._all.discard(connection)
        if connection in self._free:
            self._free.remove(connection)

    async def finish(self, seconds: float = GRACE_SECONDS) -> None:
        """Wait for outstanding responses, then close the connections."""
        until = time.perf_counter() + seconds
        while self._under_way and time.perf_counter() < until:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)  # lets unexpected bytes arrive
        for connection in list(self._all):
            connection.close()
        await asyncio.sleep(0)


@cache
def message(route: str, text: str) -> bytes:
    """Return a request as bytes."""
    body = json.dumps({"text" if route == "/classify" else "inputs": text}).encode()
    kind = "Host: 127.0.0.1\r\nContent-Type: application/json"
    return f"POST {route} HTTP/1.1\r\n{kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def arrivals(rate: float, seconds: float, seed: int, poisson: bool = True) -> list[float]:
    """Return the arrival times in seconds, from a Poisson process or evenly spaced."""
    count = int(rate * seconds)
    if not poisson:
        return [number / rate for number in range(count)]
    times = np.cumsum(np.random.default_rng(seed).exponential(1 / rate, 2 * count + 100))
    return times[times < seconds].tolist()


async def open_loop(port: int, texts: Sequence[str], moments: Sequence[float]) -> tuple[Tally, float]:
    """Send the texts in turn at the given moments; return the tally and the start time."""
    pool = Pool(port)
    queue = cycle(texts)
    gc.disable()  # a collection takes long with torch loaded, and would be counted as the server's latency
    try:
        began = time.perf_counter()
        for moment in moments:
            await asyncio.sleep(max(0.0, began + moment - time.perf_counter()))
            while (left := began + moment - time.perf_counter()) > 0:
                await asyncio.sleep(left)
            pool.start(next(queue), began + moment)
        pool.tally.seconds = time.perf_counter() - began
        await pool.finish()
    finally:
        gc.enable()
    return pool.tally, began


async def closed_loop(port: int, texts: Sequence[str], clients: int, seconds: float) -> float:
    """Return the successful responses per second of clients that each send a request once their last is answered."""
    queue = cycle(texts)
    until = time.perf_counter() + seconds

    def ask(_: _Connection) -> None:
        if (now := time.perf_counter()) < until:
            pool.start(next(queue), now)

    pool = Pool(port, ask)
    began = time.perf_counter()
    for _ in range(clients):
        pool.start(next(queue), began)
    await asyncio.sleep(seconds)
    pool.tally.seconds = seconds
    await pool.finish()
    return pool.tally.served(began)


def wrong_answers(tally: Tally, expected: Expected) -> int:
    """Count the 200 responses whose probabilities are not those of their request's text."""
    return sum(
        not _is_right(request, expected[request.text]) for request in tally.requests if request.status == 200
    )


def _is_right(request: Request, expected: dict[str, float]) -> bool:
    answer = json.loads(request.body)
    if request.route == "/classify":
        if len(answer["predictions"]) != 1:
            return False
        answer = answer["predictions"][0]["scores"]
    scores = {entry["label"]: entry["score"] for entry in answer}
    return scores.keys() == expected.keys() and all(
        abs(scores[label] - score) <= TOLERANCE for label, score in expected.items()
    )


def read_metrics(port: int) -> dict[str, float]:
    """Return the server's `/metrics` as values by name."""
    with urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        page = answer.read().decode()
    return {name: float(value) for name, value in re.findall(r"^([a-z]\S+) (\S+)$", page, re.MULTILINE)}


def counted(before: dict[str, float], after: dict[str, float]) -> Counter[tuple[str, int]]:
    """Return the increase of the server's request counters, by route and status."""
    rises = Counter[tuple[str, int]]()
    for name, value in after.items():
        match = re.fullmatch(r'finetext_requests_total\{route="(.+)",status="(\d+)"\}', name)
        if match is not None and match[1] in ROUTES:
            rises[match[1], int(match[2])] = round(value - before.get(name, 0))
    return +rises


def measure(bundle: Path, texts: Sequence[str], seconds: float, loads: Sequence[float] = LOADS) -> str:
    """Return a table with the outcomes of the requests at each load.

    Args:
        bundle: The model's folder.
        texts: Distinct short texts, sent in turn.
        seconds: Duration of each load.
        loads: Arrival rates relative to the capacity.
    """
    expected = predict(bundle, texts)
    with running(
        [sys.executable, "-m", "finetext", "serve", str(bundle), "--device", "cpu", "--port"]
    ) as port:
        ready = read_metrics(port)[RESIDENT]
        # Warm up with every load, so that queues and caches reach their full size; later growth would be a leak.
        rate = asyncio.run(closed_loop(port, texts, CLIENTS, seconds / 4))
        for load in loads:
            asyncio.run(open_loop(port, texts, arrivals(load * rate, seconds / 4, seed=0)))
        capacity = asyncio.run(closed_loop(port, texts, CLIENTS, seconds / 2))
        rows = [_row(port, texts, expected, load, capacity, seconds) for load in loads]
    header = [
        *("load", "sent", "200", "429", "503", "other or lost", "wrong", "accepted, p50 / p99 ms"),
        *("refused, p99 ms", "served, of capacity", "memory before / after, MB", "counters equal"),
    ]
    text = (
        f"Capacity, measured with a closed loop of {CLIENTS} clients: {capacity:.0f} texts/s. Each load followed "
        f"a warm-up of {seconds / 4:g} s; the server took {ready / 1e6:.0f} MB when it became ready."
    )
    return f"{text}\n\n{tables.table(header, rows)}"


def _row(
    port: int, texts: Sequence[str], expected: Expected, load: float, capacity: float, seconds: float
) -> list[str]:
    before = read_metrics(port)
    tally, began = asyncio.run(open_loop(port, texts, arrivals(load * capacity, seconds, seed=1)))
    after = read_metrics(port)
    statuses = tally.statuses
    accepted, refused = tally.latencies(200), tally.latencies(429, 503)
    return [
        f"{load:g}x",
        str(len(tally.requests)),
        *(str(statuses[code]) for code in (200, 429, 503)),
        str(len(tally.requests) - sum(statuses[code] for code in (200, 429, 503)) + tally.unexpected),
        str(wrong_answers(tally, expected)),
        "{:.0f} / {:.0f}".format(*np.percentile(accepted, [50, 99])),
        f"{np.percentile(refused, 99):.0f}" if refused else "-",
        f"{tally.served(began) / capacity:.0%}",
        f"{before[RESIDENT] / 1e6:.0f} / {after[RESIDENT] / 1e6:.0f}",
        "yes" if counted(before, after) == tally.answers else "no",
    ]


def predict(bundle: Path, texts: Sequence[str]) -> Expected:
    """Return the library's probabilities of the texts."""
    import finetext

    classifier = finetext.load(bundle, device="cpu")
    rows = classifier.predict_proba(texts).tolist()
    return {
        text: dict(zip(classifier.class_names, row, strict=True))
        for text, row in zip(texts, rows, strict=True)
    }
