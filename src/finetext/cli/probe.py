"""`finetext probe`."""

from pathlib import Path
from typing import Annotated, Literal

from finetext.data.config import DataConfig
from finetext.options import also, section

PLOTS = (".svg", ".png", ".pdf")


def probe(
    source: str,
    /,
    *,
    model: Annotated[str, also("--model-name-or-path")] = "minilm",
    pooling: Literal["native", "last", "first", "mean"] = "native",
    max_length: int | None = None,
    seed: int = 42,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    plot: Path | None = None,
    json: Path | None = None,
    data: Annotated[DataConfig, section("Data")] = DataConfig(),
) -> None:
    """Show how good each depth of a model is for a task: a linear classifier on the output of every layer.

    Args:
        source: A CSV, TSV, JSON Lines or Parquet file (also gzipped), a folder with train, validation and
            test files, `hf:owner/name`, or a built-in name: `sample` (synthetic) or `sms-spam`.
        model: An alias (`finetext models` lists them), a model folder, or a Hugging Face Hub id.
        pooling: Which position is read; `native` is the architecture's own.
        max_length: Longest text in tokens; by default the model's own limit.
        seed: Seed of the splits.
        device: Where the model runs.
        plot: Also draw the figures to this file: .svg, .png or .pdf.
        json: Also write them to this file.
        data: How to read the data.
    """
    from rich.progress import Progress

    from finetext import experiments, files
    from finetext.cli.console import data as console
    from finetext.cli.console import prose
    from finetext.engine import prepare_cpu
    from finetext.errors import UsageError
    from finetext.experiments.layer_probe import plot_probe
    from finetext.training import TrainConfig
    from finetext.training.config_file import override

    if plot is not None and plot.suffix not in PLOTS:
        raise UsageError(f"{plot}: unknown kind of picture. End its name in {', '.join(PLOTS)}.")
    options = {"model": model, "pooling": pooling, "max_length": max_length, "seed": seed, "device": device}
    config = override(TrainConfig(data=data), options)
    terminal = prose()
    with Progress(console=terminal, transient=True, disable=not terminal.is_terminal) as bar:
        task = bar.add_task("texts", total=None)
        prepare_cpu()
        found = experiments.probe(
            source, config, progress=lambda done, total: bar.update(task, completed=done, total=total)
        )
    if found.job.dataset.source.synthetic:
        console().print("Synthetic data: these figures say nothing about real messages.")
    console().print(_table(found))
    console().print(
        f"Depth {found.best} is the least within one standard error of the best accuracy on validation. "
        f"Train it with: finetext train {source} --model {model} --depth {found.best}",
        markup=False,
    )
    if plot is not None:
        plot_probe(found, plot)
    if json is not None:
        files.write_json(json, found.to_dict())


def _table(found: "object") -> "object":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from finetext.experiments import Probe

    assert isinstance(found, Probe)
    test = found.scores[0].test.examples
    table = Table(
        box=SIMPLE_HEAD, pad_edge=False, title=f"Linear probe by depth, test split of {test:,} texts"
    )
    for name in ("depth", "accuracy (95 %)", "", "macro-F1", "MCC", "parameters", "texts/s"):
        table.add_column(name, justify="left" if name == "" else "right", no_wrap=True)
    low = min(own.test.accuracy for own in found.scores)
    high = max(own.test.accuracy for own in found.scores)
    for own in found.scores:
        figures = own.test
        interval = f"{figures.accuracy:.4f} ({figures.accuracy_low:.3f}–{figures.accuracy_high:.3f})"
        length = round(1 + 11 * (figures.accuracy - low) / max(1e-9, high - low))
        table.add_row(
            f"{own.depth}{' *' if own.depth == found.best else '  '}",
            interval,
            "█" * length,
            f"{figures.macro_f1:.4f}",
            f"{figures.mcc:.4f}",
            f"{own.parameters / 1e6:.1f} M",
            f"{own.texts_per_second:,.0f}",
        )
    return table
