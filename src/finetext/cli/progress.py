"""What commands show while they run: notices, progress bars in a terminal, the table of a training."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Self

from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from finetext import models
from finetext.cli.console import say, stderr, warn_of_synthetic, write
from finetext.cli.sentences import conclusions
from finetext.cli.tables import class_table, metrics_table
from finetext.training import Progress

if TYPE_CHECKING:
    from finetext.evaluation import Metrics
    from finetext.training import EpochAverage, Evaluation, ProbeInitialization, Run, RunInputs, Setup, Step

_LINE = "{:>7} {:>7} {:>10} {:>10} {:>9} {:>9} {:>8} {:>9}"
_HEADER = _LINE.format("epoch", "step", "train loss", "val loss", "accuracy", "macro-F1", "MCC", "texts/s")


class ConsoleProgress(Progress):
    """Shows progress on stderr: live bars in a terminal, plain lines otherwise."""

    def __init__(self) -> None:
        self._console = stderr()
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._training: TaskID | None = None
        self._stages: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def _say(self, text: str) -> None:
        self._console.print(text)

    def notice(self, text: str) -> None:
        """Print a notice."""
        self._say(f"note: {text}")

    def working(self, what: str, done: int, total: int | None) -> None:
        """Advance the bar of a stage, with its rate."""
        if what not in self._stages:
            self._bar.start()
            self._stages[what] = self._bar.add_task(what, total=total, completed=done, rate="")
        stage = self._stages[what]
        self._bar.update(stage, completed=done)
        speed = self._bar.tasks[self._bar.task_ids.index(stage)].speed
        self._bar.update(stage, rate="" if speed is None else f"{speed:,.0f}/s")
        if done == total:
            self._bar.remove_task(self._stages.pop(what))

    def trial(self, summary: str, done: int, total: int) -> None:
        """Print the result of a trial."""
        self._say(f"{done:>3} of {total}  {summary}")

    def prepared(self, setup: "Setup", inputs: "RunInputs", first_step: int) -> None:
        """Print what will be trained on what, and start the bar."""
        total_steps = setup.plan.total_steps
        for name, text in [*describe_setup(setup), ("features", describe_features(setup, inputs))]:
            self._say(f"{name:<10} {text}")
        if first_step:
            self._say(f"{'resumed':<10} after step {first_step} of {total_steps}")
        self._say("\n" + _HEADER)
        self._bar.start()
        self._training = self._bar.add_task("training", total=total_steps, completed=first_step, rate="")

    def features(self, done: int, total: int) -> None:
        """Advance the bar of the frozen layers."""
        self.working("frozen layers, tokens", done, total)

    def step(self, step: "Step") -> None:
        """Advance the bar."""
        if self._training is not None:
            self._bar.update(self._training, completed=step.number, description=f"loss {step.loss:.4f}")

    def initialized(self, initialization: "ProbeInitialization") -> None:
        """Print the metrics of the linear-probe initialisation, before the first step."""
        self._print_metrics("0", 0, "probe init", initialization.metrics)

    def averaged(self, average: "EpochAverage") -> None:
        """Print the metrics of the average of the epochs' weights; a star marks that it is kept."""
        self._print_metrics(f"1-{average.epochs}", "", "mean", average.metrics, star=average.kept)

    def evaluated(self, evaluation: "Evaluation") -> None:
        """Print the line of an evaluation; a star marks the best so far."""
        epoch = f"{evaluation.epoch:.6g}" if evaluation.epoch % 1 == 0 else f"{evaluation.epoch:.2f}"
        loss, speed = f"{evaluation.loss:.4f}", f"{evaluation.examples_per_second:.0f}"
        self._print_metrics(epoch, evaluation.step, loss, evaluation.metrics, speed, evaluation.best)

    def _print_metrics(
        self, epoch: str, step: int | str, loss: str, metrics: "Metrics", speed: str = "", star: bool = False
    ) -> None:
        values = (metrics.log_loss, metrics.accuracy, metrics.macro_f1, metrics.mcc)
        cells = (f"{value:.4f}" for value in values)
        self._say(_LINE.format(epoch, step, loss, *cells, speed) + (" *" if star else ""))

    def finishing(self, stage: str) -> None:
        """Print a stage after training."""
        self._bar.stop()
        self._say(f"{'':<10} {stage} …")


def describe_setup(setup: "Setup") -> list[tuple[str, str]]:
    """Return the lines of the summary before training, as names and texts."""
    dataset, splits, plan, config = setup.dataset, setup.splits, setup.plan, setup.config
    source, train, model = dataset.source, config.train, setup.model
    whole, trainable = (model.network.num_parameters(only_trainable=only) for only in (False, True))
    used = [*splits.train.labels, *splits.validation.labels, *splits.test.labels]
    texts = Counter(name for names in used for name in set(names))
    counts = ", ".join(f"{name} {texts[name]:,}" for name in dataset.class_names[:6])
    more = f", … {len(dataset.class_names) - 6} more" if len(dataset.class_names) > 6 else ""
    balanced = f" ({len(setup.train):,} after balancing)" if len(setup.train) != len(splits.train) else ""
    kind = f"{type(model.network).__name__}, {model.structure.depth} layers, {whole / 1e6:.1f} M parameters"
    trained = f"{trainable / 1e6:.2f} M parameters ({trainable / whole:.1%})"
    head = f"{models.describe_head(model)} · pad token: {model.tokenizer.pad_token}"
    lines = [
        ("data", f"{_from_here(source.name)}: {len(used):,} texts, {dataset.task}: {counts}{more}"),
        ("columns", f"text: {source.text_column} · label: {source.label_column} · format: {source.format}"),
        (
            "splits",
            f"train {len(splits.train):,}{balanced} · validation {len(splits.validation):,} "
            f"· test {len(splits.test):,} · balance: {config.data.balance}",
        ),
        ("model", f"{setup.model_source.name}: {kind}"),
        ("trainable", f"{config.model.trainable}: {trained} · head: {head}"),
        (
            "training",
            f"{train.epochs} epochs, batch {train.batch_size * train.gradient_accumulation}, {plan.optimizer}, "
            f"learning rate {train.learning_rate:g}, {train.schedule} · precision {plan.precision.name} "
            f"· device {setup.model.device} · seed {train.seed}",
        ),
    ]
    if source.synthetic:
        lines.insert(1, ("", "this dataset is synthetic: its metrics say nothing about real messages"))
    return lines


def describe_features(setup: "Setup", inputs: "RunInputs") -> str:
    """Say which layers are frozen, and where their activations are cached."""
    if inputs.stored is None:
        return "none stored: every layer runs in every step"
    depth = setup.model.structure.depth
    what = "the whole backbone" if inputs.cut == depth else f"layers 1 to {inputs.cut} of {depth}"
    done = (
        f"ran once for {inputs.computed_tokens:,} tokens" if inputs.computed_tokens else "found in the cache"
    )
    initialised = ", head initialised by a linear probe" if setup.config.train.head_start == "probe" else ""
    return f"{what} frozen: {done}, stored in {inputs.stored}{initialised}"


def _from_here(name: str) -> str:
    """Return a path below the working directory as a relative one, as the user typed it."""
    here = Path.cwd()
    return str(Path(name).relative_to(here)) if Path(name).is_relative_to(here) else name


def print_run(run: "Run") -> None:
    """Print the metrics of a finished run to stdout, and where its files are to stderr."""
    metrics = run.metrics
    warn_of_synthetic(metrics.synthetic_data)
    rows = {"finetext": metrics.test, **metrics.baselines}
    table = metrics_table(rows, f"Test split, {metrics.test.examples:,} texts")
    write(table, *conclusions(metrics), class_table(metrics.test))
    say(
        f"\nrun        {run.folder.path}",
        f"report     {run.folder.report}",
        f'try it     finetext predict {run.folder.path} "a text"',
    )
