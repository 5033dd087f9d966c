"""Logging to TensorBoard, MLflow or Weights & Biases through Accelerate's trackers."""

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from finetext.errors import UsageError
from finetext.training.config import TrainConfig
from finetext.training.history import EpochLine
from finetext.training.loop import Step

_PACKAGES = {"tensorboard": "tensorboard", "mlflow": "mlflow", "wandb": "wandb"}
_INSTALL = {"wandb": "pip install wandb"}


def check_trackers(names: tuple[str, ...]) -> None:
    """Raise UsageError if the package of a tracker is not installed."""
    for name in names:
        if importlib.util.find_spec(_PACKAGES[name]) is None:
            remedy = _INSTALL.get(name, 'pip install "finetext[track]"')
            raise UsageError(f"--track {name} needs a package that is not installed: {remedy}")


def start_trackers(accelerator: Accelerator, config: TrainConfig, folder: Path) -> None:
    """Start the trackers that `accelerator` was made with, and log the configuration.

    MLflow writes to `MLFLOW_TRACKING_URI`, or into the run folder if that is not set.
    """
    if not config.train.track:
        return
    folder.mkdir(parents=True, exist_ok=True)
    if "mlflow" in config.train.track:
        _set_local_mlflow_store(folder)
    accelerator.init_trackers("finetext", config=_flat(dataclasses.asdict(config)))


def _set_local_mlflow_store(folder: Path) -> None:
    import os

    import mlflow

    if not os.environ.get("MLFLOW_TRACKING_URI"):
        mlflow.set_tracking_uri(f"sqlite:///{(folder / 'mlflow.db').absolute()}")


def _flat(options: dict[str, Any]) -> dict[str, int | float | str | bool]:
    plain = {
        f"{table}.{name}": value
        for table, content in options.items()
        for name, value in content.items()
        if value is not None
    }
    return {k: v if isinstance(v, (int, float, str, bool)) else str(v) for k, v in plain.items()}


def log_step(accelerator: Accelerator, step: Step, line: EpochLine | None) -> None:
    """Log a step and, if there was one, the evaluation after it."""
    if not accelerator.trackers:
        return
    values: dict[str, float] = {"train/loss": step.loss, "train/learning_rate": step.learning_rate}
    if line is not None:
        values |= {
            "validation/loss": line.validation_loss,
            "validation/accuracy": line.accuracy,
            "validation/macro_f1": line.macro_f1,
            "validation/mcc": line.mcc,
        }
    accelerator.log(values, step=step.number)
