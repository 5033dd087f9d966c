"""`finetext sweep`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from finetext.options import also

if TYPE_CHECKING:
    from finetext.experiments import Sweep

SHOWN = 40


def sweep(
    source: str | None = None,
    /,
    *,
    config: Path | None = None,
    output: Annotated[Path | None, also("--output-dir")] = None,
    resume: Path | None = None,
) -> None:
    """Try many options, choose by validation, and evaluate the winner on the test split once.

    The same command on the same folder, in a second process, shares the work.

    Args:
        source: The labelled texts, as for `finetext train`; by default the source that the file names.
        config: TOML file with the tables [data], [model], [train] and [sweep].
        output: Folder of the sweep; by default a new sweeps/SOURCE-FILE-N. If it holds the same sweep, go on with it.
        resume: Go on with the sweep in this folder, as it was started.
    """
    from finetext import experiments
    from finetext.cli.console import prose
    from finetext.engine import prepare_cpu
    from finetext.errors import UsageError

    terminal = prose()

    def tell(line: str) -> None:
        terminal.print(line, markup=False)

    prepare_cpu()
    if resume is not None:
        if source is not None or config is not None or output is not None:
            raise UsageError(
                "--resume goes on with a sweep as it was started: leave out the data, --config and --output."
            )
        found = experiments.resume_sweep(resume, progress=tell)
    elif config is None:
        raise UsageError("name the file that says what to try: --config sweep.toml.")
    else:
        plan = experiments.read_sweep(config, source)
        found = experiments.sweep(plan, output=output, progress=tell)
    _print(found)


def _print(found: "Sweep") -> None:
    from finetext.cli.console import data, prose
    from finetext.cli.sentences import conclusions
    from finetext.cli.tables import metrics_table, plain_table

    console, metrics = data(), found.run.metrics
    if metrics.synthetic_data:
        console.print("Synthetic data: these figures say nothing about real messages.")
    columns = dict.fromkeys([found.metric, "accuracy", "macro_f1", "mcc", "log_loss"])
    names = [name.replace("_", " ") for name in columns]
    table = plain_table(
        f"On validation, sorted by {found.metric.replace('_', ' ')}",
        "trial",
        *names,
        "epoch",
        "trained",
        "seconds",
    )
    for own in found.trials[:SHOWN]:
        if own.state != "complete":
            shown = "stopped early" if own.state == "pruned" else "failed"
            table.add_row(own.name, "–" if own.value is None else f"{own.value:.4f}", shown)
            continue
        cells = [_four(own.figures[name]) for name in columns]
        parameters = f"{own.figures['trained_parameters'] / 1e6:.2f} M"
        cells += [f"{own.figures['epoch']:.3g}", parameters, f"{own.figures['seconds']:.1f}"]
        table.add_row(own.name, *cells)
    table.columns[0].no_wrap = False
    console.print(table)
    for own in found.trials:
        if own.error is not None:
            console.print(f"{own.name} failed: {own.error}", markup=False, soft_wrap=True)
    if len(found.trials) > SHOWN:
        console.print(f"… and {len(found.trials) - SHOWN} more in sweep.csv")
    rows = {"winner": metrics.test, **metrics.baselines}
    console.print(metrics_table(rows, f"Winner on the test split, {metrics.test.examples:,} texts"))
    for sentence in conclusions(metrics):
        console.print(sentence, markup=False, soft_wrap=True)
    console.print(
        "The winner's value on validation is the best of many and flatters it; the test split was read once, "
        "for the winner alone.",
        soft_wrap=True,
    )
    prose().print(f"\nsweep      {found.folder}\nwinner     {found.run.folder.path}", markup=False)


def _four(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
