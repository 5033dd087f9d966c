"""A trial: a training that leaves no folder, for whoever compares many of them."""

import gc
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from finetext.data import Dataset, Splits
from finetext.evaluation import Metrics
from finetext.models import predict_logits, probabilities
from finetext.training.config import TrainConfig
from finetext.training.depth_selection import choose_depth
from finetext.training.inputs import cache_frozen_layers
from finetext.training.progress import Progress, announce
from finetext.training.selection import Selection
from finetext.training.setup import Setup, prepare
from finetext.training.signals import StopRequest
from finetext.training.trainer import Trainer


@dataclass(frozen=True)
class Trial:
    """The result of a trial.

    Attributes:
        setup: Its data, options as resolved, and the trained model.
        selection: Its best evaluation on validation.
        validation: `(N, C)` probabilities on the validation split.
        test: `(M, C)` probabilities on the test split; `M` is 0 if it was left unread.
        test_logits: The logits that they were made from.
        feature_seconds: Time of the frozen layers, where their activations were not cached already.
        train_seconds: Time of the training, evaluations on validation included.
        computed_tokens: Tokens that went through the frozen layers.
    """

    setup: Setup
    selection: Selection
    validation: NDArray[np.float32]
    test: NDArray[np.float32]
    test_logits: NDArray[np.float32]
    feature_seconds: float
    train_seconds: float
    computed_tokens: int

    def validation_metrics(self) -> Metrics:
        """Return the metrics on the validation split."""
        return self.setup.score(self.setup.splits.validation, self.validation)

    def test_metrics(self) -> Metrics:
        """Return the metrics on the test split."""
        return self.setup.score(self.setup.splits.test, self.test)


def run_trial(
    config: TrainConfig,
    parts: tuple[Dataset, Splits] | None = None,
    *,
    read_test: bool = True,
    stop: StopRequest | None = None,
    progress: Progress | None = None,
) -> Trial:
    """Train as `train` does, but write nothing except cached activations.

    Args:
        config: Every option.
        parts: A dataset and its splits; otherwise both follow from the options.
        read_test: Also label the test split. A search leaves it unread until its winner is known.
        stop: Checked after each step and between batches of the frozen layers; a trial that is stopped raises
            `Interrupted`.
        progress: Told what happens; an exception from its `evaluated` ends the trial and is raised here.
    """
    stop, progress = stop or StopRequest(), progress or Progress()
    gc.collect()  # the hooks of the previous trial's model keep it alive in reference cycles
    setup = choose_depth(prepare(config, parts), progress)
    began = time.perf_counter()
    inputs = cache_frozen_layers(setup, progress, stop, read_test=read_test)
    cached = time.perf_counter()
    trainer = Trainer(setup, inputs)
    progress.prepared(setup, inputs, trainer.step)
    for event in trainer.fit():
        announce(event, progress)
        stop.raise_if_requested()
    validation = setup.predict(inputs.validation)
    trained = time.perf_counter()
    logits = predict_logits(setup.model, inputs.test)
    return Trial(
        setup=setup,
        selection=trainer.selection,
        validation=validation,
        test=probabilities(logits, setup.dataset.task),
        test_logits=logits,
        feature_seconds=cached - began,
        train_seconds=trained - cached,
        computed_tokens=inputs.computed_tokens,
    )
