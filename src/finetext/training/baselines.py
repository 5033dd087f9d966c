"""A run's baselines: without a language model, and with one of which no layer is trained."""

import time
from collections.abc import Callable

from torch import Tensor

from finetext.engine import Inputs, fit_logistic
from finetext.evaluation import BaselineResult, baselines, compute_metrics, is_right
from finetext.models import mean_vectors, probabilities, two_thirds
from finetext.training.features import RunInputs, first_trained_layer, trunk_arithmetic
from finetext.training.head_start import MOST_TEXTS
from finetext.training.job import Job
from finetext.training.losses import mean_loss

FROZEN = "frozen features + LR"


def simple_baselines(job: Job) -> list[BaselineResult]:
    """Evaluate the majority class and TF-IDF + logistic regression on a run's splits."""
    return baselines(
        job.train.texts,
        job.targets(job.train),
        job.splits.test.texts,
        job.targets(job.splits.test),
        job.dataset.class_names,
        job.dataset.task,
        job.config.train.seed,
    )


def frozen_features_baseline(
    job: Job, inputs: RunInputs | None = None, progress: Callable[[int], None] = lambda done: None
) -> BaselineResult:
    """Fit a logistic regression on the mean of each text's features, and evaluate it on the test split.

    Its features are the output of the layers that the run leaves frozen; where it trains all, of the first two
    thirds. The strength of its penalty is chosen on the validation split. Call it before the model is trained.

    Args:
        job: Data and model.
        inputs: Stored features are taken from here, and their computation is not in the times; else they are
            computed.
        progress: Called with the number of windows read since the last call.
    """
    stored = inputs is not None and inputs.stored is not None
    splits = job.splits
    began = time.perf_counter()

    def vectors(name: str, texts: int) -> Tensor:
        if inputs is not None and stored:
            own: Inputs = getattr(inputs, name)
            return own.means(texts)
        known = {"train": job.encoded, "validation": job.encoded_validation}
        encoded = known[name] if name in known else job.model.encode(splits.test.texts)
        return mean_vectors(job.model, encoded[:texts], _cut(job), progress, arithmetic=trunk_arithmetic(job))

    validation = job.targets_tensor(splits.validation)[:MOST_TEXTS]
    fit = fit_logistic(
        vectors("train", MOST_TEXTS),
        job.train_targets()[:MOST_TEXTS],
        (vectors("validation", MOST_TEXTS), validation),
        len(job.dataset.class_names),
        mean_loss(job.class_weights, job.config.train.label_smoothing),
    )
    fitted = time.perf_counter()
    logits = fit.logits(vectors("test", len(splits.test)))
    probs = probabilities(logits.numpy(), job.dataset.task)
    done = time.perf_counter()
    targets = job.targets(splits.test)
    metrics = compute_metrics(targets, probs, job.dataset.class_names, job.dataset.task)
    right = is_right(targets, probs, job.dataset.task)
    return BaselineResult(FROZEN, metrics, probs, right, fitted - began, done - fitted)


def _cut(job: Job) -> int:
    depth = job.model.anatomy.depth
    own = first_trained_layer(job.config, depth, job.config.train.epochs or 1)
    return own or two_thirds(depth)
