"""Defaults that depend on the model and the data. Each is resolved once, printed and recorded with the run.

They were chosen on MiniLM over the tasks of `python -m benchmarks defaults`; `docs/log.md` holds the figures.
"""

import dataclasses
import math

from finetext.models.config import ModelConfig
from finetext.training.config import TrainConfig

LEARNING_RATES = {"head": 1e-3, "last-block": 3e-4, "all": 5e-5, "lora": 5e-4, "gradual": 1e-4}
"""Peak rate by what is trained, for hidden states of 384: the fewer weights move, the further each may go."""
REFERENCE_WIDTH = 384
LEAST_EPOCHS, MOST_EPOCHS = 4, 20
ENOUGH_STEPS = 200
"""Optimizer steps that a run should have at least, so that a small data set is seen more often."""


def resolve_learning_rate(config: TrainConfig, width: int = REFERENCE_WIDTH) -> float:
    """Return the configured learning rate, or the default for what is trained.

    The rate of a backbone's own weights falls with its width: under Adam a layer's output moves by the rate times
    the number of its inputs (Yang et al., "Tensor Programs V", 2021).

    Args:
        config: The options.
        width: Size of a hidden state.
    """
    if config.train.learning_rate is not None:
        return config.train.learning_rate
    trainable = config.model.trainable
    kind = "last-block" if trainable.startswith("last-") else trainable
    rate = LEARNING_RATES.get(kind, LEARNING_RATES["all"])
    return float(f"{rate * REFERENCE_WIDTH / width:.1e}") if kind in ("last-block", "gradual") else rate


def resolve_epochs(config: TrainConfig, texts: int) -> int:
    """Return the configured number of epochs, or as many as give a data set of this size enough steps."""
    if config.train.epochs is not None:
        return config.train.epochs
    steps = texts / (config.train.batch_size * config.train.gradient_accumulation)
    return min(MOST_EPOCHS, max(LEAST_EPOCHS, math.ceil(ENOUGH_STEPS / steps)))


def resolve_defaults(config: TrainConfig, texts: int, width: int, depth: int) -> TrainConfig:
    """Return the configuration with every default that depends on others filled in.

    Args:
        config: The options as given.
        texts: Size of the training split after balancing.
        width: Size of a hidden state.
        depth: Number of layers.
    """
    if config.model.trainable == ModelConfig.trainable and depth == 1:  # the default fits every model
        config = dataclasses.replace(config, model=dataclasses.replace(config.model, trainable="last-block"))
    frozen = config.model.trainable not in ("all", "lora")
    start = ("probe" if frozen else "none") if config.train.head_start == "auto" else config.train.head_start
    train = dataclasses.replace(
        config.train,
        epochs=resolve_epochs(config, texts),
        learning_rate=resolve_learning_rate(config, width),
        head_start=start,
    )
    return dataclasses.replace(config, train=train)
