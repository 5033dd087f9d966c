"""The end of a run: the bundle saved and verified, the test split evaluated once, the metrics written."""

import dataclasses
import shutil
import time

import numpy as np
from numpy.typing import NDArray

from finetext import files
from finetext.evaluation import (
    BaselineResult,
    BestEvaluation,
    CrossValidation,
    DataSummary,
    DecisionSummary,
    Metrics,
    RunMetrics,
    compare_with_baseline,
    is_right,
    with_intervals,
    write_predictions,
)
from finetext.models import merge_adapter, predict_logits, save_adapter, save_bundle
from finetext.reporting import write_card, write_report
from finetext.runs import RunFolder
from finetext.training.baselines import frozen_features_baseline, simple_baselines, zero_shot_baseline
from finetext.training.cross_validation import cross_validate
from finetext.training.decision_tuning import apply_decision, choose_decision
from finetext.training.environment import StageTimes, describe_environment
from finetext.training.progress import Progress
from finetext.training.run import Run
from finetext.training.selection import Selection
from finetext.training.setup import RunInputs, Setup
from finetext.training.verify import verify_bundle

VERIFIED_TEXTS = 4
"""How many training texts the saved bundle must give the same logits for."""
TIMED_TEXTS = 128
"""How many test texts are labelled once more by the whole model, to time it."""


def finalize(
    setup: Setup,
    folder: RunFolder,
    inputs: RunInputs,
    selection: Selection,
    progress: Progress,
    times: StageTimes,
) -> Run:
    """Save and verify the bundle, evaluate it, and write the run's last files.

    Everything is written anew, so that a run killed in here can be finished by resuming it.
    """
    model, splits, task = setup.model, setup.splits, setup.dataset.task
    targets = setup.targets(splits.test)
    device = model.device
    if setup.config.model.keep_adapter:
        model.network.to("cpu")
        save_adapter(model, folder.adapter)
    if setup.config.model.trainable == "lora":
        merge_adapter(model)
    with times.measure("deciding"):
        chosen = choose_decision(setup, inputs, progress)
        rule = chosen.decision
        apply_decision(model, rule, chosen.temperature)
    with times.measure("saving"):
        _save(setup, folder, progress)
    progress.finishing("evaluating on validation and test, and the baselines")
    with times.measure("evaluating"):
        model.network.to(device)
        validation_probs, probs = setup.predict(inputs.validation), setup.predict(inputs.test)
        validation = setup.score(splits.validation, validation_probs, rule)
        test = setup.score(splits.test, probs, rule)
    with times.measure("intervals"):
        held_out = setup.targets(splits.validation)
        validation = with_intervals(validation, held_out, validation_probs, task, rule)
        test = with_intervals(test, targets, probs, task, rule)
    labelling = _labelling_seconds(setup)
    with times.measure("baselines"):
        baselines = _baselines(setup, inputs, times.seconds["features"], labelling)
    folds = setup.config.decision.folds
    with times.measure("cross-validation"):
        crossed = None if folds is None else cross_validate(setup, folds, progress)
    metrics = _run_metrics(setup, selection, chosen, validation, test, probs, baselines, crossed)
    costs = _costs(setup, times, labelling, baselines)
    names = setup.dataset.class_names
    write_predictions(folder.predictions, splits.test.texts, targets, probs, names, task, rule)
    files.write_json(folder.environment, describe_environment(setup, inputs, times) | {"costs": costs})
    write_card(folder.path, metrics)
    write_report(folder.path, metrics, f"finetext train --config {folder.config}")
    metrics.write(folder.metrics)  # the last file: with it the run is finished
    shutil.rmtree(folder.checkpoints, ignore_errors=True)
    return Run.open(folder.path)


def _save(setup: Setup, folder: RunFolder, progress: Progress) -> None:
    progress.finishing("saving the model and loading it in a fresh process")
    model = setup.model
    model.network.to("cpu")
    shutil.rmtree(folder.model, ignore_errors=True)  # of a run that was killed in here
    save_bundle(model, folder.model, setup.provenance())
    texts = setup.train.texts[:VERIFIED_TEXTS]
    verify_bundle(folder.model, texts, predict_logits(model, texts))


def _labelling_seconds(setup: Setup) -> float:
    """Return the time that the whole model takes to label a text of the test split, measured on some of them."""
    texts = setup.splits.test.texts[:TIMED_TEXTS]
    began = time.perf_counter()
    predict_logits(setup.model, texts)
    return (time.perf_counter() - began) / len(texts)


def _baselines(setup: Setup, inputs: RunInputs, features: float, labelling: float) -> list[BaselineResult]:
    """Return the simple baselines, a classifier on cached features if there are any, and zero-shot prompting on demand.

    The cost of the frozen layers is part of the classifier's. In use they take at most what the whole model takes.
    """
    results = simple_baselines(setup)
    if inputs.stored is not None:
        frozen = frozen_features_baseline(setup, inputs)
        train = frozen.train_seconds + features
        predict = frozen.predict_seconds + labelling * len(setup.splits.test)
        results.append(dataclasses.replace(frozen, train_seconds=train, predict_seconds=predict))
    if setup.config.decision.zero_shot:
        device = setup.model.device
        results.append(zero_shot_baseline(setup)[1])
        setup.model.network.to(device)
    return results


def _costs(
    setup: Setup, times: StageTimes, labelling: float, baselines: list[BaselineResult]
) -> dict[str, dict[str, float]]:
    texts = len(setup.splits.test)
    seconds = {"finetext": (times.seconds["features"] + times.seconds["training"], labelling)}
    seconds |= {b.name: (b.train_seconds, b.predict_seconds / texts) for b in baselines}
    return {
        name: {"train_seconds": train, "seconds_per_1000": text * 1000}
        for name, (train, text) in seconds.items()
    }


def _run_metrics(
    setup: Setup,
    selection: Selection,
    chosen: DecisionSummary,
    validation: Metrics,
    test: Metrics,
    probs: NDArray[np.float32],
    baselines: list[BaselineResult],
    folds: CrossValidation | None,
) -> RunMetrics:
    """Return the content of `metrics.json`."""
    splits, task, targets = setup.splits, setup.dataset.task, setup.targets(setup.splits.test)
    right = is_right(targets, probs, task, chosen.decision)
    return RunMetrics(
        task=task,
        class_names=setup.dataset.class_names,
        synthetic_data=setup.dataset.source.synthetic,
        examples={
            "train": len(splits.train),
            "train_after_balancing": len(setup.train),
            "validation": len(splits.validation),
            "test": len(splits.test),
        },
        best=BestEvaluation(
            selection.metric, selection.value, selection.step, selection.epoch, selection.averaged_epochs
        ),
        validation=validation,
        test=test,
        baselines={b.name: with_intervals(b.metrics, targets, b.probs, task) for b in baselines},
        comparisons={
            b.name: compare_with_baseline(right, is_right(targets, b.probs, task)) for b in baselines
        },
        decision=chosen.with_coverage(targets, probs, task),
        data=DataSummary.of(setup.dataset, *setup.lengths, notes=tuple(splits.notes)),
        folds=folds,
    )
