"""`measure_baselines()`: what one reaches without fine-tuning, and what it costs, on the splits of `train`."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetext.errors import FinetextError, UsageError
from finetext.evaluation import BaselineResult, with_intervals
from finetext.models import Question, default_questions
from finetext.training import TrainConfig
from finetext.training.baselines import (
    ZERO_SHOT,
    frozen_features_baseline,
    simple_baselines,
    zero_shot_baseline,
)
from finetext.training.config_file import check_config, override
from finetext.training.setup import Setup, prepare

WRITTEN_TOKENS = 20


@dataclass(frozen=True)
class Written:
    """What a language model wrote behind the question about a text."""

    model: str
    text: str
    labels: tuple[str, ...]
    answer: str


@dataclass(frozen=True)
class Baselines:
    """The baselines on the test split.

    Attributes:
        source: What the user called the data.
        synthetic: Whether the texts were written for finetext.
        task: binary, multi-class or multi-label.
        train: Size of the training split.
        test: Size of the test split.
        results: Each baseline.
        questions: What language models were asked; empty if none was.
        written: What they write, where that was asked for.
        notes: What the user should know.
    """

    source: str
    synthetic: bool
    task: str
    train: int
    test: int
    results: tuple[BaselineResult, ...]
    questions: tuple[Question, ...]
    written: tuple[Written, ...]
    notes: tuple[str, ...]

    def seconds_per_1000(self, result: BaselineResult) -> float:
        """Return the time that a baseline takes to label 1,000 texts."""
        return result.predict_seconds / self.test * 1000

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "data": self.source,
            "synthetic_data": self.synthetic,
            "task": self.task,
            "examples": {"train": self.train, "test": self.test},
            "baselines": {
                own.name: {
                    **own.metrics.to_dict(),
                    "train_seconds": own.train_seconds,
                    "seconds_per_1000_texts": self.seconds_per_1000(own),
                }
                for own in self.results
            },
            "questions": [dataclasses.asdict(own) for own in self.questions],
            "written": [dataclasses.asdict(own) for own in self.written],
            "notes": list(self.notes),
        }


def measure_baselines(
    source: str | Path,
    config: TrainConfig | None = None,
    *,
    models: Sequence[str] = ("minilm",),
    prompt: str | None = None,
    label_words: Mapping[str, str] | None = None,
    generate: int = 0,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
    **options: Any,
) -> Baselines:
    """Evaluate baselines on the splits that `train` makes of the same data with the same seed.

    Args:
        source: Data, as `train` takes it.
        config: Every option; the defaults if not given.
        models: Those whose frozen features are classified, and which are asked if they are causal.
        prompt: What a causal model is asked, with `{text}`; see `default_questions`.
        label_words: What it answers for each class.
        generate: Also let it write an answer for so many test texts.
        progress: Called with what is done, the texts done and the texts to do.
        **options: Single options by name, such as `seed=7`.

    Raises:
        FinetextError: With one or two lines that say what to do.
    """
    if not models:
        raise UsageError("no model: name at least one with --model.")
    config = override(config or TrainConfig(), options | {"source": str(source)})
    results: list[BaselineResult] = []
    written: list[Written] = []
    notes: list[str] = []
    questions: list[Question] = []
    for model in dict.fromkeys(models):
        config = override(config, {"model": model})
        check_config(config)
        job = prepare(config)
        own_name = f" ({model})" if len(set(models)) > 1 else ""
        if not results:
            questions = default_questions(job.dataset.class_names, job.dataset.task, prompt, label_words)
            notes += job.notices
            results += simple_baselines(job)
        results.append(_named(_frozen(job, progress), own_name))
        try:
            found, examples = _prompted(job, questions, generate, progress)
        except FinetextError as error:
            notes.append(f"{ZERO_SHOT} of {model} is left out: {error}")
            continue
        results.append(_named(found, own_name))
        written += [dataclasses.replace(own, model=model) for own in examples]
    targets, task = job.targets(job.splits.test), job.dataset.task
    measured = [
        dataclasses.replace(own, metrics=with_intervals(own.metrics, targets, own.probs, task))
        for own in results
    ]
    asked = tuple(questions) if any(own.name.startswith(ZERO_SHOT) for own in results) else ()
    return Baselines(
        source=job.dataset.source.name,
        synthetic=job.dataset.source.synthetic,
        task=job.dataset.task,
        train=len(job.train),
        test=len(job.splits.test),
        results=tuple(measured),
        questions=asked,
        written=tuple(written),
        notes=tuple(notes),
    )


def _named(result: BaselineResult, suffix: str) -> BaselineResult:
    return dataclasses.replace(result, name=result.name + suffix)


def _frozen(job: Setup, progress: Callable[[str, int, int], None]) -> BaselineResult:
    total = len(job.train) + len(job.splits.validation) + len(job.splits.test)
    done = 0

    def count(windows: int) -> None:
        nonlocal done
        done += windows
        progress("reading texts", done, total)

    return frozen_features_baseline(job, progress=count)


def _prompted(
    job: Setup, questions: Sequence[Question], generate: int, progress: Callable[[str, int, int], None]
) -> tuple[BaselineResult, list[Written]]:
    """Ask a model about the test split, without any training.

    Raises:
        UsageError: The model is not causal, or the question leaves no room for a text.
        ModelError: Its language-model head cannot be loaded.
    """
    prompter, result = zero_shot_baseline(job, questions, lambda done, total: progress("asking", done, total))
    test = job.splits.test
    examples = [
        Written("", text, labels, prompter.write(text, WRITTEN_TOKENS))
        for text, labels in zip(test.texts[:generate], test.labels[:generate], strict=True)
    ]
    return result, examples
