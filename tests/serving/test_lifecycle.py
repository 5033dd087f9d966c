"""The server starts, reloads and stops under load."""

import asyncio
import gc
import http.client
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections import Counter

import pytest

import servers
from finetext.serving import ServeConfig, Service

pytestmark = pytest.mark.slow


class Load:
    """Clients that post requests in a loop until they are stopped."""

    def __init__(self, server, clients=6, text="tea at four"):
        self.server, self.text = server, text
        self.answers, self.errors = [], []
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self.work) for _ in range(clients)]

    def work(self):
        connection = self.server.connect()
        while not self.over.is_set():
            try:
                status, answer = self.server.post("/classify", {"text": self.text}, connection=connection)
            except (OSError, http.client.HTTPException) as error:
                self.errors.append((time.monotonic(), error))
                connection.close()
                time.sleep(0.01)
                continue
            self.answers.append((time.monotonic(), status, answer))

        connection.close()

    @property
    def statuses(self):
        # Counted here and not by the threads, because adding to a Counter is not atomic.
        return Counter(status for _, status, _ in self.answers)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join()


def logged(server, route="/classify"):
    return Counter(
        line["status"] for line in server.lines() if line["event"] == "request" and line["route"] == route
    )


def test_the_metrics_agree_with_the_clients(tmp_path, bundles):
    with servers.Server(tmp_path / "log", bundles("spam"), "--max-texts=3", "--drain-seconds=0") as server:
        with Load(server) as load:
            refused = [server.post("/classify", {"texts": ["a"] * 4})[0] for _ in range(7)]
            wrong = [server.post("/classify", b"{")[0] for _ in range(5)]
            time.sleep(1)
        assert refused == [422] * 7 and wrong == [400] * 5 and not load.errors
        metrics = server.metrics()
        tally = load.statuses + Counter(refused + wrong)
        counters = {
            status: metrics[f'finetext_requests_total{{route="/classify",status="{status}"}}']
            for status in tally
        }
        assert counters == tally and tally[200] > 20
        assert metrics['finetext_request_seconds_count{route="/classify"}'] == tally.total()
        assert metrics['finetext_batch_texts_sum{model="spam"}'] == tally[200]
        assert metrics['finetext_queue_texts{model="spam"}'] == metrics["finetext_in_flight_requests"] == 0
        assert server.stop() == 0
        assert logged(server) == tally


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_stop_signal_loses_no_accepted_request(tmp_path, bundles, number):
    with servers.Server(tmp_path / "log", bundles("spam"), "--drain-seconds", "0.7") as server:
        with Load(server) as load:
            time.sleep(0.5)
            told = time.monotonic()
            server.process.send_signal(number)
            server.wait_for("stopping")
            status, headers, answer = server.ask("GET", "/ready")
            assert status == 503 and "shutting down" in answer["error"]
            assert headers["Connection"] == "close"
            status, headers, answer = server.ask("POST", "/classify", {"text": "a"})
            assert status == 503 and headers["Retry-After"] and "shutting down" in answer["error"]
            assert server.ask("GET", "/health")[0] == 200
            assert server.process.wait(30) == 0
        assert time.monotonic() - told < 10
        assert load.statuses[200] > 5 and set(load.statuses) == {200, 503}
        assert all(moment > told for moment, _ in load.errors)
        assert logged(server) == load.statuses + Counter([503])  # every response arrived
        assert server.lines()[-1]["event"] == "stopped" and server.lines()[-1]["abandoned_requests"] == 0


HEAVY = "the rain has stopped, tea at four. " * 20_000
WIDE = ["--max-characters=9000000", "--max-body=9000000"]


def ask_aside(server, text):
    statuses = []
    thread = threading.Thread(target=lambda: statuses.append(server.post("/classify", {"text": text})[0]))
    thread.start()
    server.settle("finetext_in_flight_requests", 1)
    return thread, statuses


def test_accepted_work_is_finished_after_the_stop_signal(tmp_path, bundles):
    with servers.Server(tmp_path / "log", bundles("windows"), *WIDE, "--drain-seconds", "0") as server:
        thread, statuses = ask_aside(server, HEAVY)
        assert server.stop() == 0
        thread.join()
        assert statuses == [200]


def test_the_shutdown_deadline_cuts_off_unfinished_requests(tmp_path, bundles):
    flags = [*WIDE, "--drain-seconds=0", "--shutdown-seconds=0.5", "--timeout-seconds=300"]
    with servers.Server(tmp_path / "log", bundles("windows"), *flags) as server:
        connection = server.connect()
        connection.request(
            "POST", "/classify", headers={"Content-Type": "application/json", "Content-Length": "9"}
        )
        server.settle("finetext_in_flight_requests", 1)  # its body never arrives
        began = time.monotonic()
        assert server.stop() == 1
        assert time.monotonic() - began < 6
        assert server.wait_for("stopped")["abandoned_requests"] == 1
        assert connection.getresponse().status == 503
        connection.close()
        assert server.log.read_text().rstrip().endswith("Raise --shutdown-seconds.")


def test_a_second_stop_signal_ends_the_server_at_once(tmp_path, bundles):
    with servers.Server(
        tmp_path / "log", bundles("spam"), "--drain-seconds=60", "--shutdown-seconds=90"
    ) as server:
        server.process.send_signal(signal.SIGTERM)
        server.wait_for("stopping")
        began = time.monotonic()
        assert server.stop() == 0 and time.monotonic() - began < 10


def test_a_stop_signal_during_loading_ends_the_server(tmp_path, bundles):
    with servers.Server(tmp_path / "log", bundles("spam"), "--drain-seconds=0", wait=False) as server:
        assert server.ask("GET", "/health")[0] == 200
        assert server.stop() == 0
        assert "Traceback" not in server.log.read_text()


def test_the_server_is_alive_but_not_ready_until_the_models_are_warm(tmp_path, bundles):
    with servers.Server(tmp_path / "log", bundles("spam"), wait=False) as server:
        assert server.ask("GET", "/health")[0] == 200
        assert server.ask("GET", "/ready")[0] == 503
        status, headers, answer = server.ask("POST", "/classify", {"text": "a"})
        assert status == 503 and "loaded" in answer["error"] and headers["Retry-After"]
        server.wait_for("ready")
        assert server.ask("GET", "/ready")[0] == 200


def test_the_reload_signal_loses_no_request(tmp_path, bundles, checkpoint):
    served = tmp_path / "served"
    shutil.copytree(bundles("spam"), served)
    other = servers.bundle(tmp_path / "other", checkpoint("bert"), ("ham", "spam"), "binary", seed=7)
    with servers.Server(tmp_path / "log", f"m={served}") as server:

        def score():
            return server.post("/predict", {"inputs": "tea at four", "raw_scores": True})[1]

        first = score()
        with Load(server) as load:
            for number in range(1, 3):
                shutil.rmtree(served)
                shutil.copytree(other if number == 1 else bundles("spam"), served)
                server.process.send_signal(signal.SIGHUP)
                server.wait_for("models loaded", number + 1)
                if number == 1:
                    second = score()
            (served / "model.safetensors").write_bytes(b"broken")
            server.process.send_signal(signal.SIGHUP)
            line = server.wait_for("reload failed")
            assert line["level"] == "warning" and "safetensors" in str(line)
            assert server.ask("GET", "/ready")[0] == 200
        assert set(load.statuses) == {200} and load.statuses[200] > 20 and not load.errors
        assert first != second and score() == first
        metrics = server.metrics()
        assert metrics['finetext_reloads_total{outcome="done"}'] == 2
        assert metrics['finetext_reloads_total{outcome="failed"}'] == 1
        assert server.stop() == 0


@pytest.mark.parametrize(
    ("models", "code", "says"),
    [
        ([], 2, "name a model"),
        (["/nonexistent"], 2, "no such folder"),
        (["a={spam}", "a={spam}"], 2, "used twice"),
        (["{spam}", "{spam}"], 2, "used twice"),
        (["../x={spam}"], 2, "letters"),
        (["{backbone}"], 1, "classification head"),
        (["{empty}"], 1, "config.json"),
    ],
)
def test_a_model_that_cannot_be_served_is_a_one_line_error(tmp_path, bundles, checkpoint, models, code, says):
    (tmp_path / "empty").mkdir()
    places = {"spam": bundles("spam"), "backbone": checkpoint("bert"), "empty": tmp_path / "empty"}
    words = [model.format(**places) for model in models]
    command = [sys.executable, "-m", "finetext", "serve", *words, "--port", "0"]
    completed = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=60, check=False)
    last = completed.stderr.splitlines()[-1]
    assert completed.returncode == code and says in last and "Traceback" not in completed.stderr


def test_a_port_in_use_is_an_error(bundles):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        command = [sys.executable, "-m", "finetext", "serve", str(bundles("spam"))]
        completed = subprocess.run(
            [*command, "--port", str(taken.getsockname()[1])],
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
    assert completed.returncode == 2 and "Choose another --port" in completed.stderr


def test_serving_imports_no_training_or_data_packages(bundles):
    code = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from finetext.serving import ServeConfig, Service, build_app, serve\n"
        "service = Service({'m': Path(sys.argv[1])}, ServeConfig())\n"
        "asyncio.run(service.load())\n"
        "build_app(service, None)\n"
        "service.close(10)\n"
        "heavy = ('polars', 'sklearn', 'matplotlib', 'datasets', 'optuna', 'peft')\n"
        "packages = ('data', 'evaluation', 'experiments', 'reporting', 'training')\n"
        "print([m for m in (*heavy, *(f'finetext.{name}' for name in packages)) if m in sys.modules])\n"
    )
    completed = subprocess.run(
        [sys.executable, "-c", code, str(bundles("spam"))], capture_output=True, encoding="utf-8", check=False
    )
    assert completed.stdout.strip() == "[]", completed.stderr


def test_a_replaced_model_is_freed_after_a_reload(bundles):
    service = Service({"m": bundles("spam")}, ServeConfig())

    async def reload():
        await service.load()
        old = weakref.ref(service.classifiers["m"])
        await service.load()
        for _ in range(200):
            gc.collect()
            if old() is None:
                return True
            await asyncio.sleep(0.02)
        return False

    assert asyncio.run(reload())
    assert service.close(10) and not service.ready
