"""`finetext sweep`."""

from pathlib import Path

from rich.table import Table

from finetext import experiments
from finetext.cli.arguments import OutputFolder, refuse_with_resume
from finetext.cli.console import say, warn_of_synthetic, write
from finetext.cli.progress import ConsoleProgress
from finetext.cli.sentences import conclusions
from finetext.cli.tables import four_digits, metrics_table, plain_table
from finetext.errors import UsageError

SHOWN_TRIALS = 40


def sweep(
    source: str | None = None,
    /,
    *,
    config: Path | None = None,
    output: OutputFolder = None,
    resume: Path | None = None,
) -> None:
    """Try many options, choose by validation, and evaluate the winner on the test split once.

    The same command on the same folder, in a second process, shares the work.

    Args:
        source: The labelled texts, as for `finetext train`; by default the source that the file names.
        config: TOML file with the tables [data], [model], [train] and [sweep].
        output: Folder of the sweep; by default a new sweeps/SOURCE-FILE-N. If it holds the same sweep, resume it.
        resume: Resume the sweep in this folder, as it was started.
    """
    with ConsoleProgress() as progress:
        if resume is not None:
            refuse_with_resume("sweep", source, config, output)
            result = experiments.resume_sweep(resume, progress=progress)
        elif config is None:
            raise UsageError("name the file that says what to try: --config sweep.toml.")
        else:
            plan = experiments.read_sweep(config, source)
            result = experiments.sweep(plan, output=output, progress=progress)
    _print(result)


def _print(result: "experiments.Sweep") -> None:
    metrics = result.run.metrics
    warn_of_synthetic(metrics.synthetic_data)
    write(_trial_table(result))
    write(*(f"{trial.name} failed: {trial.error}" for trial in result.trials if trial.error is not None))
    if len(result.trials) > SHOWN_TRIALS:
        write(f"… and {len(result.trials) - SHOWN_TRIALS} more in sweep.csv")
    rows = {"winner": metrics.test, **metrics.baselines}
    write(
        metrics_table(rows, f"Winner on the test split, {metrics.test.examples:,} texts"),
        *conclusions(metrics),
        "The winner's value on validation is the best of many, so it is optimistic; the test split was read once, "
        "for the winner alone.",
    )
    say(f"\nsweep      {result.folder}", f"winner     {result.run.folder.path}")


def _trial_table(result: "experiments.Sweep") -> Table:
    columns = dict.fromkeys([result.metric, "accuracy", "macro_f1", "mcc", "log_loss"])
    names = (name.replace("_", " ") for name in columns)
    title = f"On validation, sorted by {result.metric.replace('_', ' ')}"
    table = plain_table(title, "trial", *names, "epoch", "trained", "seconds")
    table.columns[0].no_wrap = False
    for trial in result.trials[:SHOWN_TRIALS]:
        if trial.state != "complete":
            state = "stopped early" if trial.state == "pruned" else "failed"
            table.add_row(trial.name, four_digits(trial.value), state)
            continue
        figures = trial.figures
        table.add_row(
            trial.name,
            *(four_digits(figures[name]) for name in columns),
            f"{figures['epoch']:.3g}",
            f"{figures['trained_parameters'] / 1e6:.2f} M",
            f"{figures['seconds']:.1f}",
        )
    return table
