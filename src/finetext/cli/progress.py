"""What `finetext train` shows: the summary, a line an evaluation, a live bar in a terminal, the figures."""

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from finetext.cli.console import data, prose
from finetext.training import Progress

if TYPE_CHECKING:
    from finetext.evaluation import Metrics
    from finetext.training import (
        EpochAverage,
        Evaluation,
        ProbeInitialization,
        Run,
        RunInputs,
        Setup,
        Step,
    )

_LINE = "{:>7} {:>7} {:>10} {:>10} {:>9} {:>9} {:>8} {:>9}"
_HEADER = _LINE.format("epoch", "step", "train loss", "val loss", "accuracy", "macro-F1", "MCC", "texts/s")


class ConsoleProgress(Progress):
    """Shows a run on stderr: a live bar in a terminal, plain lines otherwise."""

    def __init__(self) -> None:
        self._console = prose()
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task: TaskID | None = None
        self._features: TaskID | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def notice(self, text: str) -> None:
        """Print a notice."""
        self._console.print(f"note: {text}", markup=False)

    def prepared(self, setup: "Setup", inputs: "RunInputs", first_step: int) -> None:
        """Print what will be trained on what, and start the bar."""
        total_steps = setup.plan.total_steps
        for name, text in [*describe_setup(setup), ("features", describe_features(setup, inputs))]:
            self._console.print(f"{name:<10} {text}", markup=False)
        if first_step:
            self._console.print(f"{'resumed':<10} after step {first_step} of {total_steps}")
        self._console.print("\n" + _HEADER, markup=False)
        self._bar.start()
        self._task = self._bar.add_task("training", total=total_steps, completed=first_step)

    def features(self, done: int, total: int) -> None:
        """Advance the bar of the frozen layers."""
        if done == 0:
            self._bar.start()
            self._features = self._bar.add_task("frozen layers, tokens", total=total)
        elif self._features is not None:
            self._bar.update(self._features, completed=done)
            if done == total:
                self._bar.remove_task(self._features)

    def step(self, step: "Step") -> None:
        """Advance the bar."""
        if self._task is not None:
            self._bar.update(self._task, completed=step.number, description=f"loss {step.loss:.4f}")

    def initialized(self, initialization: "ProbeInitialization") -> None:
        """Print the metrics of the linear-probe initialisation, before the first step."""
        self._print_figures("0", "0", "head start", initialization.metrics)

    def averaged(self, average: "EpochAverage") -> None:
        """Print the metrics of the mean of the epochs' weights; a star marks that it is kept."""
        star = " *" if average.kept else ""
        self._print_figures(f"1-{average.epochs}", "", "mean", average.metrics, star)

    def _print_figures(self, epoch: str, step: str, what: str, metrics: "Metrics", mark: str = "") -> None:
        figures = (metrics.log_loss, metrics.accuracy, metrics.macro_f1, metrics.mcc)
        cells = ("-" if figure is None else f"{figure:.4f}" for figure in figures)
        self._console.print(_LINE.format(epoch, step, what, *cells, "") + mark, markup=False)

    def evaluated(self, evaluation: "Evaluation") -> None:
        """Print the line of an evaluation; a star marks the best so far."""
        cells = (
            f"{evaluation.epoch:.6g}" if evaluation.epoch % 1 == 0 else f"{evaluation.epoch:.2f}",
            evaluation.step,
            f"{evaluation.loss:.4f}",
            f"{evaluation.metrics.log_loss:.4f}",
            f"{evaluation.metrics.accuracy:.4f}",
            f"{evaluation.metrics.macro_f1:.4f}",
            f"{evaluation.metrics.mcc:.4f}",
            f"{evaluation.examples_per_second:.0f}",
        )
        self._console.print(_LINE.format(*cells) + (" *" if evaluation.best else ""), markup=False)

    def finishing(self, stage: str) -> None:
        """Print a stage after training."""
        self._bar.stop()
        self._console.print(f"{'':<10} {stage} …", markup=False)


def describe_setup(job: "Setup") -> list[tuple[str, str]]:
    """Return the lines of the summary that stands before training, as name and text."""
    from finetext.models import describe

    dataset, splits, summary = job.dataset, job.splits, describe(job.model)
    used = [*splits.train.labels, *splits.validation.labels, *splits.test.labels]
    counts = ", ".join(f"{name} {_count(used, name):,}" for name in dataset.class_names[:6])
    more = f", … {len(dataset.class_names) - 6} more" if len(dataset.class_names) > 6 else ""
    source = dataset.source
    train = job.config.train
    balanced = f" ({len(job.train):,} after balancing)" if len(job.train) != len(splits.train) else ""
    lines = [
        ("data", f"{_from_here(source.name)}: {len(used):,} texts, {dataset.task}: {counts}{more}"),
        ("columns", f"text: {source.text_column} · label: {source.label_column} · format: {source.format}"),
        (
            "splits",
            f"train {len(splits.train):,}{balanced} · validation {len(splits.validation):,} "
            f"· test {len(splits.test):,} · balance: {job.config.data.balance}",
        ),
        (
            "model",
            f"{job.model_source.name}: {summary.architecture}, {summary.depth} layers, "
            f"{summary.parameters / 1e6:.1f} M parameters",
        ),
        (
            "trainable",
            f"{job.config.model.trainable}: {summary.trainable_parameters / 1e6:.2f} M parameters "
            f"({summary.trainable_parameters / summary.parameters:.1%}) · head: {summary.head} "
            f"· pad token: {summary.pad_token}",
        ),
        (
            "training",
            f"{train.epochs} epochs, batch {train.batch_size * train.gradient_accumulation}, {job.plan.optimizer}, "
            f"learning rate {train.learning_rate:g}, {train.schedule} · precision {job.plan.precision.name} "
            f"· device {job.model.device} · seed {train.seed}",
        ),
    ]
    if source.synthetic:
        lines.insert(1, ("", "this data set is synthetic: its figures say nothing about real messages"))
    return lines


def describe_features(job: "Setup", inputs: "RunInputs") -> str:
    """Return in words what of the model is constant and where that is kept."""
    if inputs.stored is None:
        return "none stored: every layer runs in every step"
    depth = job.model.structure.depth
    what = "the whole backbone" if inputs.cut == depth else f"layers 1 to {inputs.cut} of {depth}"
    done = (
        f"ran once for {inputs.computed_tokens:,} tokens" if inputs.computed_tokens else "found in the cache"
    )
    start = ", head start by a linear probe" if job.config.train.head_start == "probe" else ""
    return f"{what} frozen: {done}, stored in {inputs.stored}{start}"


def _from_here(name: str) -> str:
    """Return a path below the working directory as it is typed; the run itself keeps it whole."""
    here = Path.cwd()
    return str(Path(name).relative_to(here)) if Path(name).is_relative_to(here) else name


def _count(labels: list[tuple[str, ...]], name: str) -> int:
    return sum(name in own for own in labels)


def print_run(run: "Run") -> None:
    """Print the metrics of a finished run to stdout, and where its files are to stderr."""
    from finetext.cli.sentences import conclusions
    from finetext.cli.tables import class_table, metrics_table

    console = data()
    metrics = run.metrics
    if metrics.synthetic_data:
        console.print("Synthetic data: these figures say nothing about real messages.")
    rows = {"finetext": metrics.test, **metrics.baselines}
    console.print(metrics_table(rows, f"Test split, {metrics.test.examples:,} texts"))
    for sentence in conclusions(metrics):
        console.print(sentence, markup=False, soft_wrap=True)
    console.print(class_table(metrics.test))
    prose().print(
        f"\nrun        {run.folder.path}\nreport     {run.folder.report}\n"
        f'try it     finetext predict {run.folder.path} "a text"',
        markup=False,
    )
