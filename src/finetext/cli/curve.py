"""`finetext curve`."""

from pathlib import Path
from typing import Annotated, Any

from rich.table import Table

from finetext import evaluation, experiments, training
from finetext.cli.app import typed_options
from finetext.cli.arguments import SOURCE, Config, OutputFolder, refuse_with_resume, training_options
from finetext.cli.console import say, warn_of_synthetic, write
from finetext.cli.progress import ConsoleProgress
from finetext.cli.tables import plain_table
from finetext.errors import UsageError
from finetext.metric_names import METRICS
from finetext.options import Flat
from finetext.training import TrainConfig

DEFAULT_SIZES = "8,16,32,64,128,256,512,1024"


def curve(
    source: Annotated[str | None, SOURCE] = None,
    /,
    *,
    sizes: str = DEFAULT_SIZES,
    trials: int = 3,
    test_size: int = 1024,
    config: Config = None,
    resume: Path | None = None,
    output: OutputFolder = None,
    options: Annotated[TrainConfig, Flat] = TrainConfig(),
) -> None:
    """Plot a learning curve: performance against training-set size, beside TF-IDF on the same texts.

    Args:
        sizes: Labelled texts to learn from, such as 8,16,32; the share `--validation` of each, at least one
            text, becomes the validation split.
        trials: Fresh samples of each size.
        test_size: Texts to test on, drawn anew in each trial.
        resume: Resume the interrupted learning curve in this folder.
        output: Folder to create; by default curves/SOURCE-MODEL-N.
    """
    typed = training_options(options, source)
    settings: dict[str, Any] = {"sizes": _parse_sizes(sizes), "trials": trials, "test_size": test_size}
    with ConsoleProgress() as progress:
        if resume is not None:
            refuse_with_resume("learning curve", config, output)
            again = {name: value for name, value in settings.items() if name in typed_options()}
            result = experiments.resume_curve(resume, progress=progress, **again, **typed)
        else:
            start = TrainConfig() if config is None else training.read_config(config)
            result = experiments.learning_curve(
                config=start, output=output, progress=progress, **settings, **typed
            )
    warn_of_synthetic(result.synthetic)
    metric = result.config.train.metric
    write(*(_table(result, name) for name in dict.fromkeys(["accuracy", metric])))
    write(experiments.curve_verdict(result.points(metric), metric))
    say(f"\ncurve      {result.folder}")


def _parse_sizes(text: str) -> list[int]:
    words = text.replace(",", " ").split()
    if not words or not all(word.isdecimal() and int(word) for word in words):
        raise UsageError(f"--sizes {text!r}: must be whole numbers such as {DEFAULT_SIZES[:7]}.")
    return [int(word) for word in words]


def _table(result: "experiments.LearningCurve", metric: str) -> Table:
    tests = result.trials[0].test
    title = (
        f"{METRICS[metric].text}: mean ± standard deviation of {result.trials_per_size} trials, "
        f"each on {tests:,} test texts"
    )
    columns = ("fine-tuned", evaluation.TFIDF, "difference", "95 % interval", "fine-tuned is")
    table = plain_table(title, "labelled texts", *columns)
    for point in result.points(metric):
        table.add_row(
            f"{point.size:,}",
            _spread(point.model, point.model_sd),
            _spread(point.baseline, point.baseline_sd),
            _spread(point.difference, point.difference_sd, "+"),
            "–" if point.low is None else f"{point.low:+.4f} to {point.high:+.4f}",
            point.verdict,
        )
    return table


def _spread(mean: float | None, deviation: float | None, sign: str = "") -> str:
    if mean is None:
        return "–"
    return f"{mean:{sign}.4f}" + ("" if deviation is None else f" ± {deviation:.4f}")
