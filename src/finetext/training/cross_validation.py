"""Cross-validation: the same training on every fold, from features that are stored once."""

import dataclasses
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from finetext import metric_names
from finetext.data import Dataset, fold_splits, held_out_folds, join
from finetext.evaluation import CrossValidation, FoldMetric, Metrics
from finetext.training.config import DecisionConfig
from finetext.training.progress import Progress
from finetext.training.setup import Job
from finetext.training.trial import Trial, run_trial

METRICS = tuple(name for name in metric_names.METRICS if name not in ("calibration_error", "hamming_loss"))


def cross_validate(job: Job, folds: int, progress: Progress) -> CrossValidation:
    """Return mean and standard deviation of the metrics over folds.

    All examples are used but those of a test split that the source brought.

    Args:
        job: The run; its options are trained with.
        folds: How many.
        progress: Told which fold is at work.
    """
    own_test = job.dataset.given_splits is not None and "test" in job.dataset.given_splits
    parts = [job.splits.train, job.splits.validation, *([] if own_test else [job.splits.test])]
    found: list[Metrics] = [
        trial.test_metrics() for _, trial in fold_trials(job, join(parts), folds, progress)
    ]
    metrics = {}
    for name in METRICS:
        values = tuple(value for fold in found if (value := fold.value(name)) is not None)
        if len(values) == len(found):
            metrics[name] = FoldMetric(float(np.mean(values)), float(np.std(values, ddof=1)), values)
    return CrossValidation(len(found), sum(fold.examples for fold in found), metrics)


def held_out_logits(job: Job, folds: int, progress: Progress) -> tuple[Dataset, NDArray[np.float32]]:
    """Return examples of training and validation, and their logits by models that did not see them (cross-fitting).

    Args:
        job: The run.
        folds: How many models are trained.
        progress: Told which fold is at work.
    """
    dataset = join([job.splits.train, job.splits.validation])
    logits = np.zeros((len(dataset), len(dataset.class_names)), dtype=np.float32)
    known = np.zeros(len(dataset), dtype=np.bool_)
    for held_out, trial in fold_trials(job, dataset, folds, progress):
        assert trial.test_logits is not None
        logits[held_out], known = trial.test_logits, known | held_out
    return dataset.subset(np.flatnonzero(known).tolist()), logits[known]


def fold_trials(
    job: Job, dataset: Dataset, folds: int, progress: Progress
) -> Iterator[tuple[NDArray[np.bool_], Trial]]:
    """Train on the rest of each fold; yield which examples were held out, and what was learnt."""
    seed = job.config.train.seed
    assigned = held_out_folds(dataset, folds, seed)
    config = dataclasses.replace(job.config, decision=DecisionConfig())
    for fold in range(folds):
        held_out = assigned == fold
        if held_out.any():
            progress.finishing(f"cross-validation, fold {fold + 1} of {folds}")
            splits = fold_splits(dataset, held_out, config.data, seed)
            yield held_out, run_trial(config, (dataset, splits))
