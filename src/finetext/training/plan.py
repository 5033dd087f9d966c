"""What a training does, with every default resolved: made once, from the options, the data and the model.

The defaults were chosen on MiniLM over the tasks of `python -m benchmarks defaults`; `docs/log.md` holds the results.
"""

import math
from dataclasses import dataclass

import torch

from finetext.engine import Precision, computes_bf16_fast
from finetext.models import ModelConfig, trained_blocks
from finetext.training.config import OptimizationConfig, TrainConfig
from finetext.training.config_file import override
from finetext.training.optimizers import resolve_optimizer, warmup_steps

LEARNING_RATES = {"head": 1e-3, "last-block": 3e-4, "all": 5e-5, "lora": 5e-4, "gradual": 1e-4}
"""Peak rate by what is trained, for hidden states of 384: the fewer weights move, the further each may go."""
REFERENCE_WIDTH = 384
MIN_EPOCHS, MAX_EPOCHS = 4, 20
MIN_STEPS = 200
"""Optimizer steps that a run should have at least, so that a small data set is seen more often."""


@dataclass(frozen=True)
class TrainingPlan:
    """A training with every default resolved.

    Attributes:
        trainable: Which parameters are trained.
        epochs: Passes over the training split.
        step_size: Texts in an optimizer step.
        steps_per_epoch: Optimizer steps in a pass over the training split.
        total_steps: Optimizer steps of the whole run.
        warmup_steps: Those over which the learning rate rises from zero.
        learning_rate: Peak rate.
        optimizer: The one that is really used.
        precision: Arithmetic of forward and backward passes.
        cut: Index of the first layer that is trained in any epoch; 0 if all layers are.
        cache_dtype: Precision in which activations of the frozen layers are cached, bf16 or fp32; None to run
            those layers in every step.
        frozen_precision: Arithmetic of the frozen layers when their activations are cached: bf16 or fp32.
        probe_initialization: Whether a linear probe initialises the output layer before the first step.
        notices: What the user should know about the choices.
    """

    trainable: str
    epochs: int
    step_size: int
    steps_per_epoch: int
    total_steps: int
    warmup_steps: int
    learning_rate: float
    optimizer: str
    precision: Precision
    cut: int
    cache_dtype: str | None
    frozen_precision: str
    probe_initialization: bool
    notices: tuple[str, ...] = ()

    def resolve(self, config: TrainConfig) -> TrainConfig:
        """Return the configuration with its defaults filled in, as it is kept with the run."""
        resolved = {
            "trainable": self.trainable,
            "epochs": self.epochs,
            "learning_rate": self.learning_rate,
            "head_start": "probe" if self.probe_initialization else "none",
        }
        return override(config, resolved)


def plan_training(
    config: TrainConfig, texts: int, width: int, depth: int, device: torch.device, precision: Precision
) -> TrainingPlan:
    """Resolve every option whose default depends on the data, the model or the machine.

    Args:
        config: The options.
        texts: Size of the training split after balancing.
        width: Size of a hidden state.
        depth: Number of layers; 0 if they cannot be told apart.
        device: Where the model is trained.
        precision: Arithmetic of training on that device.
    """
    train, trainable = config.train, config.model.trainable
    if trainable == ModelConfig.trainable and depth == 1:  # the default option fits every model
        trainable = "last-block"
    step_size = train.batch_size * train.gradient_accumulation
    default_epochs = min(MAX_EPOCHS, max(MIN_EPOCHS, math.ceil(MIN_STEPS / (texts / step_size))))
    epochs, steps_per_epoch = train.epochs or default_epochs, math.ceil(texts / step_size)
    frozen = trainable not in ("all", "lora")
    cut = depth - trained_blocks(trainable, depth, epochs - 1) if frozen and depth else 0
    optimizer, optimizer_notice = resolve_optimizer(train.optimizer, device)
    cached = cut > 0 and train.store != "none"
    notices = (precision.notice, optimizer_notice)
    return TrainingPlan(
        trainable=trainable,
        epochs=epochs,
        step_size=step_size,
        steps_per_epoch=steps_per_epoch,
        total_steps=steps_per_epoch * epochs,
        warmup_steps=warmup_steps(train.warmup, steps_per_epoch * epochs),
        learning_rate=train.learning_rate or _default_learning_rate(trainable, width),
        optimizer=optimizer,
        precision=precision,
        cut=cut,
        cache_dtype=_cache_dtype(train) if cached else None,
        frozen_precision=_frozen_precision(train, device),
        probe_initialization=frozen if train.head_start == "auto" else train.head_start == "probe",
        notices=tuple(notice for notice in notices if notice),
    )


def _default_learning_rate(trainable: str, width: int) -> float:
    """Return the peak rate for what is trained.

    The rate of the backbone's own weights falls with its width: under Adam a layer's output moves by the rate times
    the number of its inputs (Yang et al., "Tensor Programs V", 2021).
    """
    kind = "last-block" if trainable.startswith("last-") else trainable
    rate = LEARNING_RATES.get(kind, LEARNING_RATES["all"])
    return float(f"{rate * REFERENCE_WIDTH / width:.1e}") if kind in ("last-block", "gradual") else rate


def _cache_dtype(train: OptimizationConfig) -> str:
    if train.store == "auto":
        return "fp32" if train.precision == "fp32" else "bf16"
    return train.store


def _frozen_precision(train: OptimizationConfig, device: torch.device) -> str:
    """Return bf16 where that is fast and no other precision was asked for."""
    low = train.precision == "bf16" or (train.precision in ("auto", "fp16") and computes_bf16_fast(device))
    return "bf16" if low and _cache_dtype(train) == "bf16" else "fp32"
