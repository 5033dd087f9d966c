"""Requests that are too many, too large, too slow or unauthorised are refused, naming the limit."""

import gzip
import json
import re
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import servers

pytestmark = pytest.mark.slow

TOKEN = "correct-horse"
LIMITS = {"max_body": 5000, "max_texts": 4, "max_characters": 500}
HEAVY = "the rain has stopped, tea at four. " * 40_000
BATCHED = 'finetext_batch_texts_sum{model="windows"}'
BATCHES = 'finetext_batch_texts_count{model="spam"}'


@pytest.fixture(scope="module")
def strict(tmp_path_factory, bundles):
    """A server with small limits and a token."""
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in LIMITS.items()]
    log = tmp_path_factory.mktemp("log") / "log"
    with servers.Server(log, bundles("spam"), *flags, "--timeout-seconds=2", token=TOKEN) as running:
        yield running


@pytest.fixture(scope="module")
def slow(tmp_path_factory, bundles):
    """A server with a short queue, which a long text keeps busy for seconds."""
    log = tmp_path_factory.mktemp("log") / "log"
    flags = ["--max-characters=9000000", "--max-body=9000000", "--max-queue=2", "--max-requests=6"]
    with servers.Server(log, bundles("windows"), *flags, "--timeout-seconds=30") as running:
        yield running


def limit(name):
    return {"name": name, "value": LIMITS[name]}


def raw(server, *parts, pause=0.0, seconds=20):
    """Send raw bytes and return everything received until the connection is closed."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=seconds) as connection:
        for part in parts:
            connection.sendall(part)
            time.sleep(pause)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    return answer


def head(*lines, path="/classify"):
    head_lines = [
        f"POST {path} HTTP/1.1",
        "Host: localhost",
        "Content-Type: application/json",
        f"Authorization: Bearer {TOKEN}",
    ]
    return ("\r\n".join([*head_lines, *lines]) + "\r\n\r\n").encode()


def test_a_body_over_the_limit_is_refused_and_the_next_request_is_served(strict):
    body = json.dumps({"text": "a" * 6000}).encode()
    status, headers, answer = strict.ask("POST", "/classify", body)
    assert status == 413 and answer["limit"] == limit("max_body") and "5000" in answer["error"]
    assert headers["Connection"] == "close"
    status, answer = strict.post("/classify", b'{"text": "a"}' + b" " * (5000 - 13))
    assert status == 200
    assert strict.post("/classify", b'{"text": "a"}' + b" " * (5001 - 13))[0] == 413


def test_a_chunked_body_is_refused_as_soon_as_it_passes_the_limit(strict):
    chunk = b"3e8\r\n" + b"a" * 1000 + b"\r\n"
    began = time.monotonic()
    answer = raw(strict, head("Transfer-Encoding: chunked"), *[chunk] * 6)  # never terminated
    assert answer.startswith(b"HTTP/1.1 413") and b'"max_body"' in answer
    assert time.monotonic() - began < 5


def test_an_endless_body_is_read_up_to_the_limit_only(strict):
    sent = 0
    with socket.create_connection(("127.0.0.1", strict.port), timeout=10) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
        connection.sendall(head("Transfer-Encoding: chunked"))
        with pytest.raises(OSError):
            while sent < 200_000_000:
                connection.sendall(b"ffff\r\n" + b"a" * 65535 + b"\r\n")
                sent += 65535
    assert sent < 20_000_000  # the size of the operating system's buffers


def test_a_wrong_content_length_is_refused(strict):
    for length in ("99999999999999999999999999", "1" * 5000):
        assert raw(strict, head(f"Content-Length: {length}"))[9:12] in (b"413", b"400")
    assert raw(strict, head("Content-Length: -1")).startswith(b"HTTP/1.1 400")
    assert raw(strict, head("Content-Length: x")).startswith(b"HTTP/1.1 400")
    # In one piece, because the server may respond to the head and close before a second piece is sent.
    both = raw(
        strict, head("Content-Length: 5", "Transfer-Encoding: chunked", "Connection: close") + b"0\r\n\r\n"
    )
    assert both[9:12] in (b"400", b"422")


def test_a_client_that_expects_100_continue_is_refused_before_it_sends(strict):
    answer = raw(strict, head("Content-Length: 6000", "Expect: 100-continue"), seconds=10)
    assert answer.startswith(b"HTTP/1.1 413") and b"100 Continue" not in answer


def test_compressed_bodies_and_other_content_types_are_refused(strict):
    bomb = gzip.compress(b'{"text": "' + b"a" * 10_000_000 + b'"}')[:4000]
    for encoding in ("gzip", "deflate", "br", "zstd", "identity, gzip"):
        status, answer = strict.post("/classify", bomb, headers={"Content-Encoding": encoding})
        assert status == 415 and "Compressed" in answer["error"]
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None):
        assert strict.post("/classify", b'{"text": "a"}', headers={"Content-Type": kind})[0] == 415
    kind = {"Content-Type": "Application/JSON; charset=utf-8"}
    assert strict.post("/classify", b'{"text": "a"}', headers=kind)[0] == 200


@pytest.mark.parametrize(("path", "shape"), [("/classify", "texts"), ("/predict", "inputs")])
def test_the_number_and_length_of_texts_are_limited(strict, path, shape):
    def body(texts):
        return {shape: texts if shape == "texts" else [[text] for text in texts]}

    assert strict.post(path, body(["a"] * 4))[0] == 200
    status, answer = strict.post(path, body(["a"] * 5))
    assert status == 422 and answer["limit"] == limit("max_texts") and "5 texts" in answer["error"]
    assert strict.post(path, body(["a" * 500]))[0] == 200
    status, answer = strict.post(path, body(["a", "a" * 501]))
    assert status == 422 and answer["limit"] == limit("max_characters") and "501" in answer["error"]


def test_a_body_that_does_not_arrive_times_out(strict):
    answer = raw(strict, head("Content-Length: 100"), b'{"text"')
    assert answer.startswith(b"HTTP/1.1 408") and b'"timeout_seconds"' in answer


def test_input_that_is_not_http_gets_a_json_error_and_is_counted(strict):
    name = 'finetext_requests_total{route="other",status="400"}'
    before = strict.metrics().get(name, 0)
    answer = raw(strict, b"WHAT EVER\r\n\r\n")
    assert strict.metrics()[name] == before + 1
    assert answer.startswith(b"HTTP/1.1 400") and b"content-security-policy" in answer
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error_type"] == "BadRequest"


WRONG = [
    {"Authorization": None},
    {"Authorization": ""},
    {"Authorization": "Bearer"},
    {"Authorization": "Bearer "},
    {"Authorization": "Bearer wrong"},
    {"Authorization": f"Bearer {TOKEN}x"},
    {"Authorization": f"Bearer {TOKEN[:-1]}"},
    {"Authorization": f"Basic {TOKEN}"},
    {"Authorization": TOKEN},
    {"Authorization": "Bearer \xff\xfe"},
]


@pytest.mark.parametrize("headers", WRONG, ids=str)
def test_without_the_token_only_pages_and_probes_are_served(strict, headers):
    for method, path in (
        ("POST", "/classify"),
        ("POST", "/predict"),
        ("GET", "/info"),
        ("GET", "/metrics"),
        ("GET", "/nothing"),
        ("GET", "/health/../info"),
        ("GET", "//info"),
    ):
        body = {"text": "a"} if method == "POST" else None
        status, answer_headers, answer = strict.ask(method, path, body, headers=headers)
        assert status == 401 and answer_headers["WWW-Authenticate"] == "Bearer"
        assert TOKEN not in json.dumps(answer)
    for path in ("/health", "/ready", "/docs", "/openapi.json", "/static/page.css"):
        assert strict.ask("GET", path, headers=headers)[0] == 200


def test_with_the_token_everything_is_served(strict):
    assert strict.post("/classify", {"text": "a"}, headers={"Authorization": f"bearer  {TOKEN}"})[0] == 200
    assert strict.ask("GET", "/metrics")[0] == strict.ask("GET", "/info")[0] == 200
    operation = strict.ask("GET", "/openapi.json")[2]["paths"]["/classify"]["post"]
    assert operation["security"] == [{"token": []}]


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("localhost", True),
        ("LOCALHOST:1", True),
        ("127.0.0.1", True),
        ("[::1]:8000", True),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example:80", False),
        ("evil.example:localhost", False),
        ("192.168.0.9", False),
        ("", False),
    ],
)
def test_foreign_hosts_are_refused(strict, host, allowed):
    for path in ("/health", "/info", "/docs"):
        assert strict.ask("GET", path, headers={"Host": host})[0] == (200 if allowed else 403)


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://localhost:81", True),
        ("http://LOCALHOST:81", True),
        ("http://localhost", False),
        ("http://localhost:82", False),
        ("https://evil.example", False),
        ("null", False),
        ("", False),
    ],
)
def test_foreign_origins_are_refused(strict, origin, allowed):
    headers = {"Host": "localhost:81", "Origin": origin}
    status, answer_headers, _ = strict.ask("POST", "/classify", {"text": "a"}, headers=headers)
    assert status == (200 if allowed else 403)
    assert not any(name.lower().startswith("access-control") for name in answer_headers)


def test_preflights_are_not_answered(strict):
    asked = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    assert strict.ask("OPTIONS", "/classify", headers=asked)[0] == 403


def test_a_full_queue_refuses_requests_until_it_empties(slow):
    metrics = slow.metrics()
    before = metrics.get('finetext_requests_total{route="/classify",status="429"}', 0)
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(slow.post, "/classify", {"text": HEAVY})
        slow.settle(BATCHED, metrics[BATCHED] + 1)  # the model is busy
        waiting = [pool.submit(slow.post, "/classify", {"text": "tea"}) for _ in range(2)]
        slow.settle('finetext_queue_texts{model="windows"}', 2)
        status, headers, answer = slow.ask("POST", "/classify", {"text": "tea"})
        assert not first.done()
        assert status == 429 and int(headers["Retry-After"]) >= 1
        assert answer["limit"] == {"name": "max_queue", "value": 2} and answer["error_type"] == "Overloaded"
        assert first.result()[0] == 200 and [future.result()[0] for future in waiting] == [200, 200]
    metrics = slow.metrics()
    assert metrics['finetext_requests_total{route="/classify",status="429"}'] == before + 1
    assert metrics['finetext_queue_texts{model="windows"}'] == metrics["finetext_in_flight_requests"] == 0
    # An empty queue accepts any request.
    assert slow.post("/classify", {"texts": ["tea"] * 5})[0] == 200


def test_too_many_requests_are_refused_before_their_bodies_are_read(slow):
    opened = [socket.create_connection(("127.0.0.1", slow.port)) for _ in range(6)]
    for client in opened:
        client.sendall(head("Content-Length: 100"))
    slow.settle("finetext_in_flight_requests", 6)
    answer = raw(slow, head("Content-Length: 100", "Connection: close"))
    assert answer.startswith(b"HTTP/1.1 429") and b'"max_requests"' in answer and b"retry-after" in answer
    # Further requests on the same connection are answered in order, and it stays open.
    body = b'{"text": "tea"}'
    work = head(f"Content-Length: {len(body)}") + body
    health = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    foreign = work.replace(b"Host: localhost", b"Host: evil.example")
    asked = [work, work, health, foreign, work, head("Content-Length: 2", "Connection: close") + b"{}"]
    answer = raw(slow, b"".join(asked))
    assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"429", b"429", b"200", b"403", b"429", b"429"]
    for client in opened:
        client.close()
    slow.settle("finetext_in_flight_requests", 0)


def test_head_and_body_of_a_response_arrive_together(strict):
    body = b'{"text": "tea"}'
    token = f"Authorization: Bearer {TOKEN}"
    with socket.create_connection(("127.0.0.1", strict.port), timeout=20) as connection:
        for _ in range(3):
            connection.sendall(head(f"Content-Length: {len(body)}", token) + body)
            answer, _, content = connection.recv(65536).partition(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 200") and json.loads(content)["predictions"]


def test_the_work_of_disconnected_clients_is_dropped(slow):
    gone = 'finetext_requests_total{route="/classify",status="499"}'
    before = slow.metrics()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(slow.post, "/classify", {"text": HEAVY})
        slow.settle(BATCHED, before[BATCHED] + 1)
        body = b'{"text": "tea"}'
        opened = [socket.create_connection(("127.0.0.1", slow.port)) for _ in range(2)]
        for client in opened:
            client.sendall(head(f"Content-Length: {len(body)}") + body)
        slow.settle('finetext_queue_texts{model="windows"}', 2)
        for client in opened:
            client.close()
        slow.settle('finetext_queue_texts{model="windows"}', 0)
        assert not first.done()
        slow.settle("finetext_in_flight_requests", 1)
        assert first.result()[0] == 200
    slow.settle("finetext_in_flight_requests", 0)
    after = slow.metrics()
    assert after[BATCHED] == before[BATCHED] + 1  # only the heavy text ran
    assert after[gone] - before.get(gone, 0) == 2


def test_slow_responses_time_out(tmp_path, bundles):
    flags = ["--max-characters=9000000", "--max-body=9000000", "--timeout-seconds=0.5"]
    with servers.Server(tmp_path / "log", bundles("windows"), *flags) as server:
        began = time.monotonic()
        status, answer = server.post("/classify", {"text": HEAVY})
        assert status == 504 and answer["limit"] == {"name": "timeout_seconds", "value": 0.5}
        assert time.monotonic() - began < 3
        server.settle("finetext_in_flight_requests", 0)
        assert server.stop() == 0


def test_a_small_request_does_not_wait_for_the_whole_of_a_large_one(slow):
    texts = [HEAVY[:150_000]] * 24
    finished = {}

    def ask(name, body):
        slow.post("/classify", body)
        finished[name] = time.monotonic()

    large = threading.Thread(target=ask, args=("large", {"texts": texts}))
    large.start()
    slow.settle("finetext_in_flight_requests", 1)
    ask("small", {"text": "tea"})
    assert large.is_alive()
    large.join()
    assert finished["small"] < finished["large"]


def test_a_single_request_does_not_wait_for_a_batch(tmp_path, bundles):
    with servers.Server(tmp_path / "log", bundles("spam"), "--max-wait-ms=3000") as server:
        connection = server.connect()
        for _ in range(5):
            began = time.monotonic()
            assert server.post("/classify", {"text": "tea"}, connection=connection)[0] == 200
            assert time.monotonic() - began < 1.5
        connection.close()


def test_a_single_request_does_not_wait_long_after_a_shared_batch(tmp_path, bundles):
    with servers.Server(tmp_path / "log", bundles("spam"), "--max-wait-ms=1500") as server:

        def ask():
            assert server.post("/classify", {"text": "tea"})[0] == 200

        server.post("/classify", {"texts": ["tea"] * 50})
        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert server.metrics()[BATCHES] < 9  # some shared a batch
        time.sleep(2)
        began = time.monotonic()
        ask()
        assert time.monotonic() - began < 1


@pytest.mark.parametrize(
    ("flags", "token", "code", "says"),
    [
        (["--host", "0.0.0.0"], None, 2, "no token"),
        (["--host", "::"], None, 2, "no token"),
        (["--host", "0.0.0.0", "--token-file", "/nonexistent"], None, 2, "cannot be read"),
        ([], "", 2, "FINETEXT_TOKEN"),
        ([], "two words", 2, "FINETEXT_TOKEN"),
        (["--token", "x"], None, 2, "--token"),
        (["--port", "70000"], None, 2, "--port"),
        (["--max-texts", "0", "--timeout-seconds", "nan"], None, 2, "--timeout-seconds must be above 0"),
        (["--host", "no.such.host.invalid"], None, 2, "--host"),
    ],
)
def test_unsafe_and_invalid_options_are_refused(bundles, monkeypatch, flags, token, code, says):
    monkeypatch.delenv("FINETEXT_TOKEN", raising=False)
    if token is not None:
        monkeypatch.setenv("FINETEXT_TOKEN", token)
    command = [sys.executable, "-m", "finetext", "serve", str(bundles("spam")), *flags]
    completed = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=60, check=False)
    assert completed.returncode == code and says in completed.stderr and "Traceback" not in completed.stderr


def test_a_network_server_accepts_addresses_and_allowed_host_names(tmp_path, bundles):
    secret = tmp_path / "token"
    secret.write_text(f"{TOKEN}\n")
    flags = [
        "--host",
        "0.0.0.0",
        "--token-file",
        secret,
        "--allow-host",
        "api.example",
        "--allow-host",
        "b.example",
    ]
    with servers.Server(tmp_path / "log", bundles("spam"), *flags) as server:
        server.token = TOKEN
        hosts = {"api.example:8000": 200, "b.example": 200, "10.1.2.3:80": 200, "c.example": 403}
        assert {host: server.ask("GET", "/info", headers={"Host": host})[0] for host in hosts} == hosts
        server.token = "wrong"
        assert server.ask("GET", "/info")[0] == 401


def test_insecure_allows_the_network_without_a_token(tmp_path, bundles):
    with servers.Server(tmp_path / "log", bundles("spam"), "--host", "0.0.0.0", "--insecure") as server:
        assert server.ask("GET", "/info")[0] == 200
