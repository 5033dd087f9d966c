"""`evaluate_baselines()`: baselines that need no fine-tuning, and their cost, on the splits of `train`."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetext.data import Dataset
from finetext.errors import FinetextError, UsageError
from finetext.evaluation import BaselineResult, with_intervals
from finetext.models import Question, default_questions
from finetext.options import check_options
from finetext.training import (
    ZERO_SHOT,
    Progress,
    Setup,
    TrainConfig,
    frozen_features_baseline,
    override,
    prepare,
    simple_baselines,
    zero_shot_baseline,
)

GENERATED_TOKENS = 20


@dataclass(frozen=True)
class Answer:
    """The answer that a language model generates to the question about a text."""

    model: str
    text: str
    labels: tuple[str, ...]
    answer: str


@dataclass(frozen=True)
class Baselines:
    """The baselines on the test split.

    Attributes:
        dataset: All examples.
        train: Size of the training split.
        test: Size of the test split.
        results: Each baseline.
        questions: What language models were asked; empty if none was.
        answers: What they generated, if that was asked for.
        notes: What the user should know.
    """

    dataset: Dataset
    train: int
    test: int
    results: tuple[BaselineResult, ...]
    questions: tuple[Question, ...]
    answers: tuple[Answer, ...]
    notes: tuple[str, ...]

    def seconds_per_1000(self, result: BaselineResult) -> float:
        """Return the time that a baseline takes to label 1,000 texts."""
        return result.predict_seconds / self.test * 1000

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "data": self.dataset.source.name,
            "synthetic_data": self.dataset.source.synthetic,
            "task": self.dataset.task,
            "examples": {"train": self.train, "test": self.test},
            "baselines": {
                result.name: {
                    **result.metrics.to_dict(),
                    "train_seconds": result.train_seconds,
                    "seconds_per_1000_texts": self.seconds_per_1000(result),
                }
                for result in self.results
            },
            "questions": [dataclasses.asdict(question) for question in self.questions],
            "written": [dataclasses.asdict(answer) for answer in self.answers],
            "notes": list(self.notes),
        }


def evaluate_baselines(
    source: str | Path,
    config: TrainConfig | None = None,
    *,
    models: Sequence[str] = ("minilm",),
    prompt: str | None = None,
    label_words: Mapping[str, str] | None = None,
    generate: int = 0,
    progress: Progress | None = None,
    **options: Any,
) -> Baselines:
    """Evaluate baselines on the splits that `train` makes of the same data with the same seed.

    Args:
        source: Data, as `train` takes it.
        config: Every option; the defaults if not given.
        models: Models whose frozen features are classified, and which are prompted if they are causal.
        prompt: The question to a causal model, with `{text}`; see `default_questions`.
        label_words: The answer that stands for each class.
        generate: Number of test texts for which an answer is generated too.
        progress: Receives the number of texts done.
        **options: Single options by name, such as `seed=7`.
    """
    names = list(dict.fromkeys(models))
    if not names:
        raise UsageError("no model: name at least one with --model.")
    progress = progress or Progress()
    results: list[BaselineResult] = []
    answers: list[Answer] = []
    notes: list[str] = []
    questions: Sequence[Question] = ()
    config = override(config or TrainConfig(), options | {"source": str(source)})
    for model in names:
        config = override(config, {"model": model})
        check_options(config)
        setup = prepare(config)
        dataset, splits = setup.dataset, setup.splits
        if not results:
            questions = default_questions(dataset.class_names, dataset.task, prompt, label_words)
            notes += setup.notices
            results += simple_baselines(setup)
        total = len(setup.train) + len(splits.validation) + len(splits.test)
        advance = progress.counter("reading texts", total)
        measured = [frozen_features_baseline(setup, progress=advance)]
        try:
            zero_shot, generated = _zero_shot(setup, questions, model, generate, progress)
            measured.append(zero_shot)
            answers += generated
        except FinetextError as error:
            notes.append(f"{ZERO_SHOT} of {model} is left out: {error}")
        suffix = f" ({model})" if len(names) > 1 else ""
        results += [dataclasses.replace(result, name=result.name + suffix) for result in measured]
    targets = setup.targets(splits.test)
    for index, result in enumerate(results):
        metrics = with_intervals(result.metrics, targets, result.probs, dataset.task)
        results[index] = dataclasses.replace(result, metrics=metrics)
    asked = tuple(questions) if any(result.name.startswith(ZERO_SHOT) for result in results) else ()
    sizes = len(setup.train), len(splits.test)
    return Baselines(dataset, *sizes, tuple(results), asked, tuple(answers), tuple(notes))


def _zero_shot(
    setup: Setup, questions: Sequence[Question], model: str, generate: int, progress: Progress
) -> tuple[BaselineResult, list[Answer]]:
    """Prompt a model with the test split, without any training.

    Raises:
        UsageError: The model is not causal, or the question leaves no room for a text.
        ModelError: Its language-model head cannot be loaded.
    """
    prompter, result = zero_shot_baseline(setup, questions, progress)
    test = setup.splits.test
    return result, [
        Answer(model, text, labels, prompter.write(text, GENERATED_TOKENS))
        for text, labels in zip(test.texts[:generate], test.labels[:generate], strict=True)
    ]
