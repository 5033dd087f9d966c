"""`learning_curve()`: how good a model is after so many labelled texts, beside a simple baseline."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetext import files
from finetext.data import Dataset, balance, read
from finetext.errors import RunError, UsageError
from finetext.evaluation import TFIDF, BaselineResult, Metrics, baselines, is_right, mcnemar
from finetext.experiments.folder import ExperimentFolder
from finetext.experiments.subsets import Draw, Pool
from finetext.metric_names import SELECTION_METRICS
from finetext.runs import next_run_folder
from finetext.training import TrainConfig, Trial, check_config, override, run_trial
from finetext.training.api import refuse_other_options
from finetext.training.config import DecisionConfig
from finetext.training.run import holding
from finetext.training.setup import with_absolute_paths
from finetext.training.signals import StopRequest

CURVES = Path("curves")
"""Where curves go that are given no folder, below the working directory."""
SIZES = (8, 16, 32, 64, 128, 256, 512, 1024)
TRIALS = 3
TEST_SIZE = 1024
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class CurveTrial:
    """The fine-tuned model and the baseline after the same texts, tested on the same texts.

    Attributes:
        size: Labelled texts used, those for validation included.
        trial: Number of the sample of this size, from 1.
        train: Texts in its training split, before balancing.
        validation: Texts in its validation split.
        test: Texts in its test split.
        epoch: Epochs after which the model was best on validation; 0 for the head start.
        model: The fine-tuned model's figures on the test split.
        baseline: The baseline's, which learns from training and validation split together.
        mcnemar_p_value: Of the two on these test texts.
        feature_seconds: Time of the frozen layers, where they were not stored already.
        train_seconds: Time of the training.
        computed_tokens: Tokens that went through the frozen layers.
    """

    size: int
    trial: int
    train: int
    validation: int
    test: int
    epoch: float
    model: dict[str, float | None]
    baseline: dict[str, float | None]
    mcnemar_p_value: float
    feature_seconds: float
    train_seconds: float
    computed_tokens: int


@dataclass(frozen=True)
class Curve:
    """A finished learning curve.

    Attributes:
        folder: Its files.
        config: The options that all trials share.
        source: Name of the data.
        synthetic: Whether the texts were written for finetext.
        trials: All trials, smallest size first.
    """

    folder: Path
    config: TrainConfig
    source: str
    synthetic: bool
    trials: tuple[CurveTrial, ...]


Listener = Callable[[CurveTrial, int, int], None]
"""Called after a trial with the number of trials done and to do."""


def learning_curve(
    source: str | Path | None = None,
    config: TrainConfig | None = None,
    *,
    sizes: Sequence[int] = SIZES,
    trials: int = TRIALS,
    test_size: int = TEST_SIZE,
    output: str | Path | None = None,
    progress: Listener | None = None,
    notice: Callable[[str], None] | None = None,
    **options: Any,
) -> Curve:
    """Train on more and more texts, several times each, beside TF-IDF on the same texts.

    Args:
        source: Data, as `train` takes it.
        config: Every option; the defaults if not given.
        sizes: Labelled texts to learn from; of each the share `validation` becomes the validation split.
        trials: Fresh samples of each size.
        test_size: Texts to test on, drawn anew in each trial.
        output: The folder to create; by default `curves/SOURCE-MODEL-N`.
        progress: Called after each trial.
        notice: Told what the user should know.
        **options: Single options by name, such as `model="gpt2"`.

    Raises:
        FinetextError: With one or two lines that say what to do.
    """
    if source is not None:
        options["source"] = str(source)
    config = with_absolute_paths(override(config or TrainConfig(), options))
    if not config.data.source:
        raise UsageError("no data: name a file, a folder, hf:owner/name, `sms-spam` or `sample`.")
    check_config(config)
    _refuse_unused(config)
    if trials < 1:
        raise UsageError(f"--trials {trials}: must be at least 1.")
    path = Path(output) if output else next_run_folder(CURVES, config.data.source, config.model.model)
    folder = ExperimentFolder(path, "curve")
    folder.refuse_taken()
    dataset = read(config.data.source, config.data)
    pool = Pool(dataset, config.data, config.train.seed)
    chosen, left_out = _possible(sorted(set(sizes)), pool, test_size)
    if notice is not None:
        for line in left_out:
            notice(line)
    plan = {
        "kind": "curve",
        "schema_version": SCHEMA_VERSION,
        "sizes": chosen,
        "trials": trials,
        "test_size": test_size,
        "data_digest": dataset.source.digest,
    }
    folder.create(config, plan)
    return _complete(folder, config, plan, dataset, pool, progress)


def _refuse_unused(config: TrainConfig) -> None:
    """Refuse options that only a run which is kept can heed."""
    unused = [
        f"--{name.replace('_', '-')}"
        for name, value in dataclasses.asdict(config.decision).items()
        if value != getattr(DecisionConfig(), name)
    ]
    unused += [name for name, given in (("--track", config.train.track),) if given]
    if unused:
        raise UsageError(
            f"a learning curve keeps no model, so {', '.join(unused)} would change nothing. Leave it out."
        )


def resume_curve(
    path: str | Path,
    *,
    sizes: Sequence[int] | None = None,
    trials: int | None = None,
    test_size: int | None = None,
    progress: Listener | None = None,
    **options: Any,
) -> Curve:
    """Go on with an interrupted curve; trials that are finished are kept.

    Raises:
        RunError: Another process works on it, or data or options are not those it was started with.
    """
    folder = ExperimentFolder(Path(path), "curve")
    config, plan = folder.read()
    refuse_other_options(config, options)
    asked = {"sizes": sizes and sorted(set(sizes)), "trials": trials, "test_size": test_size}
    changed = [
        f"--{name.replace('_', '-')}"
        for name, value in asked.items()
        if value is not None and value != plan[name]
    ]
    if changed:
        raise RunError(
            f"a curve goes on with the options it was started with; {', '.join(changed)} would differ. "
            "Leave them out, or start a new curve."
        )
    dataset = read(config.data.source, config.data)
    folder.refuse_other_data(plan, dataset.source.digest)
    return _complete(folder, config, plan, dataset, Pool(dataset, config.data, config.train.seed), progress)


def _possible(sizes: Sequence[int], pool: Pool, test_size: int) -> tuple[list[int], list[str]]:
    """Return the sizes that the data allow, and a line for those that they do not."""
    most = pool.most(test_size)
    small = [size for size in sizes if size < pool.least]
    large = [size for size in sizes if size > most]
    notes = []
    if small:
        notes.append(
            f"left out {_numbers(small)}: below {pool.least} texts not every class can be in training "
            "once, with a text left for validation."
        )
    if large:
        notes.append(
            f"left out {_numbers(large)}: beside {test_size:,} to test on, the data hold {most:,} different "
            "texts to learn from."
        )
    chosen = [size for size in sizes if pool.least <= size <= most]
    if not chosen:
        raise UsageError("no size is possible: " + (" ".join(notes) or "name some with --sizes 8,16,32."))
    return chosen, notes


def _numbers(sizes: Sequence[int]) -> str:
    return ("size " if len(sizes) == 1 else "sizes ") + ", ".join(f"{size:,}" for size in sizes)


def _complete(
    folder: ExperimentFolder,
    config: TrainConfig,
    plan: dict[str, Any],
    dataset: Dataset,
    pool: Pool,
    progress: Listener | None,
) -> Curve:
    from finetext.experiments.curve_report import write_curve

    with holding(folder.run), StopRequest() as stop, stop.deferred():
        stop.message = f"interrupted. Go on with: finetext curve --resume {folder.path}"
        log = TrialLog(folder.path / "trials.jsonl")
        wanted = [(size, number) for size in plan["sizes"] for number in range(1, plan["trials"] + 1)]
        for size, number in wanted:
            if (size, number) in log.trials:
                continue
            found = _run(config, pool.draw(size, plan["test_size"], number), size, number, stop)
            log.append(found)
            if progress is not None:
                progress(found, len(log.trials), len(wanted))
        done = tuple(log.trials[key] for key in wanted)
        curve = Curve(folder.path, config, dataset.source.name, dataset.source.synthetic, done)
        write_curve(curve, folder)
    return curve


class TrialLog:
    """The finished trials on disk, a line each; the file is whole at any moment."""

    def __init__(self, path: Path) -> None:
        self._path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        found = [CurveTrial(**json.loads(line)) for line in lines]
        self.trials = {(own.size, own.trial): own for own in found}

    def append(self, trial: CurveTrial) -> None:
        """Add a trial."""
        self.trials[trial.size, trial.trial] = trial
        lines = [json.dumps(dataclasses.asdict(own)) for own in self.trials.values()]
        files.write_text(self._path, "\n".join(lines) + "\n")


def _run(config: TrainConfig, draw: Draw, size: int, number: int, stop: StopRequest) -> CurveTrial:
    seed = (config.train.seed + number - 1) % 2**32
    config = override(config, {"seed": seed})
    trial = run_trial(config, (draw.dataset, draw.splits), stop=stop)
    baseline = _baseline(trial, draw)
    assert trial.test is not None
    task = draw.dataset.task
    right = is_right(trial.setup.targets(draw.splits.test), trial.test, task)
    return CurveTrial(
        size=size,
        trial=number,
        train=len(draw.splits.train),
        validation=len(draw.splits.validation),
        test=len(draw.splits.test),
        epoch=trial.selection.epoch,
        model=_headline(trial.test_metrics()),
        baseline=_headline(baseline.metrics),
        mcnemar_p_value=mcnemar(right, baseline.right),
        feature_seconds=trial.feature_seconds,
        train_seconds=trial.train_seconds,
        computed_tokens=trial.computed_tokens,
    )


def _baseline(trial: Trial, draw: Draw) -> BaselineResult:
    # It chooses nothing on validation, so it learns from those texts too: what was labelled is used.
    job, seed = trial.setup, trial.setup.config.train.seed
    labelled = balance(draw.labelled, job.config.data, seed)
    found = baselines(
        labelled.texts,
        job.targets(labelled),
        draw.splits.test.texts,
        job.targets(draw.splits.test),
        job.dataset.class_names,
        job.dataset.task,
        seed,
    )
    return next(own for own in found if own.name == TFIDF)


def _headline(metrics: Metrics) -> dict[str, float | None]:
    return {name: metrics.value(name) for name in SELECTION_METRICS}
