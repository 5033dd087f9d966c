"""`finetext serve` under a load that does not wait: requests come at a rate of their own, whatever the server does.

A closed loop (`benchmarks.serving`) slows down with the server and so hides what overload does. Here arrivals are
Poisson, each request takes a free kept-alive connection or a new one, and every answer is checked after the run.
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
"""Of the capacity."""
CLIENTS = 64
"""Of the closed loop that measures the capacity."""
IDLE_SECONDS = 2.0
"""After which a connection is not used again: the server closes it after 5."""
GRACE_SECONDS = 60.0
"""For the answers to what was sent last."""
TOLERANCE = 1e-5
"""Largest difference of a probability."""
ROUTES = ("/classify", "/predict")
"""Every fifth request goes to the second."""
RESIDENT = "process_resident_memory_bytes"

Expected = dict[str, dict[str, float]]
"""Each text's probability of each label, from the library."""


@dataclass(eq=False)
class Request:
    """A request and its answer.

    Attributes:
        route: Where it goes.
        text: What is sent.
        due: When it had to be sent, in seconds of `time.perf_counter`.
        answered: When its answer was there, None while it is not.
        status: The answer's.
        retry_after: The answer's header, None if it has none.
        body: The answer's.
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
    """What became of the requests.

    Attributes:
        requests: All that were sent.
        seconds: From the first arrival to the end of arrivals.
        stray: Bytes that came when no answer was due, or answers that came twice.
    """

    requests: list[Request] = field(default_factory=list)
    seconds: float = 0.0
    stray: int = 0

    @property
    def statuses(self) -> Counter[int]:
        """Answers by status."""
        return Counter(own.status for own in self.requests if own.status is not None)

    @property
    def answers(self) -> Counter[tuple[str, int]]:
        """Answers by route and status."""
        return Counter((own.route, own.status) for own in self.requests if own.status is not None)

    @property
    def lost(self) -> int:
        """Requests that were never answered."""
        return sum(own.status is None for own in self.requests)

    def latencies(self, *statuses: int) -> list[float]:
        """Return milliseconds from when each request was due to its answer."""
        answered = (own for own in self.requests if own.status in statuses)
        return [(own.answered - own.due) * 1e3 for own in answered if own.answered is not None]

    def served(self, began: float) -> float:
        """Return right answers a second while requests still came."""
        until = began + self.seconds
        return (
            sum(own.status == 200 and (own.answered or until) < until for own in self.requests) / self.seconds
        )


class _Connection(asyncio.Protocol):
    """A kept-alive connection with at most one request under way."""

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
            self._pool.tally.stray += 1
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
            self._pool.tally.stray += 1
        self._pool.forget(self)

    @property
    def usable(self) -> bool:
        """Whether the server surely keeps it open."""
        assert self._transport is not None
        return not self._transport.is_closing() and time.perf_counter() - self.free_since < IDLE_SECONDS

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def _header(head: bytes, name: bytes) -> bytes | None:
    # Named as uvicorn writes it: the generator works on the server's cores and has to be cheap.
    _, found, rest = head.partition(b"\r\n" + name + b": ")
    return rest.partition(b"\r\n")[0] if found else None


class Pool:
    """The connections, and what they have seen."""

    def __init__(self, port: int, after: Callable[[_Connection], None] | None = None) -> None:
        """Take the server's port, and what is called with a connection that has its answer (or keeps it free)."""
        self.tally = Tally()
        self._port = port
        self._after = after
        self._free: list[_Connection] = []
        self._all: set[_Connection] = set()
        self._under_way = 0
        self._starting: set[asyncio.Task[None]] = set()

    def start(self, text: str, due: float) -> None:
        """Send a request on a free connection, or on a new one, without waiting for anything."""
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
        """Take a connection whose request is answered."""
        self._under_way -= 1
        self._free.append(connection)
        if self._after is not None:
            self._after(connection)

    def lose(self) -> None:
        """Note that a request will never be answered."""
        self._under_way -= 1

    def forget(self, connection: _Connection) -> None:
        """Take out a connection that is closed."""
        self._all.discard(connection)
        if connection in self._free:
            self._free.remove(connection)

    async def finish(self, seconds: float = GRACE_SECONDS) -> None:
        """Wait for the answers that are still due, and close the connections."""
        until = time.perf_counter() + seconds
        while self._under_way and time.perf_counter() < until:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)  # for what should not come any more
        for connection in list(self._all):
            connection.close()
        await asyncio.sleep(0)


@cache
def message(route: str, text: str) -> bytes:
    """Return the bytes of a request."""
    body = json.dumps({"text" if route == "/classify" else "inputs": text}).encode()
    kind = "Host: 127.0.0.1\r\nContent-Type: application/json"
    return f"POST {route} HTTP/1.1\r\n{kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def arrivals(rate: float, seconds: float, seed: int, poisson: bool = True) -> list[float]:
    """Return the seconds at which requests come, Poisson or evenly."""
    count = int(rate * seconds)
    if not poisson:
        return [number / rate for number in range(count)]
    times = np.cumsum(np.random.default_rng(seed).exponential(1 / rate, 2 * count + 100))
    return times[times < seconds].tolist()


async def open_loop(port: int, texts: Sequence[str], moments: Sequence[float]) -> tuple[Tally, float]:
    """Send the texts one after the other at the moments, and return what became of them, and when it began."""
    pool = Pool(port)
    queue = cycle(texts)
    gc.disable()  # a pass of the collector, with torch loaded, would be taken for the server's
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
    """Return the right answers a second that so many clients get, each asking when it has its last answer."""
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
    """Return how many answers of 200 have other probabilities than their own text's."""
    return sum(not _is_right(own, expected[own.text]) for own in tally.requests if own.status == 200)


def _is_right(request: Request, expected: dict[str, float]) -> bool:
    answer = json.loads(request.body)
    if request.route == "/classify":
        if len(answer["predictions"]) != 1:
            return False
        answer = answer["predictions"][0]["scores"]
    found = {own["label"]: own["score"] for own in answer}
    return found.keys() == expected.keys() and all(
        abs(found[label] - score) <= TOLERANCE for label, score in expected.items()
    )


def figures(port: int) -> dict[str, float]:
    """Return what `/metrics` gives."""
    with urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        page = answer.read().decode()
    return {name: float(value) for name, value in re.findall(r"^([a-z]\S+) (\S+)$", page, re.MULTILINE)}


def counted(before: dict[str, float], after: dict[str, float]) -> Counter[tuple[str, int]]:
    """Return by how much the server's counters of the routes rose, by route and status."""
    rises = Counter[tuple[str, int]]()
    for name, value in after.items():
        found = re.fullmatch(r'finetext_requests_total\{route="(.+)",status="(\d+)"\}', name)
        if found is not None and found[1] in ROUTES:
            rises[found[1], int(found[2])] = round(value - before.get(name, 0))
    return +rises


def measure(bundle: Path, texts: Sequence[str], seconds: float, loads: Sequence[float] = LOADS) -> str:
    """Return the table: each load's requests by what became of them.

    Args:
        bundle: The model's folder.
        texts: Different short texts; they are sent one after the other.
        seconds: Time of each load, and of the measurement of the capacity.
        loads: Arrivals a second, of the capacity.
    """
    expected = predict(bundle, texts)
    with running(
        [sys.executable, "-m", "finetext", "serve", str(bundle), "--device", "cpu", "--port"]
    ) as port:
        ready = figures(port)[RESIDENT]
        # Once through everything, so that queue and caches have their size: what grows then would grow for ever.
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
        f"Capacity, from a closed loop of {CLIENTS} clients: {capacity:.0f} texts/s. Each load ran for "
        f"{seconds / 4:g} s before; when it was ready the server had {ready / 1e6:.0f} MB."
    )
    return f"{text}\n\n{tables.table(header, rows)}"


def _row(
    port: int, texts: Sequence[str], expected: Expected, load: float, capacity: float, seconds: float
) -> list[str]:
    before = figures(port)
    tally, began = asyncio.run(open_loop(port, texts, arrivals(load * capacity, seconds, seed=1)))
    after = figures(port)
    statuses = tally.statuses
    accepted, refused = tally.latencies(200), tally.latencies(429, 503)
    return [
        f"{load:g}x",
        str(len(tally.requests)),
        *(str(statuses[code]) for code in (200, 429, 503)),
        str(len(tally.requests) - sum(statuses[code] for code in (200, 429, 503)) + tally.stray),
        str(wrong_answers(tally, expected)),
        "{:.0f} / {:.0f}".format(*np.percentile(accepted, [50, 99])),
        f"{np.percentile(refused, 99):.0f}" if refused else "-",
        f"{tally.served(began) / capacity:.0%}",
        f"{before[RESIDENT] / 1e6:.0f} / {after[RESIDENT] / 1e6:.0f}",
        "yes" if counted(before, after) == tally.answers else "no",
    ]


def predict(bundle: Path, texts: Sequence[str]) -> Expected:
    """Return the library's probabilities."""
    import finetext

    classifier = finetext.load(bundle, device="cpu")
    rows = classifier.predict_proba(texts).tolist()
    return {
        text: dict(zip(classifier.class_names, row, strict=True))
        for text, row in zip(texts, rows, strict=True)
    }
