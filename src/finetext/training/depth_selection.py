"""How deep a model must be for a task: a linear probe on the output of every layer (Alain and Bengio, 2016)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from finetext.evaluation import Metrics
from finetext.models import parameters_by_depth, pooled_by_depth, probabilities
from finetext.training.config_file import override
from finetext.training.linear_probe import MAX_TEXTS, fit_probe
from finetext.training.progress import Progress
from finetext.training.setup import Setup, prepare


@dataclass(frozen=True)
class DepthScore:
    """How well a linear head separates the classes if the model ends after some layers.

    Attributes:
        depth: How many layers it has.
        metrics: On `validation`, which chose the strength of the penalty, and on `test` if that was scored.
        strength: The strength of the penalty.
        parameters: How many the shortened model has.
        texts_per_second: How many texts it processes in a second here, after tokenisation.
    """

    depth: int
    metrics: Mapping[str, Metrics]
    strength: float
    parameters: int
    texts_per_second: float


def score_depths(
    setup: Setup, progress: Progress | None = None, *, read_test: bool = False
) -> list[DepthScore]:
    """Fit a regularised logistic regression on the pooled output of each layer.

    Args:
        setup: Data and model.
        progress: Receives the number of texts done.
        read_test: Also score the test split.
    """
    model, splits = setup.model, setup.splits
    parts = {
        "train": (setup.train, setup.encoded),
        "validation": (splits.validation, setup.encoded_validation),
    }
    if read_test:
        parts["test"] = (splits.test, model.encode(splits.test.texts))
    parts = {
        name: (split.subset(range(min(len(split), MAX_TEXTS))), encoded[:MAX_TEXTS])
        for name, (split, encoded) in parts.items()
    }
    total = sum(len(encoded) for _, encoded in parts.values())
    count = (progress or Progress()).counter("reading texts", total)
    pooled = {
        name: pooled_by_depth(model, model.inputs(encoded), count) for name, (_, encoded) in parts.items()
    }
    seconds = sum((seconds for _, seconds in pooled.values()), torch.zeros(model.structure.depth))
    scores = []
    for index, parameters in enumerate(parameters_by_depth(model)):
        vectors = {name: by_depth[index] for name, (by_depth, _) in pooled.items()}
        fit = fit_probe(setup, vectors["train"], vectors["validation"])
        metrics = {
            name: setup.score(split, probabilities(fit.logits(vectors[name]).numpy(), setup.dataset.task))
            for name, (split, _) in parts.items()
            if name != "train"
        }
        speed = total / max(1e-9, float(seconds[index]))
        scores.append(DepthScore(index + 1, metrics, fit.strength, parameters, speed))
    return scores


def best_depth(scores: list[DepthScore]) -> int:
    """Return the least depth within one standard error of the best accuracy on validation (Breiman et al., 1984)."""
    accuracies = [score.metrics["validation"].accuracy for score in scores]
    best = max(accuracies)
    error = math.sqrt(best * (1 - best) / scores[0].metrics["validation"].examples)
    return next(score.depth for score, value in zip(scores, accuracies, strict=True) if value >= best - error)


def choose_depth(setup: Setup, progress: Progress) -> Setup:
    """Return the setup; with `depth = auto`, one with the depth that a linear probe chooses on validation."""
    if setup.config.model.depth != "auto":
        return setup
    scores = score_depths(setup)
    depth = best_depth(scores)
    progress.notice(
        f"depth {depth} of {len(scores)} chosen by a linear probe: "
        + ", ".join(f"{score.depth}: {score.metrics['validation'].accuracy:.3f}" for score in scores)
        + " (accuracy on validation by depth)."
    )
    return prepare(override(setup.config, {"depth": depth}), (setup.dataset, setup.splits))
