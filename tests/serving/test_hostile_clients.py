"""Endless bodies, slow clients and thousands of malformed requests are refused, and reveal no internals."""

import asyncio
import contextlib
import gzip
import itertools
import json
import random
import re
import select
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

import servers

pytestmark = pytest.mark.slow

LIMIT = 200_000
GIGABYTE = 1 << 30
SECONDS = 1.5
WORK = ("/classify", "/explain", "/predict")
INSIDE = re.compile(rb'Traceback|File "|\.py\b|/tmp|/home|site-packages|pydantic|[a-z]Error\b|Exception')


@pytest.fixture(scope="module")
def server(tmp_path_factory, bundles):
    log = tmp_path_factory.mktemp("log") / "log"
    flags = [f"--max-body={LIMIT}", f"--timeout-seconds={SECONDS}", "--max-texts=3000"]
    with servers.Server(log, bundles("spam"), *flags) as running:
        yield running


def head(*lines, path="/classify", kind="application/json"):
    head_lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Type: {kind}", *lines]
    return ("\r\n".join(head_lines) + "\r\n\r\n").encode()


def frame(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


ZEROS = gzip.compress(b"\0" * 50_000_000)  # 50 kB
ENDLESS = {
    "declared": (413, head(f"Content-Length: {GIGABYTE}"), b"a" * 65536),
    "chunked": (413, head("Transfer-Encoding: chunked"), frame(b"a" * 65536)),
    "byte by byte": (413, head("Transfer-Encoding: chunked"), frame(b"a") * 8192),
    "gzip bomb": (415, head("Content-Encoding: gzip", "Transfer-Encoding: chunked"), frame(ZEROS)),
    "not JSON": (415, head(f"Content-Length: {GIGABYTE}", kind="text/plain"), b"a" * 65536),
    "elsewhere": (404, head(f"Content-Length: {GIGABYTE}", path="/nothing"), b"a" * 65536),
    "by another method": (405, head(f"Content-Length: {GIGABYTE}", path="/health"), b"a" * 65536),
    "head": (400, b"POST /classify HTTP/1.1\r\nHost: localhost\r\nX: ", b"a" * 65536),
    "many headers": (400, b"POST /classify HTTP/1.1\r\nHost: localhost\r\n", b"X: a\r\n" * 8192),
    "path": (400, b"GET /", b"a" * 65536),
    "chunk extension": (None, head("Transfer-Encoding: chunked") + b"1;", b"a" * 65536),
    "trailers": (None, head("Transfer-Encoding: chunked") + frame(b"1") + b"0\r\n", b"X: a\r\n" * 8192),
    "empty lines": (400, b"\r\n", b"\r\n" * 32768),
}


def pour(port, first, then, most=GIGABYTE, seconds=20):
    """Send `then` repeatedly until the server closes; return the number of bytes sent, and the response."""
    sent, answer, until = 0, b"", time.monotonic() + seconds
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(first)
        connection.setblocking(False)
        left = memoryview(b"")
        while sent < most and time.monotonic() < until:
            readable, writable, _ = select.select([connection], [connection], [], 1)
            try:
                if readable:
                    chunk = connection.recv(65536)
                    answer += chunk
                    if not chunk:
                        return sent, answer
                if writable:
                    left = left or memoryview(then)
                    done = connection.send(left)
                    left, sent = left[done:], sent + done
            except OSError:
                return sent, answer
    raise AssertionError(f"the server took {sent} bytes and did not close")


@pytest.mark.skipif(sys.platform != "linux", reason="counts what a process reads as Linux does")
@pytest.mark.parametrize("kind", ENDLESS)
def test_endless_requests_are_refused_before_much_is_read(server, kind):
    status, first, then = ENDLESS[kind]
    process = psutil.Process(server.process.pid)
    before = process.io_counters().read_chars
    server.post("/classify", b" " * LIMIT)
    # `read_chars` must include bytes received from sockets.
    assert process.io_counters().read_chars - before >= LIMIT
    before = process.io_counters().read_chars
    sent, answer = pour(server.port, first, then)
    read = process.io_counters().read_chars - before
    print(f"{kind}: read {read}, sent {sent}")
    # The limit, the same amount discarded, and what one system call reads (64 to 256 kB).
    frames = 6 if kind == "byte by byte" else 1
    assert read < 2 * frames * LIMIT + 700_000
    assert sent < 30_000_000  # the same, plus the operating system's buffers
    if status is not None and answer:  # a reset may overtake the response
        assert answer.startswith(b"HTTP/1.1 %d " % status)
    server.settle("finetext_in_flight_requests", 0)


def tracebacks(server):
    return [line for line in server.lines() if "exception" in line]


def test_slow_clients_time_out_and_delay_no_others(server):
    body = json.dumps({"text": "tea at four " * 40}).encode()
    length = f"Content-Length: {len(body)}"
    whole = head(length) + body
    with contextlib.ExitStack() as closing:
        opened = [
            closing.enter_context(socket.create_connection(("127.0.0.1", server.port))) for _ in range(60)
        ]
        for number, client in enumerate(opened):
            if number % 3 == 1:
                client.sendall(head(length))
            elif number % 3 == 2:  # their first request is fast
                client.sendall(whole)
                assert client.recv(65536).startswith(b"HTTP/1.1 200")
        alive = dict(enumerate(opened))
        answers = Counter()
        waits = []
        began = time.monotonic()
        for place in itertools.count():
            for number, client in list(alive.items()):
                answer = answered(client)
                if answer is not None:
                    answers[number % 3, answer[9:12]] += 1
                    del alive[number]
                    continue
                sent = body if number % 3 == 1 else whole
                with contextlib.suppress(OSError):  # closed meanwhile: its response is read next
                    client.sendall(sent[place : place + 1])
            if not alive:
                break
            asked = time.monotonic()
            assert server.ask("GET", "/health")[0] == 200
            waits.append(time.monotonic() - asked)
            assert time.monotonic() - began < 20 and place < len(body)
            time.sleep(0.02)
    print(f"/health meanwhile: {1e3 * max(waits):.0f} ms at most, {len(waits)} times")
    assert max(waits) < 2 and len(waits) > 10
    assert answers[1, b"408"] == 20 and not {b"200", b"400"} & {status for _, status in answers}
    server.settle("finetext_in_flight_requests", 0)


def answered(connection):
    """Return what the server has sent so far; None while it waits for more."""
    if not select.select([connection], [], [], 0)[0]:
        return None
    try:
        return connection.recv(65536)
    except OSError:
        return b""


def test_a_client_that_does_not_read_its_responses_times_out(server):
    body = json.dumps({"texts": ["a"] * 3000}).encode()
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", server.port))
        connection.sendall((head(f"Content-Length: {len(body)}") + body) * 20)
        time.sleep(SECONDS)
        server.settle("finetext_in_flight_requests", 0, seconds=20)
    assert not tracebacks(server)


def test_too_many_pipelined_requests_end_the_connection(server):
    one = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(one * 50)
        answer = b""
        while answer.count(b"HTTP/1.1 200 OK") < 50:
            answer += connection.recv(65536)
    sent, answer = pour(server.port, one, one * 1000, most=50_000_000)
    assert sent < 30_000_000 and not answer.replace(b"HTTP/1.1 200 OK", b"").count(b"HTTP/1.1 5")


def exchange(server, request):
    """Return everything received until the connection is closed."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=SECONDS + 5) as connection:
        connection.sendall(request)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    return answer


def test_malformed_input_does_not_prevent_responses_to_earlier_requests(server):
    body = b'{"text": "tea"}'
    good = head(f"Content-Length: {len(body)}") + body
    answer = exchange(server, good + b"\x00\x01 no request\r\n\r\n")
    assert (
        answer.startswith(b"HTTP/1.1 200") and b'"predictions"' in answer and answer.count(b"HTTP/1.1") == 1
    )
    answer = exchange(server, good + good + head("Transfer-Encoding: chunked") + b"x\r\n")
    assert answer.count(b"HTTP/1.1 200") <= 2 and not answer.count(b"HTTP/1.1 5")
    answer = exchange(server, head("Transfer-Encoding: chunked") + b"x\r\n")
    assert answer.startswith(b"HTTP/1.1 400") and answer.count(b"HTTP/1.1") == 1
    server.settle("finetext_in_flight_requests", 0)
    assert not tracebacks(server)


@pytest.fixture(scope="module")
def documented(server):
    paths = server.ask("GET", "/openapi.json")[2]["paths"]
    return {path: {int(status) for status in paths[path]["post"]["responses"]} for path in WORK}


def wrong_value(pick):
    leaf = [None, True, -1, 1.5, 10**25, "", "a", "\ud800", [], {}, [[]], ["a", 1], {"text": "a"}]
    return pick.choice(
        [*leaf, [pick.choice(leaf)] * pick.randrange(5), {pick.choice("abc"): pick.choice(leaf)}]
    )


def wrong_body(good, field, pick):
    """Return a random body that is invalid, or nearly valid."""
    match pick.randrange(5):
        case 0:
            return good[: pick.randrange(len(good))]
        case 1:
            return flipped(good, pick)
        case 2:
            names = ["text", "texts", "inputs", "label", "top_k", "model", "truncate", "raw_scores", "x"]
            chosen = pick.sample(names, pick.randrange(1, 5))
            return json.dumps({name: wrong_value(pick) for name in chosen}).encode()
        case 3:
            opening = pick.choice([b"[", b'{"text":', b'{"texts":[', b'{"inputs":[[', b'[{"a":'])
            return opening * pick.randrange(1, 2 * LIMIT // len(opening) // pick.choice([1, 10, 1000])) + b"1"
        case _:
            coding = pick.choice(["utf-16", "utf-32", "utf-8-sig", "latin-1", "utf-7", "cp037"])
            return json.dumps({field: "née \u02bbokina"}, ensure_ascii=False).encode(coding, errors="replace")


def wrong_framing(good, path, pick):
    """Return a random request with a wrong length, chunk, content type or encoding."""
    size = len(good)
    match pick.randrange(4):
        case 0:
            length = pick.choice([size + 7, size // 2, 0, -1, "x", "1e3", "0x10", "+5", 10**30, " ", "5, 6"])
            return head(f"Content-Length: {length}", "Connection: close", path=path) + good
        case 1:
            size = pick.choice([b"-1", b"x", b"", b"fffffffffffffffff", b"5", b"0x5", b"%x" % (size + 3)])
            frames = size + pick.choice([b"\r\n", b"\n", b";a=b\r\n"]) + good
            end = pick.choice([b"\r\n0\r\n\r\n", b"", b"\r\n"])
            return head("Transfer-Encoding: chunked", "Connection: close", path=path) + frames + end
        case 2:
            kind = pick.choice(["text/plain", "application/jsonx", "application/json;charset=\xff", "", ";"])
            return head(f"Content-Length: {size}", "Connection: close", path=path, kind=kind) + good
        case _:
            codings = ["Content-Encoding: gzip", "Transfer-Encoding: gzip", "Expect: 100-continue", "Te: x"]
            body = pick.choice([good, gzip.compress(good)])
            lines = [f"Content-Length: {len(body)}", "Connection: close", pick.choice(codings)]
            return head(*lines, path=path) + body


def malformed(pick):
    """Return a random malformed or nearly valid request: path, bytes, and whether its head contains that path."""
    path = pick.choice(WORK)
    field = {"/classify": "texts", "/explain": "text", "/predict": "inputs"}[path]
    value = ["tea at four", "\ud83d née"] if field == "texts" else "tea at four, \u02bbokina"
    asked = {field: value, "model": None}
    good = json.dumps(asked, ensure_ascii=pick.random() < 0.5).encode(errors="replace")
    chance = pick.random()
    if chance < 0.4:
        return path, wrong_framing(good, path, pick), True
    body = good if chance < 0.5 else wrong_body(good, field, pick)
    whole = head(f"Content-Length: {len(body)}", "Connection: close", path=path) + body
    return (path, flipped(whole, pick), False) if chance < 0.5 else (path, whole, True)


def flipped(data, pick):
    changed = bytearray(data)
    for _ in range(pick.randrange(1, 4)):
        changed[pick.randrange(len(changed))] ^= 1 << pick.randrange(8)
    return bytes(changed)


async def answer_to(port, request, places):
    async with places:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(request)
            return await asyncio.wait_for(reader.read(-1), 30)
        except ConnectionError:
            return b""
        finally:
            writer.close()


def test_ten_thousand_malformed_requests_are_refused_as_documented(server, documented):
    pick = random.Random(20)
    requests = [malformed(pick) for _ in range(10_000)]

    async def ask_all():
        places = asyncio.Semaphore(150)
        return await asyncio.gather(*(answer_to(server.port, request, places) for _, request, _ in requests))

    statuses_seen = Counter()
    for (path, request, right_head), answer in zip(requests, asyncio.run(ask_all()), strict=True):
        statuses = [int(status) for status in re.findall(rb"^HTTP/1\.1 (\d+)", answer, re.MULTILINE)]
        allowed = documented[path] | (set() if right_head else {404, 405})
        assert set(statuses) - {100} <= allowed - {500}, (request[:500], answer)
        assert not INSIDE.search(answer), (request[:500], answer)
        if len(statuses) == 1:
            json.loads(answer.partition(b"\r\n\r\n")[2])
        statuses_seen.update(statuses or [0])
    print(dict(statuses_seen))
    assert {200, 400, 408, 413, 415, 422} <= set(statuses_seen)
    assert statuses_seen[0] < 500  # connections closed without a response because their head was incomplete
    server.settle("finetext_in_flight_requests", 0)
    assert server.ask("GET", "/ready")[0] == 200
    assert not tracebacks(server)


def test_schemathesis_finds_no_violation(server):
    """A sample; `schemathesis run URL/openapi.json` with these options and `-n 2550` runs 10,000 cases."""
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
    command = [
        Path(sys.executable).with_name("schemathesis"),
        "run",
        f"http://127.0.0.1:{server.port}/openapi.json",
    ]
    flags = ["--phases=coverage,fuzzing", "--mode=all", "--max-examples=300", "--seed=20", "--no-shrink"]
    completed = subprocess.run(
        [*command, *flags, "--continue-on-failure", "--generation-database=none", f"--checks={checks}"],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert completed.returncode == 0, completed.stdout[-4000:]
    cases = re.search(r"(\d+) generated, (\d+) passed", completed.stdout)
    assert cases is not None and int(cases[1]) == int(cases[2]) > 1000
