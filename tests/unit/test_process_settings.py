"""Library calls change no process-wide settings; only commands and the server's process do."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

START = """
import asyncio, ctypes, gc, sys
from pathlib import Path
import torch
import finetext
from finetext.engine import prepare_cpu, usable_cores

class Watched(ctypes.CDLL):
    def __getattr__(self, name):
        calls.append(name)
        return super().__getattr__(name)

def state():
    return torch.get_num_threads(), gc.get_threshold(), gc.get_freeze_count(), sys.getswitchinterval()

calls = []
ctypes.CDLL = Watched
torch.set_num_threads(usable_cores() + 1)  # the host application's choice, which commands would override
before = state()
"""
LIBRARY = """
source, model, output = sys.argv[1:]
run = finetext.train(source, output=output, model=model, epochs=1)
classifier = finetext.load(run.folder.path)
classifier.predict(["win cash now"] * 300)
classifier.explain("win cash now")
assert state() == before, state()

from finetext.serving import ServeConfig, Service

async def serve():
    service = Service({"m": run.folder.path}, ServeConfig())
    await service.load()
    batcher = service.find(None)[1]
    await asyncio.gather(*(batcher.submit(["tea at four"] * 20).future for _ in range(4)))
    assert service.close(30)

asyncio.run(serve())
assert state() == before, state()
assert "mallopt" not in calls
"""
SERVER_PROCESS = """
from finetext.serving import ServeConfig, Service
from finetext.serving.process import COLLECT_AFTER, SWITCH_SECONDS
from finetext.serving.process import load_and_freeze, prepare_process, set_switch_interval

prepare_process()
assert sys.platform != "linux" or "mallopt" in calls  # so a call by the library would have been noticed
assert torch.get_num_threads() == usable_cores() and gc.get_threshold()[0] == COLLECT_AFTER

async def serve():
    service = Service({"m": Path(sys.argv[1])}, ServeConfig(), set_switch_interval)
    await load_and_freeze(service)
    await service.find(None)[1].submit(["tea"]).future
    assert gc.get_freeze_count() > 10_000 and abs(sys.getswitchinterval() - SWITCH_SECONDS[False]) < 1e-6
    assert service.close(30)

asyncio.run(serve())
"""


def run(code, *arguments):
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    ended = subprocess.run(
        [sys.executable, "-c", START + code, *map(str, arguments)],
        env=environment,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert ended.returncode == 0, ended.stderr


def test_training_predicting_and_serving_as_a_library_change_no_process_setting(
    messages, checkpoint, tmp_path
):
    run(LIBRARY, messages, checkpoint("bert"), tmp_path / "run")


def test_the_servers_own_process_is_tuned(bundles):
    run(SERVER_PROCESS, bundles("spam"))
