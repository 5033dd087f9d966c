"""`learning_curve()`: performance against training-set size, beside a simple baseline."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from finetext import files
from finetext.data import balance, read
from finetext.errors import RunError, UsageError
from finetext.evaluation import TFIDF, Metrics, is_right, mcnemar
from finetext.experiments.curve_points import CurveTrial, LearningCurve
from finetext.experiments.curve_report import write_curve
from finetext.experiments.folder import ExperimentFolder
from finetext.experiments.subsets import Draw, Pool
from finetext.metric_names import METRICS, SELECTION_METRICS
from finetext.options import check_options, fields_with_values
from finetext.runs import next_run_folder
from finetext.training import (
    DecisionConfig,
    Progress,
    StopRequest,
    TrainConfig,
    create_folder,
    holding,
    override,
    refuse_other_options,
    run_trial,
    simple_baselines,
    with_absolute_paths,
)

CURVES = Path("curves")
"""Default parent of the folders, below the working directory."""
SIZES = (8, 16, 32, 64, 128, 256, 512, 1024)
TRIALS = 3
TEST_SIZE = 1024


def learning_curve(
    source: str | Path | None = None,
    config: TrainConfig | None = None,
    *,
    sizes: Sequence[int] = SIZES,
    trials: int = TRIALS,
    test_size: int = TEST_SIZE,
    output: str | Path | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> LearningCurve:
    """Train on more and more texts, several times each, beside TF-IDF on the same texts.

    Args:
        source: Data, as `train` takes it.
        config: Every option; the defaults if not given.
        sizes: Labelled texts to learn from; of each the share `validation` becomes the validation split.
        trials: Fresh samples of each size.
        test_size: Texts to test on, drawn anew in each trial.
        output: The folder to create; by default `curves/SOURCE-MODEL-N`.
        progress: Receives notices, and each trial that has ended.
        **options: Single options by name, such as `model="gpt2"`.
    """
    if source is not None:
        options["source"] = str(source)
    config = with_absolute_paths(override(config or TrainConfig(), options))
    if not config.data.source:
        raise UsageError("no data: name a file, a folder, hf:owner/name, `sms-spam` or `sample`.")
    check_options(config)
    _refuse_unused(config)
    if trials < 1:
        raise UsageError(f"--trials {trials}: must be at least 1.")
    path = Path(output) if output else next_run_folder(CURVES, config.data.source, config.model.model)
    folder = ExperimentFolder(path, "curve")
    folder.refuse_taken()
    progress = progress or Progress()
    pool = Pool(read(config.data.source, config.data), config.data, config.train.seed)
    chosen = _possible_sizes(sorted(set(sizes)), pool, test_size, progress)
    plan = folder.new_plan(pool.source.digest, sizes=chosen, trials=trials, test_size=test_size)
    folder.refuse_taken()  # it may have appeared while the data were read
    create_folder(folder, config, plan=plan)
    return _complete(folder, config, plan, pool, progress)


def resume_curve(
    path: str | Path,
    *,
    sizes: Sequence[int] | None = None,
    trials: int | None = None,
    test_size: int | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> LearningCurve:
    """Resume an interrupted learning curve; finished trials are kept.

    Raises:
        RunError: Another process works on it, or data or options differ from those it was started with.
    """
    folder = ExperimentFolder(Path(path), "curve")
    config, plan = folder.read()
    refuse_other_options(config, options)
    asked = {"sizes": sizes and sorted(set(sizes)), "trials": trials, "test_size": test_size}
    changed = [_flag(name) for name, value in asked.items() if value is not None and value != plan[name]]
    if changed:
        raise RunError(
            f"cannot change options when resuming: {', '.join(changed)} would differ from the original curve. "
            "Leave them out, or start a new curve."
        )
    pool = Pool(read(config.data.source, config.data), config.data, config.train.seed)
    folder.refuse_other_data(plan, pool.source.digest)
    return _complete(folder, config, plan, pool, progress or Progress())


def _flag(option: str) -> str:
    return f"--{option.replace('_', '-')}"


def _refuse_unused(config: TrainConfig) -> None:
    """Refuse options that only affect a model that is kept."""
    default = DecisionConfig()
    decision = fields_with_values(config.decision)
    unused = [_flag(name) for name, value in decision if value != getattr(default, name)]
    unused += ["--track"] if config.train.track else []
    if unused:
        raise UsageError(
            f"a learning curve keeps no model, so {', '.join(unused)} would change nothing. Leave it out."
        )


def _possible_sizes(sizes: Sequence[int], pool: Pool, test_size: int, progress: Progress) -> list[int]:
    """Return the sizes that the data allow, and give notice of the others."""
    least, most = pool.least, pool.most(test_size)
    too_small = f"fewer than {least} texts cannot put every class into training and leave one for validation."
    too_large = f"besides {test_size:,} to test on, the data hold {most:,} different texts to learn from."
    notes = []
    for reason, those in (
        (too_small, [f"{size:,}" for size in sizes if size < least]),
        (too_large, [f"{size:,}" for size in sizes if size > most]),
    ):
        if those:
            notes.append(f"left out size{'s' if len(those) > 1 else ''} {', '.join(those)}: {reason}")
    chosen = [size for size in sizes if least <= size <= most]
    if not chosen:
        raise UsageError("no size is possible: " + (" ".join(notes) or "name some with --sizes 8,16,32."))
    for note in notes:
        progress.notice(note)
    return chosen


def _complete(
    folder: ExperimentFolder, config: TrainConfig, plan: dict[str, Any], pool: Pool, progress: Progress
) -> LearningCurve:
    with holding(folder), StopRequest() as stop, stop.deferred():
        stop.message = f"interrupted. Resume it with: finetext curve --resume {folder.path}"
        log = folder.path / "trials.jsonl"
        lines = log.read_text(encoding="utf-8").splitlines() if log.is_file() else []
        logged = [CurveTrial(**json.loads(line)) for line in lines]
        trials = {(trial.size, trial.trial): trial for trial in logged}
        wanted = [(size, number) for size in plan["sizes"] for number in range(1, plan["trials"] + 1)]
        for size, number in wanted:
            if (size, number) in trials:
                continue
            draw = pool.draw(size, plan["test_size"], number)
            trial = trials[size, number] = _run(config, draw, size, number, stop)
            lines.append(json.dumps(dataclasses.asdict(trial)))
            files.write_text(log, "\n".join(lines) + "\n")
            progress.trial(_summary(trial), len(trials), len(wanted))
        source, ended = pool.source, tuple(trials[key] for key in wanted)
        curve = LearningCurve(folder.path, config, source.name, source.synthetic, ended)
        write_curve(curve, folder)
    return curve


def _run(config: TrainConfig, draw: Draw, size: int, number: int, stop: StopRequest) -> CurveTrial:
    config = override(config, {"seed": (config.train.seed + number - 1) % 2**32})
    trial, splits = run_trial(config, (draw.dataset, draw.splits), stop=stop), draw.splits
    # The baseline chooses nothing on validation, so it learns from those texts too.
    labelled = balance(draw.labelled, trial.setup.config.data, config.train.seed)
    beside = simple_baselines(dataclasses.replace(trial.setup, train=labelled))
    baseline = next(result for result in beside if result.name == TFIDF)
    right = is_right(trial.setup.targets(splits.test), trial.test, draw.dataset.task)
    baseline_right = is_right(trial.setup.targets(splits.test), baseline.probs, draw.dataset.task)
    return CurveTrial(
        size=size,
        trial=number,
        train=len(splits.train),
        validation=len(splits.validation),
        test=len(splits.test),
        epoch=trial.selection.epoch,
        model=_deciding_metrics(trial.test_metrics()),
        baseline=_deciding_metrics(baseline.metrics),
        mcnemar_p_value=mcnemar(right, baseline_right),
        feature_seconds=trial.feature_seconds,
        train_seconds=trial.train_seconds,
        computed_tokens=trial.computed_tokens,
    )


def _deciding_metrics(metrics: Metrics) -> dict[str, float | None]:
    return {name: metrics.value(name) for name in SELECTION_METRICS}


def _summary(trial: CurveTrial) -> str:
    metrics = ", ".join(
        f"{METRICS[name].text} {trial.model[name]:.4f} (TF-IDF {trial.baseline[name]:.4f})"
        for name in ("accuracy", "macro_f1")
    )
    seconds = trial.feature_seconds + trial.train_seconds
    return f"{trial.size:>6,} texts, trial {trial.trial}: {metrics}, {seconds:.1f} s"
