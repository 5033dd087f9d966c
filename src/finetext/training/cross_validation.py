"""Cross-validation: the same training on every fold, from features that are stored once."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetext.data import Dataset, fold_splits, held_out_folds, join
from finetext.evaluation import Metrics
from finetext.training.config import DecisionConfig
from finetext.training.progress import Progress
from finetext.training.setup import Job
from finetext.training.trial import Trial, run_trial

FIGURES = ("accuracy", "balanced_accuracy", "macro_f1", "weighted_f1", "micro_f1", "mcc", "roc_auc", "pr_auc")


def cross_validate(job: Job, folds: int, progress: Progress) -> dict[str, Any]:
    """Return mean and standard deviation of the figures over folds, as JSON values.

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
    every = {name: [own.value(name) for own in found] for name in (*FIGURES, "log_loss")}
    values = {name: [own for own in each if own is not None] for name, each in every.items()}
    return {
        "k": len(found),
        "examples": sum(own.examples for own in found),
        "metrics": {
            name: {"mean": float(np.mean(own)), "std": float(np.std(own, ddof=1)), "values": own}
            for name, own in values.items()
            if len(own) == len(found)
        },
    }


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
