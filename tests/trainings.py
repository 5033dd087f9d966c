"""Trainings on a few texts, without files."""

from finetext.data import Splits, dataset_from_memory
from finetext.training import TrainConfig, Trainer, cache_frozen_layers, override, prepare

NAMES = ("ham", "spam")


def setup_of(texts, classes, **options):
    """Return the setup of a training on texts with class ids; it validates on the first ten of them."""
    dataset = dataset_from_memory(list(texts), [(NAMES[n],) for n in classes], list(NAMES), multi=False)
    splits = Splits(dataset, dataset.subset(range(10)), dataset.subset([]))
    return prepare(override(TrainConfig(), options), (dataset, splits))


def trainer_of(setup, checkpoint=None):
    """Return the trainer of a setup."""
    return Trainer(setup, cache_frozen_layers(setup), checkpoint)


def steps_of(trainer):
    """Return the steps of a training as they are taken."""
    return (event for event in trainer.fit() if hasattr(event, "gradient_norm"))
