"""The end of a run: the bundle saved and verified, the test split evaluated once, the metrics written."""

import dataclasses
import shutil
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetext import files
from finetext.cache import Inputs
from finetext.data import Dataset
from finetext.decision import Decision
from finetext.evaluation import (
    BaselineResult,
    Metrics,
    compare_right,
    coverage,
    is_right,
    with_intervals,
    write_predictions,
)
from finetext.models import merge_adapter, predict_logits, probabilities, save_adapter, save_bundle
from finetext.reporting import write_card, write_report
from finetext.runs import RunFolder
from finetext.training.baselines import frozen_features_baseline, simple_baselines, zero_shot_baseline
from finetext.training.cross_validation import cross_validate
from finetext.training.decision_tuning import apply_decision, choose_decision
from finetext.training.environment import StageTimes, describe_environment
from finetext.training.inputs import RunInputs
from finetext.training.progress import Progress
from finetext.training.run import Run
from finetext.training.selection import Selection
from finetext.training.setup import Setup
from finetext.training.verify import verify_bundle

SCHEMA_VERSION = 2
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
    metrics = _figures(setup, selection, validation, test, probs, beside)
    metrics |= {
        "decision": chosen.to_dict() | _coverage(setup, probs, chosen.decision),
        "data": _data(setup),
        "folds": crossed,
    }
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
    metrics: dict[str, Any],
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
    write_report(folder.path, metrics | {"costs": costs}, f"finetext train --config {folder.config}")
    files.write_json(folder.metrics, metrics)
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


def _coverage(job: Setup, probs: NDArray[np.float32], rule: Decision) -> dict[str, Any]:
    if rule.abstain_below is None:
        return {}
    return {"test": coverage(job.targets(job.splits.test), probs, job.dataset.task, rule)}


def _data(job: Setup) -> dict[str, Any]:
    source, findings = job.dataset.source, job.dataset.findings
    items = [*findings.items, *([job.lengths] if job.lengths.count else [])]
    return {
        "source": source.name,
        "digest": source.digest,
        "revision": source.revision,
        "findings": [dataclasses.asdict(item) for item in items],
        "classes": [list(pair) for pair in findings.classes],
        "characters": [list(pair) for pair in findings.characters],
        "notes": list(job.splits.notes),
    }


def _figures(
    job: Setup,
    selection: Selection,
    validation: Metrics,
    test: Metrics,
    probs: NDArray[np.float32],
    beside: list[BaselineResult],
) -> dict[str, Any]:
    best, task = selection.to_dict(), job.dataset.task
    targets = job.targets(job.splits.test)
    right = is_right(targets, probs, task, job.model.settings.decision)
    return {
        "schema_version": SCHEMA_VERSION,
        "task": task,
        "class_names": list(job.dataset.class_names),
        "synthetic_data": job.dataset.source.synthetic,
        "examples": {
            "train": len(job.splits.train),
            "train_after_balancing": len(job.train),
            "validation": len(job.splits.validation),
            "test": len(job.splits.test),
        },
        "best": {name: best[name] for name in ("metric", "value", "step", "epoch", "averaged_epochs")},
        "validation": validation.to_dict(),
        "test": test.to_dict(),
        "baselines": {b.name: with_intervals(b.metrics, targets, b.probs, task).to_dict() for b in beside},
        "comparisons": {b.name: compare_right(right, b.right) for b in beside},
    }
