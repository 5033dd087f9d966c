"""`finetext baseline`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from rich.table import Table

from finetext import experiments, files
from finetext.cli.arguments import BACKBONE, AllowPickle, Data, Seed, Source
from finetext.cli.console import note, warn_of_synthetic, write
from finetext.cli.progress import ConsoleProgress
from finetext.cli.tables import metrics_table, plain_table
from finetext.data import DataConfig
from finetext.options import Device, Parameter
from finetext.training import TrainConfig

SHOWN_CHARACTERS = 80


def baseline(
    source: Source,
    /,
    *,
    model: Annotated[
        tuple[str, ...],
        Parameter(alias="--model-name-or-path", negative=(), help=f"{BACKBONE} Repeatable."),
    ] = ("minilm",),
    prompt: str | None = None,
    label_words: dict[str, str] | None = None,
    generate: int = 0,
    max_length: int | None = None,
    seed: Seed = 42,
    device: Device = "auto",
    allow_pickle: AllowPickle = False,
    json: Path | None = None,
    data: Data = DataConfig(),
) -> None:
    """Evaluate baselines that need no fine-tuning, and their cost, on the splits that `train` makes.

    The majority class; TF-IDF and logistic regression; a model's frozen features and logistic regression; and,
    for causal models, zero-shot prompting: which label word is the likeliest answer to a question.

    Args:
        prompt: The question to a causal model, with {text} where the text goes, and for a multi-label task {label}.
            By default whether the text is of the second of two classes, or of which of several.
        label_words: The answer that stands for each class, such as `--label-words.spam junk`; by default no and yes
            where the default prompt asks for that, else the classes' names.
        generate: Also print the answers generated for this many test texts.
        max_length: Longest text in tokens, with the question; by default the model's own limit.
        json: Also write the metrics to this file.
    """
    with ConsoleProgress() as progress:
        result = experiments.evaluate_baselines(
            source,
            TrainConfig(data=data),
            models=model,
            prompt=prompt,
            label_words=label_words,
            generate=generate,
            progress=progress,
            max_length=max_length,
            seed=seed,
            device=device,
            allow_pickle=allow_pickle,
        )
    for text in result.notes:
        note(text)
    warn_of_synthetic(result.dataset.source.synthetic)
    rows = {baseline.name: baseline.metrics for baseline in result.results}
    write(metrics_table(rows, f"Test split, {result.test:,} texts"), _cost_table(result), *_answers(result))
    if json is not None:
        files.write_json(json, result.to_dict())


def _cost_table(result: "experiments.Baselines") -> Table:
    table = plain_table("Cost", "", "training, s", "1,000 texts, s")
    for baseline in result.results:
        seconds = result.seconds_per_1000(baseline)
        table.add_row(baseline.name, f"{baseline.train_seconds:.2f}", f"{seconds:.3f}")
    return table


def _answers(result: "experiments.Baselines") -> Iterator[str]:
    if result.answers:
        yield "What the model writes"
    for answer in result.answers:
        text = " ".join(answer.text.split())
        text = text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"
        yield f"{answer.model} | {'|'.join(answer.labels)} | {text}\n    -> {answer.answer!r}"
