"""`environment.json`: the versions, the machine, the inputs and the time of a run."""

import contextlib
import dataclasses
import datetime
import os
import platform
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from typing import Any

import torch

from finetext.engine import usable_cores
from finetext.training.setup import RunInputs, Setup

PACKAGES = "finetext torch transformers tokenizers accelerate peft scikit-learn numpy polars".split()


class StageTimes:
    """Wall time of each stage of a run.

    Attributes:
        started: When the run started, ISO 8601 in UTC.
        seconds: Seconds by the stage's name.
    """

    def __init__(self) -> None:
        self.started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        self.seconds: dict[str, float] = {}
        self._began = time.perf_counter()

    def end(self, stage: str) -> None:
        """Take the time since the last stage ended as that of `stage`."""
        now = time.perf_counter()
        self.seconds[stage], self._began = now - self._began, now

    @contextlib.contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Measure the block as a stage."""
        self._began = time.perf_counter()
        yield
        self.end(stage)


def describe_environment(setup: Setup, inputs: RunInputs, times: StageTimes) -> dict[str, Any]:
    """Return versions, machine, device, seed, digests and times as JSON values.

    Args:
        setup: Data and model.
        inputs: Which of its activations were cached.
        times: Wall times.
    """
    device, data, model = setup.model.device, setup.dataset.source, setup.model_source
    return {
        "started": times.started,
        "seconds": times.seconds,
        "command": sys.argv,
        "versions": {"python": platform.python_version()}
        | {name: metadata.version(name) for name in PACKAGES},
        "machine": {
            "platform": platform.platform(),
            "processor": platform.machine(),
            "usable_cores": usable_cores(),
            "torch_threads": torch.get_num_threads(),
        },
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "precision": setup.plan.precision.name,
        "fast_paths": {name: dataclasses.asdict(path) for name, path in setup.model.fast_paths().items()},
        "features": {"cut": inputs.cut, "stored": inputs.stored, "computed_tokens": inputs.computed_tokens},
        "optimizer": setup.plan.optimizer,
        "seed": setup.config.train.seed,
        "data": {
            "source": data.name,
            "digest": data.digest,
            "revision": data.revision,
            "synthetic": data.synthetic,
        },
        "model": {"name": model.name, "digest": model.digest, "revision": model.revision},
        "hub_offline": os.environ.get("HF_HUB_OFFLINE") == "1",
    }
