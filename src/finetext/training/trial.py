"""A trial: a training that leaves no folder, for whoever compares many of them."""

import gc
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from finetext.data import Dataset, Splits
from finetext.evaluation import Metrics, compute_metrics
from finetext.models import predict_logits, probabilities
from finetext.training.config import TrainConfig
from finetext.training.depth_selection import with_best_depth
from finetext.training.inputs import read_inputs
from finetext.training.progress import Progress, Silent
from finetext.training.selection import Selection
from finetext.training.setup import Job, prepare
from finetext.training.signals import StopRequest
from finetext.training.trainer import Execution


@dataclass(frozen=True)
class Trial:
    """What a trial learnt.

    Attributes:
        job: Its data, options as resolved, and the trained model.
        selection: Its best evaluation on validation.
        validation: `(N, C)` probabilities on the validation split.
        test: `(M, C)` probabilities on the test split; None if it was left unread.
        test_logits: The logits that they were made from.
        feature_seconds: Time of the frozen layers, where they were not stored already.
        train_seconds: Time of the training, evaluations on validation included.
        predict_seconds: Time to label the test split.
        computed_tokens: Tokens that went through the frozen layers.
    """

    job: Job
    selection: Selection
    validation: NDArray[np.float32]
    test: NDArray[np.float32] | None
    test_logits: NDArray[np.float32] | None
    feature_seconds: float
    train_seconds: float
    predict_seconds: float
    computed_tokens: int

    def validation_metrics(self) -> Metrics:
        """Return the figures on the validation split."""
        return _metrics(self.job, self.job.splits.validation, self.validation)

    def test_metrics(self) -> Metrics:
        """Return the figures on the test split."""
        assert self.test is not None
        return _metrics(self.job, self.job.splits.test, self.test)


def run_trial(
    config: TrainConfig,
    parts: tuple[Dataset, Splits] | None = None,
    *,
    read_test: bool = True,
    stop: StopRequest | None = None,
    progress: Progress | None = None,
) -> Trial:
    """Train as `train` does, but write nothing but stored features.

    Args:
        config: Every option.
        parts: A dataset and its splits; else both follow from the options.
        read_test: Also label the test split. A search leaves it unread until its winner is known.
        stop: Looked at after each step and between batches of the frozen layers; a trial that is stopped raises
            `Interrupted`.
        progress: Told what happens; what its `evaluated` raises ends the trial and comes out here.
    """
    stop, progress = stop or StopRequest(), progress or Silent()
    gc.collect()  # the model of the trial before hangs in cycles of its hooks
    job = with_best_depth(prepare(config, parts), progress)
    began = time.perf_counter()
    inputs = read_inputs(job, stop, progress, read_test=read_test)
    stored = time.perf_counter()
    selection = Execution(job, None, inputs, None, stop, progress).run()
    validation = probabilities(predict_logits(job.model, inputs.validation), job.dataset.task)
    trained = time.perf_counter()
    logits = predict_logits(job.model, inputs.test) if read_test else None
    return Trial(
        job=job,
        selection=selection,
        validation=validation,
        test=None if logits is None else probabilities(logits, job.dataset.task),
        test_logits=logits,
        feature_seconds=stored - began,
        train_seconds=trained - stored,
        predict_seconds=time.perf_counter() - trained,
        computed_tokens=inputs.computed_tokens,
    )


def _metrics(job: Job, split: Dataset, probs: NDArray[np.float32]) -> Metrics:
    return compute_metrics(job.targets(split), probs, job.dataset.class_names, job.dataset.task)
