"""The end of a run: the bundle saved and verified, the test split evaluated once, the metrics written."""

import dataclasses
import shutil
import time

import numpy as np
from numpy.typing import NDArray

from finetext import files
from finetext.cache import Inputs
from finetext.data import Dataset
from finetext.evaluation import (
    BaselineResult,
    BestEvaluation,
    CrossValidation,
    DataSummary,
    Metrics,
    RunMetrics,
    compare_with_baseline,
    is_right,
    summarize_decision,
    with_intervals,
    write_predictions,
)
from finetext.models import merge_adapter, predict_logits, probabilities, save_adapter, save_bundle
from finetext.reporting import write_card, write_report
from finetext.runs import RunFolder
from finetext.training.baselines import frozen_features_baseline, simple_baselines, zero_shot_baseline
from finetext.training.cross_validation import cross_validate
from finetext.training.decision_tuning import Chosen, apply_decision, choose_decision
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
    device, splits = setup.model.device, setup.splits
    if setup.config.model.trainable == "lora":
        _merge(setup, folder)
    with times.measure("deciding"):
        chosen = choose_decision(setup, inputs, progress)
        apply_decision(setup.model, chosen)
    with times.measure("saving"):
        _save(setup, folder, progress)
    progress.finishing("evaluating on validation and test, and the baselines")
    with times.measure("evaluating"):
        setup.model.network.to(device)
        validation, validation_probs = _evaluate(setup, splits.validation, inputs.validation)
        test, probs = _evaluate(setup, splits.test, inputs.test)
    with times.measure("intervals"):
        validation = _with_intervals(setup, splits.validation, validation, validation_probs)
        test = _with_intervals(setup, splits.test, test, probs)
    labelling = _labelling_seconds(setup)
    with times.measure("baselines"):
        beside = _baselines(setup, inputs, times.seconds["features"], labelling)
    folds = setup.config.decision.folds
    with times.measure("cross-validation"):
        crossed = None if folds is None else cross_validate(setup, folds, progress)
    metrics = _run_metrics(setup, selection, chosen, validation, test, probs, beside, crossed)
    _write(setup, folder, inputs, times, probs, metrics, _costs(setup, times, labelling, beside))
    return Run.open(folder.path)


def _merge(setup: Setup, folder: RunFolder) -> None:
    if setup.config.model.keep_adapter:
        setup.model.network.to("cpu")
        save_adapter(setup.model, folder.adapter)
    merge_adapter(setup.model)


def _save(setup: Setup, folder: RunFolder, progress: Progress) -> None:
    progress.finishing("saving the model and loading it in a fresh process")
    model = setup.model
    model.network.to("cpu")
    shutil.rmtree(folder.model, ignore_errors=True)  # of a run that was killed in here
    save_bundle(model, folder.model, setup.provenance())
    texts = setup.train.texts[:VERIFIED_TEXTS]
    verify_bundle(folder.model, texts, predict_logits(model, texts))


def _evaluate(setup: Setup, split: Dataset, inputs: Inputs) -> tuple[Metrics, NDArray[np.float32]]:
    probs = probabilities(predict_logits(setup.model, inputs), setup.dataset.task)
    return setup.score(split, probs, setup.model.settings.decision), probs


def _with_intervals(setup: Setup, split: Dataset, metrics: Metrics, probs: NDArray[np.float32]) -> Metrics:
    task, rule = setup.dataset.task, setup.model.settings.decision
    return with_intervals(metrics, setup.targets(split), probs, task, rule)


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
        whole = labelling * len(setup.splits.test)
        results.append(
            dataclasses.replace(
                frozen,
                train_seconds=frozen.train_seconds + features,
                predict_seconds=frozen.predict_seconds + whole,
            )
        )
    if setup.config.decision.zero_shot:
        device = setup.model.device
        results.append(zero_shot_baseline(setup)[1])
        setup.model.network.to(device)
    return results


def _write(
    setup: Setup,
    folder: RunFolder,
    inputs: RunInputs,
    times: StageTimes,
    probs: NDArray[np.float32],
    metrics: RunMetrics,
    costs: dict[str, dict[str, float]],
) -> None:
    """Write the run's files, `metrics.json` last: with it the run is finished."""
    test = setup.splits.test
    write_predictions(
        folder.predictions,
        test.texts,
        setup.targets(test),
        probs,
        setup.dataset.class_names,
        setup.dataset.task,
        setup.model.settings.decision,
    )
    files.write_json(folder.environment, describe_environment(setup, inputs, times) | {"costs": costs})
    write_card(folder.path, metrics)
    write_report(folder.path, metrics, f"finetext train --config {folder.config}")
    metrics.write(folder.metrics)
    shutil.rmtree(folder.checkpoints, ignore_errors=True)


def _costs(
    setup: Setup, times: StageTimes, labelling: float, beside: list[BaselineResult]
) -> dict[str, dict[str, float]]:
    texts = len(setup.splits.test)
    training = times.seconds["features"] + times.seconds["training"]
    costs = {"finetext": _cost(training, labelling)}
    return costs | {b.name: _cost(b.train_seconds, b.predict_seconds / texts) for b in beside}


def _cost(train_seconds: float, seconds_a_text: float) -> dict[str, float]:
    return {"train_seconds": train_seconds, "seconds_per_1000": seconds_a_text * 1000}


def _run_metrics(
    setup: Setup,
    selection: Selection,
    chosen: Chosen,
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
        comparisons={b.name: compare_with_baseline(right, b.right) for b in baselines},
        decision=summarize_decision(
            chosen.decision,
            targets,
            probs,
            task,
            criterion=chosen.criterion,
            temperature=chosen.temperature,
            chosen_on=chosen.chosen_on,
            examples=chosen.examples,
        ),
        data=DataSummary.of(
            setup.dataset, *([setup.lengths] if setup.lengths.count else []), notes=tuple(splits.notes)
        ),
        folds=folds,
    )
