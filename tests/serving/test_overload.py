"""Under overload and with clients that disconnect, nothing is lost or mixed up."""

import asyncio
import random
import signal
import socket
import struct
import sys
import threading
import time
from collections import Counter

import numpy as np
import pytest
from benchmarks import open_loop

import servers

pytestmark = pytest.mark.slow

TEXTS = [" ".join(random.Random(n).choices(servers.WORDS.split(), k=n % 9 + 3)) for n in range(200)]
CLIENTS = 1000
HEAVY = "the rain has stopped, tea at four. " * 100_000
BATCHED = 'finetext_batch_texts_sum{model="windows"}'


@pytest.fixture(scope="module")
def many_files():
    """Raise the limit of open files to allow a thousand connections, here and in the server."""
    if sys.platform == "win32":
        pytest.skip("has no such limit")
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))


@pytest.fixture(scope="module")
def crowded(tmp_path_factory, bundles, many_files):
    """A server that is easily overloaded."""
    log = tmp_path_factory.mktemp("log") / "log"
    with servers.Server(log, bundles("clear"), "--max-requests=24", "--max-queue=12") as running:
        yield running


@pytest.fixture(scope="module")
def expected(library):
    classifier = library("clear")
    probs = classifier.predict_proba(TEXTS)
    assert len(np.unique(probs[:, 0].round(4))) > 50  # so that responses for other texts are noticed
    return {
        text: dict(zip(classifier.class_names, row.tolist(), strict=True))
        for text, row in zip(TEXTS, probs, strict=True)
    }


def logged(server):
    lines = (line for line in server.lines() if line["event"] == "request")
    return Counter((line["route"], line["status"]) for line in lines if line["route"] in open_loop.ROUTES)


def test_under_overload_every_request_gets_one_correct_response_and_the_counters_agree(crowded, expected):
    capacity = asyncio.run(open_loop.closed_loop(crowded.port, TEXTS, 16, 1.0))
    before = open_loop.read_metrics(crowded.port)
    tally, _ = asyncio.run(
        open_loop.open_loop(crowded.port, TEXTS, open_loop.arrivals(4 * capacity, 3.0, seed=1))
    )
    assert tally.lost == tally.unexpected == 0 and len(tally.requests) > 6 * capacity
    assert set(tally.statuses) == {200, 429} and min(tally.statuses.values()) > 20
    assert open_loop.wrong_answers(tally, expected) == 0
    for request in tally.requests:
        assert (request.retry_after is not None and int(request.retry_after) >= 1) == (request.status == 429)
    assert open_loop.counted(before, open_loop.read_metrics(crowded.port)) == tally.answers
    crowded.settle("finetext_in_flight_requests", 0)
    crowded.settle('finetext_queue_texts{model="clear"}', 0)


def test_below_capacity_nothing_is_refused(crowded, expected):
    tally, _ = asyncio.run(
        open_loop.open_loop(crowded.port, TEXTS, open_loop.arrivals(20, 2.0, seed=2, poisson=False))
    )
    assert tally.statuses == {200: 40} and not tally.unexpected
    assert open_loop.wrong_answers(tally, expected) == 0


def test_wrong_responses_are_detected(crowded, expected):
    tally, _ = asyncio.run(open_loop.open_loop(crowded.port, TEXTS[:10], [0.0] * 10))
    turned = {text: expected[other] for text, other in zip(TEXTS[:10], TEXTS[9::-1], strict=True)}
    assert open_loop.wrong_answers(tally, expected) == 0 < open_loop.wrong_answers(tally, turned)


def test_stopping_under_overload_loses_no_accepted_request(tmp_path, bundles, expected):
    flags = ["--max-requests=24", "--max-queue=12", "--drain-seconds=0.5", "--shutdown-seconds=20"]
    with servers.Server(tmp_path / "log", bundles("clear"), *flags) as server:
        capacity = asyncio.run(open_loop.closed_loop(server.port, TEXTS, 16, 0.5))
        before = open_loop.read_metrics(server.port)
        moments = open_loop.arrivals(3 * capacity, 1.8, seed=3)
        results = []
        load = threading.Thread(
            target=lambda: results.append(asyncio.run(open_loop.open_loop(server.port, TEXTS, moments)))
        )
        load.start()
        time.sleep(1)
        told = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        server.wait_for("stopping")
        assert server.ask("GET", "/ready")[0] == 503
        assert server.process.wait(30) == 0 and time.monotonic() - told < 20
        load.join()
        tally = results[0][0]
        assert {200, 503} <= set(tally.statuses) <= {200, 429, 503} and not tally.unexpected
        assert open_loop.wrong_answers(tally, expected) == 0
        earlier = Counter({key: round(before[name(key)]) for key in logged(server) if name(key) in before})
        assert logged(server) - earlier == tally.answers  # every response that was sent arrived
        assert server.lines()[-1]["abandoned_requests"] == 0


def name(key):
    return 'finetext_requests_total{{route="{}",status="{}"}}'.format(*key)


def test_the_work_of_a_thousand_disconnected_clients_is_dropped(tmp_path, bundles, many_files):
    flags = ["--max-characters=9000000", "--max-body=9000000", "--max-queue=2000", "--max-requests=2000"]
    body = b'{"text": "tea"}'
    head = b"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    whole = head % len(body) + body
    with servers.Server(tmp_path / "log", bundles("windows"), *flags) as server:
        before = server.metrics()[BATCHED] if BATCHED in server.metrics() else 0
        heavy = threading.Thread(target=server.post, args=("/classify", {"text": HEAVY}))
        heavy.start()
        server.settle(BATCHED, before + 1)  # the model is busy
        opened = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(CLIENTS)]
        for number, client in enumerate(opened):
            client.sendall(whole[:-5] if number % 5 == 0 else whole)
        server.settle("finetext_in_flight_requests", CLIENTS + 1)
        assert server.metrics()['finetext_queue_texts{model="windows"}'] == CLIENTS * 4 / 5
        for number, client in enumerate(opened):
            if number % 2:  # a reset instead of a clean close
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
        server.settle('finetext_queue_texts{model="windows"}', 0)
        server.settle("finetext_in_flight_requests", 1)
        assert heavy.is_alive()
        assert server.metrics()['finetext_requests_total{route="/classify",status="499"}'] == CLIENTS
        heavy.join()
        assert server.post("/classify", {"text": "tea"})[0] == 200
        server.settle("finetext_in_flight_requests", 0)
        assert server.metrics()[BATCHED] == before + 2  # only the heavy text and the last one ran
