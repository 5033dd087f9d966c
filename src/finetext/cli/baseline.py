"""`finetext baseline`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from finetext.data.config import DataConfig
from finetext.options import Parameter, section

if TYPE_CHECKING:
    from rich.table import Table

    from finetext.experiments import Baselines


def baseline(
    source: str,
    /,
    *,
    model: Annotated[tuple[str, ...], Parameter(alias="--model-name-or-path", negative=())] = ("minilm",),
    prompt: str | None = None,
    label_words: dict[str, str] | None = None,
    generate: int = 0,
    max_length: int | None = None,
    seed: int = 42,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    allow_pickle: Annotated[bool, Parameter(negative=())] = False,
    json: Path | None = None,
    data: Annotated[DataConfig, section("Data")] = DataConfig(),
) -> None:
    """Measure what one reaches without fine-tuning, and what it costs, on the splits that `train` makes.

    The majority class; TF-IDF and logistic regression; a model's frozen features and logistic regression; and,
    for causal models, zero-shot prompting: which label word is the likeliest answer to a question.

    Args:
        source: A CSV, TSV, JSON Lines or Parquet file (also gzipped), a folder with train, validation and
            test files, `hf:owner/name`, or a built-in name: `sample` (synthetic) or `sms-spam`.
        model: An alias (`finetext models` lists them), a model folder, or a Hugging Face Hub id; may be given
            several times.
        prompt: What a causal model is asked, with {text} where the text goes, and for a multi-label task {label}.
            By default whether the text is of the second of two classes, or of which of several.
        label_words: What it answers for each class, such as `--label-words.spam junk`; by default no and yes
            where the default prompt asks for that, else the classes' names.
        generate: Also print what it writes for so many test texts.
        max_length: Longest text in tokens, with the question; by default the model's own limit.
        seed: Seed of the splits and of the TF-IDF classifier.
        device: Where the model runs.
        allow_pickle: Accept a model folder without safetensors.
        json: Also write the figures to this file.
        data: How to read the data.
    """
    from rich.progress import Progress

    from finetext import files
    from finetext.cli.console import data as console
    from finetext.cli.console import prose
    from finetext.cli.tables import metrics_table
    from finetext.engine import prepare_cpu
    from finetext.experiments import measure_baselines
    from finetext.training import TrainConfig

    terminal = prose()
    with Progress(console=terminal, transient=True, disable=not terminal.is_terminal) as bar:
        task = bar.add_task("reading data", total=None)
        prepare_cpu()
        found = measure_baselines(
            source,
            TrainConfig(data=data),
            models=model,
            prompt=prompt,
            label_words=label_words,
            generate=generate,
            progress=lambda what, done, total: bar.update(
                task, description=what, completed=done, total=total
            ),
            max_length=max_length,
            seed=seed,
            device=device,
            allow_pickle=allow_pickle,
        )
    for note in found.notes:
        terminal.print(f"note: {note}", markup=False)
    if found.synthetic:
        console().print("Synthetic data: these figures say nothing about real messages.")
    rows = {result.name: result.metrics for result in found.results}
    console().print(metrics_table(rows, f"Test split, {found.test:,} texts"))
    console().print(_cost_table(found))
    _print_written(found)
    if json is not None:
        files.write_json(json, found.to_dict())


def _cost_table(found: "Baselines") -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title="Cost", box=SIMPLE_HEAD, title_justify="left", title_style="bold")
    table.add_column("", no_wrap=True)
    for name in ("training, s", "1,000 texts, s"):
        table.add_column(name, justify="right", no_wrap=True)
    for own in found.results:
        table.add_row(own.name, f"{own.train_seconds:.2f}", f"{found.seconds_per_1000(own):.3f}")
    return table


def _print_written(found: "Baselines") -> None:
    from finetext.cli.console import data

    if found.written:
        data().print("What the model writes", style="bold")
    for own in found.written:
        text = " ".join(own.text.split())
        text = text if len(text) <= 80 else text[:79] + "…"
        data().print(f"{own.model} | {'|'.join(own.labels)} | {text}\n    -> {own.answer!r}", markup=False)
