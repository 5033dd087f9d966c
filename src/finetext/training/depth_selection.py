"""How deep a model must be for a task: a linear probe on the output of every layer (Alain and Bengio, 2016)."""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from finetext.data import Dataset
from finetext.evaluation import Metrics, compute_metrics
from finetext.models import parameters_by_depth, pooled_by_depth, probabilities
from finetext.training import fit_logistic
from finetext.training.head_init import MOST_TEXTS
from finetext.training.losses import mean_loss
from finetext.training.progress import Progress
from finetext.training.setup import Job, prepare


@dataclass(frozen=True)
class DepthScore:
    """What a model that ends after some layers can tell apart with a linear head.

    Attributes:
        depth: How many layers it has.
        validation: Figures on the validation split, which chose the strength of the penalty.
        test: Figures on the test split.
        strength: The strength of the penalty.
        parameters: How many the shortened model has.
        texts_per_second: How many texts it reads in a second here, after tokenisation.
    """

    depth: int
    validation: Metrics
    test: Metrics
    strength: float
    parameters: int
    texts_per_second: float


def score_depths(job: Job, progress: Callable[[int, int], None]) -> list[DepthScore]:
    """Fit a regularised logistic regression on the pooled output of each layer.

    Args:
        job: Data and model.
        progress: Called with the texts done and the texts to do.
    """
    model, splits = job.model, job.splits
    parts = {
        "train": (job.train, job.encoded),
        "validation": (splits.validation, job.encoded_validation),
        "test": (splits.test, model.encode(splits.test.texts)),
    }
    parts = {
        name: (own.subset(range(min(len(own), MOST_TEXTS))), encoded[:MOST_TEXTS])
        for name, (own, encoded) in parts.items()
    }
    total, done = sum(len(encoded) for _, encoded in parts.values()), 0

    def count(texts: int) -> None:
        nonlocal done
        done += texts
        progress(done, total)

    found = {
        name: pooled_by_depth(model, model.inputs(encoded), count) for name, (_, encoded) in parts.items()
    }
    targets = {name: job.targets_tensor(own) for name, (own, _) in parts.items()}
    seconds = sum((own.seconds for own in found.values()), torch.zeros(model.structure.depth))
    loss = mean_loss(job.class_weights, job.config.train.label_smoothing)
    scores = []
    for index, parameters in enumerate(parameters_by_depth(model)):
        vectors = {name: own.vectors[index] for name, own in found.items()}
        fit = fit_logistic(
            vectors["train"],
            targets["train"],
            (vectors["validation"], targets["validation"]),
            len(model.class_names),
            loss,
        )
        figures = {
            name: _figures(job, parts[name][0], fit.logits(vectors[name])) for name in ("validation", "test")
        }
        speed = total / max(1e-9, float(seconds[index]))
        scores.append(
            DepthScore(index + 1, figures["validation"], figures["test"], fit.strength, parameters, speed)
        )
    return scores


def _figures(job: Job, split: Dataset, logits: Tensor) -> Metrics:
    probs = probabilities(logits.numpy(), job.dataset.task)
    return compute_metrics(job.targets(split), probs, job.dataset.class_names, job.dataset.task)


def best_depth(scores: list[DepthScore]) -> int:
    """Return the least depth within one standard error of the best accuracy on validation (Breiman et al., 1984)."""
    accuracies = [score.validation.accuracy for score in scores]
    best = max(accuracies)
    error = math.sqrt(best * (1 - best) / scores[0].validation.examples)
    return next(score.depth for score, own in zip(scores, accuracies, strict=True) if own >= best - error)


def with_best_depth(job: Job, progress: Progress) -> Job:
    """Return the job, or where its depth is `auto` the one with the depth that a linear probe chooses."""
    if job.config.model.depth != "auto":
        return job
    scores = score_depths(job, lambda done, total: None)
    depth = best_depth(scores)
    progress.notice(
        f"depth {depth} of {len(scores)} chosen by a linear probe: "
        + ", ".join(f"{own.depth}: {own.validation.accuracy:.3f}" for own in scores)
        + " (accuracy on validation by depth)."
    )
    model = dataclasses.replace(job.config.model, depth=depth)
    return prepare(dataclasses.replace(job.config, model=model), (job.dataset, job.splits))
