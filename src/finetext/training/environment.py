"""`environment.json`: with what and on what a run was made."""

import os
import platform
import sys
from importlib import metadata
from typing import Any

import torch

from finetext.engine import usable_cores
from finetext.training.inputs import RunInputs
from finetext.training.setup import Job

PACKAGES = (
    "finetext",
    "torch",
    "transformers",
    "tokenizers",
    "accelerate",
    "peft",
    "scikit-learn",
    "numpy",
    "polars",
)


def describe_environment(
    job: Job, inputs: RunInputs, started: str, seconds: dict[str, float]
) -> dict[str, Any]:
    """Return versions, machine, device, seed, digests and times as JSON values.

    Args:
        job: The run's data and model.
        inputs: What of its model was stored.
        started: When it started, ISO 8601 in UTC.
        seconds: Wall time of each stage.
    """
    device = job.model.device
    return {
        "started": started,
        "seconds": seconds,
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
        "precision": job.precision.name,
        "features": {
            "cut": inputs.cut,
            "stored": inputs.stored,
            "computed_tokens": inputs.computed_tokens,
        },
        "optimizer": job.optimizer,
        "seed": job.config.train.seed,
        "data": {
            "source": job.dataset.source.name,
            "digest": job.dataset.source.digest,
            "revision": job.dataset.source.revision,
            "synthetic": job.dataset.source.synthetic,
        },
        "model": {
            "name": job.model_source.name,
            "digest": job.model_source.digest,
            "revision": job.model_source.revision,
        },
        "hub_offline": os.environ.get("HF_HUB_OFFLINE") == "1",
    }
