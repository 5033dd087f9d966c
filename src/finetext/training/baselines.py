"""A run's baselines: without a language model, with one of which no layer is trained, and with one that is asked."""

import time
from collections.abc import Callable, Sequence

from torch import Tensor

from finetext.cache import Inputs
from finetext.engine import choose_device
from finetext.evaluation import BaselineResult, baselines, compute_metrics, is_right
from finetext.models import (
    Prompter,
    Question,
    class_probabilities,
    default_questions,
    load_language_model,
    mean_vectors,
    probabilities,
    two_thirds,
)
from finetext.training import fit_logistic
from finetext.training.head_init import MOST_TEXTS
from finetext.training.inputs import RunInputs, first_trained_layer, trunk_arithmetic
from finetext.training.losses import mean_loss
from finetext.training.setup import Job

FROZEN = "frozen features + LR"
ZERO_SHOT = "zero-shot prompting"


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


def zero_shot_baseline(
    job: Job,
    questions: Sequence[Question] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Prompter, BaselineResult]:
    """Ask the pretrained model about the test split, without any training.

    Args:
        job: Data and model; the model that is trained goes to the CPU, to make room.
        questions: What it is asked; the task's default if not given.
        progress: Called with the texts done and the texts to do.

    Returns:
        Who asked the first question, and the figures.

    Raises:
        UsageError: The model is not causal, or the question leaves no room for a text.
        ModelError: Its language-model head cannot be loaded.
    """
    task, test = job.dataset.task, job.splits.test
    job.model.network.to("cpu")
    model = load_language_model(job.model_source, allow_pickle=job.config.model.allow_pickle)
    model.network.to(choose_device(job.config.train.device))
    asked = questions or default_questions(job.dataset.class_names, task)
    prompters = [Prompter(model, own, job.config.model.max_length) for own in asked]
    done = 0

    def count(texts: int) -> None:
        nonlocal done
        done += texts
        progress(done, len(test) * len(prompters))

    began = time.perf_counter()
    likelihoods = [own.log_likelihoods(test.texts, progress=count) for own in prompters]
    probs = class_probabilities(likelihoods, task)
    seconds = time.perf_counter() - began
    targets = job.targets(test)
    metrics = compute_metrics(targets, probs, job.dataset.class_names, task)
    right = is_right(targets, probs, task)
    return prompters[0], BaselineResult(ZERO_SHOT, metrics, probs, right, 0.0, seconds)


def _cut(job: Job) -> int:
    depth = job.model.structure.depth
    own = first_trained_layer(job.config, depth, job.config.train.epochs or 1)
    return own or two_thirds(depth)
