"""`finetext curve`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from finetext.cli.app import given_options
from finetext.options import Flat, also, fields_with_values
from finetext.training.config import TrainConfig

if TYPE_CHECKING:
    from finetext.experiments import Curve, CurveTrial

DEFAULT_SIZES = "8,16,32,64,128,256,512,1024"


def curve(
    source: str | None = None,
    /,
    *,
    sizes: str = DEFAULT_SIZES,
    trials: int = 3,
    test_size: int = 1024,
    config: Path | None = None,
    resume: Path | None = None,
    output: Annotated[Path | None, also("--output-dir")] = None,
    options: Annotated[TrainConfig, Flat] = TrainConfig(),
) -> None:
    """Show how good the model is after more and more labelled texts, beside TF-IDF on the same texts.

    Args:
        source: The labelled texts, as for `finetext train`.
        sizes: Labelled texts to learn from, such as 8,16,32; the share `--validation` of each, at least one
            text, becomes the validation split.
        trials: Fresh samples of each size.
        test_size: Texts to test on, drawn anew in each trial.
        config: TOML file with the tables [data], [model] and [train]; flags go before it.
        resume: Go on with the interrupted curve in this folder.
        output: Folder to create; by default curves/SOURCE-MODEL-N.
        options: Every other option.
    """
    from finetext import experiments, training
    from finetext.cli.console import prose
    from finetext.engine import prepare_cpu
    from finetext.errors import UsageError

    given = {name: value for name, value in fields_with_values(options) if name in given_options()}
    own: dict[str, Any] = {"sizes": _parse(sizes), "trials": trials, "test_size": test_size}
    if source is not None:
        given["source"] = source
    terminal = prose()

    def notice(text: str) -> None:
        terminal.print(f"note: {text}", markup=False)

    prepare_cpu()
    if resume is not None:
        if config is not None or output is not None:
            raise UsageError(
                "--resume goes on with a curve as it was started: leave out --config and --output."
            )
        again = {name: value for name, value in own.items() if name in given_options()}
        found = experiments.resume_curve(resume, progress=_tell, **again, **given)
    else:
        start = training.TrainConfig() if config is None else training.read_config(config)
        found = experiments.learning_curve(
            config=start, output=output, progress=_tell, notice=notice, **own, **given
        )
    _print(found)


def _parse(sizes: str) -> list[int]:
    from finetext.errors import UsageError

    try:
        found = [int(word) for word in sizes.replace(",", " ").split()]
    except ValueError:
        found = []
    if not found or min(found) < 1:
        raise UsageError(f"--sizes {sizes!r}: must be whole numbers such as {DEFAULT_SIZES[:7]}.")
    return found


def _tell(trial: "CurveTrial", done: int, total: int) -> None:
    from finetext.cli.console import prose
    from finetext.metric_names import METRICS

    figures = ", ".join(
        f"{METRICS[name].text} {_four(trial.model[name])} (TF-IDF {_four(trial.baseline[name])})"
        for name in ("accuracy", "macro_f1")
    )
    prose().print(
        f"{done:>3} of {total}  {trial.size:>6,} texts, trial {trial.trial}: {figures}, "
        f"{trial.feature_seconds + trial.train_seconds:.1f} s",
        markup=False,
    )


def _four(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _print(found: "Curve") -> None:
    from finetext.cli.console import data, prose
    from finetext.cli.tables import plain_table
    from finetext.evaluation import TFIDF
    from finetext.experiments import points, verdict_sentences
    from finetext.metric_names import METRICS

    console = data()
    if found.synthetic:
        console.print("Synthetic data: these figures say nothing about real messages.")
    tests, trials = found.trials[0].test, max(own.trial for own in found.trials)
    metric = found.config.train.metric
    for name in dict.fromkeys(["accuracy", metric]):
        table = plain_table(
            f"{METRICS[name].text}: mean ± standard deviation of {trials} trials, each on {tests:,} test texts",
            "labelled texts",
            "fine-tuned",
            TFIDF,
            "difference",
            "95 % interval",
            "fine-tuned is",
        )
        for own in points(found, name):
            interval = "–" if own.low is None else f"{own.low:+.4f} to {own.high:+.4f}"
            table.add_row(
                f"{own.size:,}",
                _spread(own.model, own.model_sd),
                _spread(own.baseline, own.baseline_sd),
                _spread(own.difference, own.difference_sd, "+"),
                interval,
                own.verdict,
            )
        console.print(table)
    console.print(verdict_sentences(points(found, metric), metric), markup=False, soft_wrap=True)
    prose().print(f"\ncurve      {found.folder}", markup=False)


def _spread(mean: float | None, deviation: float | None, sign: str = "") -> str:
    if mean is None:
        return "–"
    return f"{mean:{sign}.4f}" + ("" if deviation is None else f" ± {deviation:.4f}")
