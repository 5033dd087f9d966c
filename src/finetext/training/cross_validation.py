"""Cross-validation: the same training on every fold, from activations that are computed once."""

import dataclasses
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from finetext import metric_names
from finetext.data import Dataset, fold_splits, held_out_folds, join
from finetext.evaluation import CrossValidation, FoldMetric
from finetext.training.config import DecisionConfig
from finetext.training.progress import Progress
from finetext.training.setup import Setup
from finetext.training.trial import Trial, run_trial

FOLD_METRICS = tuple(
    name for name in metric_names.METRICS if name not in ("calibration_error", "hamming_loss")
)


def cross_validate(setup: Setup, folds: int, progress: Progress) -> CrossValidation:
    """Return the mean and standard deviation of the metrics over folds.

    All examples are used but those of a test split that the source brought.

    Args:
        setup: The run; its options are trained with.
        folds: How many.
        progress: Told which fold is being trained.
    """
    splits, from_source = setup.splits, setup.dataset.given_splits
    has_own_test = from_source is not None and "test" in from_source
    dataset = join([splits.train, splits.validation, *([] if has_own_test else [splits.test])])
    results = [trial.test_metrics() for _, trial in fold_trials(setup, dataset, folds, progress)]
    metrics = {}
    for name in FOLD_METRICS:
        values = tuple(value for fold in results if (value := fold.value(name)) is not None)
        if len(values) == len(results):
            metrics[name] = FoldMetric(float(np.mean(values)), float(np.std(values, ddof=1)), values)
    return CrossValidation(len(results), sum(fold.examples for fold in results), metrics)


def held_out_logits(setup: Setup, folds: int, progress: Progress) -> tuple[Dataset, NDArray[np.float32]]:
    """Return examples of training and validation, and their logits by models that did not see them (cross-fitting).

    Args:
        setup: The run.
        folds: How many models are trained.
        progress: Told which fold is being trained.
    """
    dataset = join([setup.splits.train, setup.splits.validation])
    logits = np.zeros((len(dataset), len(dataset.class_names)), dtype=np.float32)
    labelled = np.zeros(len(dataset), dtype=np.bool_)
    for held_out, trial in fold_trials(setup, dataset, folds, progress):
        logits[held_out], labelled = trial.test_logits, labelled | held_out
    return dataset.subset(np.flatnonzero(labelled).tolist()), logits[labelled]


def fold_trials(
    setup: Setup, dataset: Dataset, folds: int, progress: Progress
) -> Iterator[tuple[NDArray[np.bool_], Trial]]:
    """Train on the rest of each fold; yield which examples were held out, and the trial."""
    seed = setup.config.train.seed
    assigned = held_out_folds(dataset, folds, seed)
    config = dataclasses.replace(setup.config, decision=DecisionConfig())
    for fold in range(folds):
        held_out = assigned == fold
        if held_out.any():
            progress.finishing(f"cross-validation, fold {fold + 1} of {folds}")
            splits = fold_splits(dataset, held_out, config.data, seed)
            yield held_out, run_trial(config, (dataset, splits))
