"""`finetext probe`."""

from pathlib import Path
from typing import Annotated, Literal

from rich.table import Table

from finetext import experiments, files
from finetext.cli.arguments import BACKBONE, Data, Seed, Source
from finetext.cli.console import warn_of_synthetic, write
from finetext.cli.progress import ConsoleProgress
from finetext.cli.tables import accuracy_interval, plain_table
from finetext.data import DataConfig
from finetext.options import Device, Parameter
from finetext.training import TrainConfig


def probe(
    source: Source,
    /,
    *,
    model: Annotated[str, Parameter(alias="--model-name-or-path", help=BACKBONE)] = "minilm",
    pooling: Literal["native", "last", "first", "mean"] = "native",
    max_length: int | None = None,
    seed: Seed = 42,
    device: Device = "auto",
    plot: Path | None = None,
    json: Path | None = None,
    data: Data = DataConfig(),
) -> None:
    """Compare the depths of a model on a task, with a linear classifier on the output of every layer.

    Args:
        pooling: Position whose hidden state is used; `native` is the architecture's own.
        max_length: Longest text in tokens; by default the model's own limit.
        plot: Also plot the metrics into this file: .svg, .png or .pdf.
        json: Also write them to this file.
    """
    with ConsoleProgress() as progress:
        result = experiments.probe(
            source,
            TrainConfig(data=data),
            model=model,
            pooling=pooling,
            max_length=max_length,
            seed=seed,
            device=device,
            plot=plot,
            progress=progress,
        )
    warn_of_synthetic(result.setup.dataset.source.synthetic)
    write(
        _table(result),
        f"Depth {result.best} is the smallest within one standard error of the best accuracy on validation. "
        f"Train it with: finetext train {source} --model {model} --depth {result.best}",
    )
    if json is not None:
        files.write_json(json, result.to_dict())


def _table(result: "experiments.Probe") -> Table:
    title = f"Linear probe by depth, test split of {result.scores[0].metrics['test'].examples:,} texts"
    columns = ("accuracy (95 %)", "", "macro-F1", "MCC", "parameters", "texts/s")
    table = plain_table(title, "depth", *columns)
    table.columns[2].justify = "left"
    accuracies = [score.metrics["test"].accuracy for score in result.scores]
    low, high = min(accuracies), max(accuracies)
    for score in result.scores:
        metrics = score.metrics["test"]
        bar = "█" * round(1 + 11 * (metrics.accuracy - low) / max(1e-9, high - low))
        table.add_row(
            f"{score.depth}{' *' if score.depth == result.best else '  '}",
            accuracy_interval(metrics.accuracy, metrics.accuracy_low, metrics.accuracy_high),
            bar,
            f"{metrics.macro_f1:.4f}",
            f"{metrics.mcc:.4f}",
            f"{score.parameters / 1e6:.1f} M",
            f"{score.texts_per_second:,.0f}",
        )
    return table
