"""A run's baselines: without a language model, on its frozen features, and by zero-shot prompting."""

import time
from collections.abc import Callable, Sequence

from torch import Tensor

from finetext.cache import Inputs
from finetext.engine import choose_device
from finetext.evaluation import BaselineResult, baselines
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
from finetext.training.linear_probe import MAX_TEXTS, fit_probe
from finetext.training.progress import Progress
from finetext.training.setup import RunInputs, Setup

FROZEN = "frozen features + LR"
ZERO_SHOT = "zero-shot prompting"


def simple_baselines(setup: Setup) -> list[BaselineResult]:
    """Evaluate the majority class and TF-IDF + logistic regression on a run's splits."""
    return baselines(
        setup.train.texts,
        setup.targets(setup.train),
        setup.splits.test.texts,
        setup.targets(setup.splits.test),
        setup.dataset.class_names,
        setup.dataset.task,
        setup.config.train.seed,
    )


def frozen_features_baseline(
    setup: Setup, inputs: RunInputs | None = None, progress: Callable[[int], None] = lambda done: None
) -> BaselineResult:
    """Fit a logistic regression on the mean of each text's features, and evaluate it on the test split.

    Its features are the output of the layers that the run leaves frozen; if it trains all, of the first two thirds.
    The strength of its penalty is chosen on the validation split. Call it before the model is trained.

    Args:
        setup: Data and model.
        inputs: Cached activations are taken from here, and their computation is not part of the times; otherwise they
            are computed.
        progress: Called with the number of windows processed since the last call.
    """
    splits = setup.splits
    began = time.perf_counter()

    def vectors(name: str, texts: int) -> Tensor:
        if inputs is not None and inputs.stored is not None:
            cached: Inputs = getattr(inputs, name)
            return cached.means(texts)
        known = {"train": setup.encoded, "validation": setup.encoded_validation}
        encoded = known[name] if name in known else setup.model.encode(splits.test.texts)
        cut = setup.plan.cut or two_thirds(setup.model.structure.depth)
        arithmetic = setup.plan.frozen_precision
        return mean_vectors(setup.model, encoded[:texts], cut, progress, arithmetic=arithmetic)

    fit = fit_probe(setup, vectors("train", MAX_TEXTS), vectors("validation", MAX_TEXTS))
    fitted = time.perf_counter()
    logits = fit.logits(vectors("test", len(splits.test)))
    probs = probabilities(logits.numpy(), setup.dataset.task)
    seconds = (fitted - began, time.perf_counter() - fitted)
    return BaselineResult(FROZEN, setup.score(splits.test, probs), probs, *seconds)


def zero_shot_baseline(
    setup: Setup, questions: Sequence[Question] | None = None, progress: Progress | None = None
) -> tuple[Prompter, BaselineResult]:
    """Classify the test split by prompting the pretrained model, without any training.

    Args:
        setup: Data and model; the trained model is moved to the CPU, to make room.
        questions: The prompts; the task's default if not given.
        progress: Receives the number of texts done.

    Returns:
        The prompter of the first question, and the result.

    Raises:
        UsageError: The model is not causal, or the prompt leaves no room for a text.
        ModelError: Its language-model head cannot be loaded.
    """
    task, test = setup.dataset.task, setup.splits.test
    setup.model.network.to("cpu")
    model = load_language_model(setup.model_source, allow_pickle=setup.config.model.allow_pickle)
    model.network.to(choose_device(setup.config.train.device))
    questions = questions or default_questions(setup.dataset.class_names, task)
    prompters = [Prompter(model, question, setup.config.model.max_length) for question in questions]
    count = (progress or Progress()).counter("asking", len(test) * len(prompters))
    began = time.perf_counter()
    likelihoods = [prompter.log_likelihoods(test.texts, progress=count) for prompter in prompters]
    probs = class_probabilities(likelihoods, task)
    seconds = time.perf_counter() - began
    return prompters[0], BaselineResult(ZERO_SHOT, setup.score(test, probs), probs, 0.0, seconds)
