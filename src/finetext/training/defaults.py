"""Defaults that depend on the rest of the configuration. Each is resolved once, printed and recorded."""

import dataclasses

from finetext.training.config import TrainConfig

LEARNING_RATES = {"head": 1e-3, "last-block": 2e-4, "all": 5e-5, "lora": 5e-4, "gradual": 1e-4}
"""Peak rate by what is trained: the fewer weights move, the further each may go."""


def resolve_learning_rate(config: TrainConfig) -> float:
    """Return the configured learning rate, or the default for what is trained."""
    if config.train.learning_rate is not None:
        return config.train.learning_rate
    trainable = config.model.trainable
    kind = "last-block" if trainable.startswith("last-") else trainable
    return LEARNING_RATES.get(kind, LEARNING_RATES["all"])


def resolve_defaults(config: TrainConfig) -> TrainConfig:
    """Return the configuration with every default that depends on others filled in."""
    frozen = config.model.trainable not in ("all", "lora")
    start = ("probe" if frozen else "none") if config.train.head_start == "auto" else config.train.head_start
    train = dataclasses.replace(config.train, learning_rate=resolve_learning_rate(config), head_start=start)
    return dataclasses.replace(config, train=train)
