"""Accelerate, and logging to TensorBoard, MLflow or Weights & Biases through its trackers."""

import dataclasses
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from finetext.errors import RunError, UsageError
from finetext.metric_names import HEADLINE_METRICS
from finetext.training.config import TrainConfig
from finetext.training.events import Step


def check_trackers(names: Sequence[str]) -> None:
    """Raise UsageError if the package of a tracker is not installed."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            remedy = "pip install wandb" if name == "wandb" else 'pip install "finetext[track]"'
            raise UsageError(f"--track {name} needs a package that is not installed: {remedy}")


def make_accelerator(**options: Any) -> Accelerator:
    """Return Accelerate's handle on processes and trackers.

    It keeps one precision and one device per process, but each training here has its own: `torch.amp` does the one, and
    `prepare` the other.

    Raises:
        RunError: Another user of Accelerate in this process has chosen a precision.
    """
    try:
        return Accelerator(mixed_precision="no", device_placement=False, **options)
    except ValueError as error:
        raise RunError(f"Accelerate is already in use in this process: {error}") from error


def start_trackers(config: TrainConfig, folder: Path) -> Accelerator:
    """Start the trackers that `config` names and log it; those that keep files write them into `folder`.

    MLflow writes to `MLFLOW_TRACKING_URI`, or into the folder if that is not set.
    """
    names = config.train.track
    accelerator = make_accelerator(log_with=list(names) or None, project_dir=str(folder))
    if names:
        folder.mkdir(parents=True, exist_ok=True)
    if "mlflow" in names and not os.environ.get("MLFLOW_TRACKING_URI"):
        import mlflow

        mlflow.set_tracking_uri(f"sqlite:///{(folder / 'mlflow.db').absolute()}")
    accelerator.init_trackers("finetext", config=_flat(dataclasses.asdict(config)))
    return accelerator


def logged_values(step: Step) -> dict[str, float]:
    """Return what trackers log of a step and, if there was one, of the evaluation after it."""
    values: dict[str, float] = {"train/loss": step.loss, "train/learning_rate": step.learning_rate}
    if step.evaluation is not None:
        metrics = step.evaluation.metrics
        values |= {f"validation/{name}": getattr(metrics, name) for name in HEADLINE_METRICS}
        values["validation/loss"] = metrics.log_loss
    return values


def _flat(options: dict[str, Any]) -> dict[str, int | float | str | bool]:
    return {
        f"{table}.{name}": value if isinstance(value, (int, float, str, bool)) else str(value)
        for table, content in options.items()
        for name, value in content.items()
        if value is not None
    }
