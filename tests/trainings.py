"""In-memory training runs on a few texts."""

from finetext.data import Splits, dataset_from_memory
from finetext.training import TrainConfig, Trainer, cache_frozen_layers, override, prepare

NAMES = ("ham", "spam")


def setup_of(texts, classes, **options):
    """Return the setup for training on texts with class ids, the first ten of which are also the validation split."""
    dataset = dataset_from_memory(list(texts), [(NAMES[n],) for n in classes], list(NAMES), multi=False)
    splits = Splits(dataset, dataset.subset(range(10)), dataset.subset([]))
    return prepare(override(TrainConfig(), options), (dataset, splits))


def trainer_of(setup, checkpoint=None):
    """Return a trainer for a setup."""
    return Trainer(setup, cache_frozen_layers(setup), checkpoint)


def verify_in_this_process(*question):
    """Verify a bundle as `verify_bundle` does, without a fresh process."""
    from finetext.training.verify import find_difference

    assert find_difference(*question) is None


def steps_of(trainer):
    """Yield the steps of a training run."""
    return (event for event in trainer.fit() if hasattr(event, "gradient_norm"))
