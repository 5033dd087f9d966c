"""The end of a run: the bundle saved and proved, the test split read once, the figures written."""

import contextlib
import dataclasses
import shutil
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetext import __version__, files
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
    compute_metrics,
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
from finetext.training.environment import describe_environment
from finetext.training.inputs import RunInputs
from finetext.training.progress import Progress
from finetext.training.run import Run
from finetext.training.selection import Selection
from finetext.training.setup import Job
from finetext.training.verify import prove

PROVED_TEXTS = 4
"""How many training texts the saved bundle must give the same logits for."""
TIMED_TEXTS = 128
"""How many test texts are labelled once more by the whole model, for the time that takes."""


def finish(
    job: Job,
    folder: RunFolder,
    inputs: RunInputs,
    selection: Selection,
    progress: Progress,
    started: str,
    seconds: dict[str, float],
) -> Run:
    """Save and prove the bundle, evaluate it, and write the run's last files.

    Everything is written anew, so that a run killed in here can be finished by resuming it.
    """
    device = job.model.device
    seconds = dict(seconds)
    if job.config.model.trainable == "lora":
        _merge(job, folder)
    with _timing(seconds, "deciding"):
        chosen = choose_decision(job, inputs, progress)
        apply_decision(job.model, chosen)
    with _timing(seconds, "saving"):
        _save(job, folder, progress)
    progress.finishing("evaluating on validation and test, and the baselines")
    with _timing(seconds, "evaluating"):
        job.model.network.to(device)
        validation, validation_probs = _evaluate(job, job.splits.validation, inputs.validation)
        test, probs = _evaluate(job, job.splits.test, inputs.test)
    with _timing(seconds, "intervals"):
        validation = _with_intervals(job, job.splits.validation, validation, validation_probs)
        test = _with_intervals(job, job.splits.test, test, probs)
    labelling = _labelling_seconds(job)
    with _timing(seconds, "baselines"):
        beside = _baselines(job, inputs, seconds["features"], labelling)
    folds = job.config.decision.folds
    with _timing(seconds, "cross-validation"):
        crossed = None if folds is None else cross_validate(job, folds, progress)
    write_predictions(
        folder.predictions,
        job.splits.test.texts,
        job.targets(job.splits.test),
        probs,
        job.dataset.class_names,
        job.dataset.task,
        chosen.decision,
    )
    costs = {"finetext": _cost(seconds["features"] + seconds["training"], labelling)}
    costs |= {b.name: _cost(b.train_seconds, b.predict_seconds / len(job.splits.test)) for b in beside}
    environment = describe_environment(job, inputs, started, seconds) | {"costs": costs}
    files.write_json(folder.environment, environment)
    metrics = _run_metrics(job, selection, chosen, validation, test, probs, beside, crossed)
    write_card(folder.path, metrics)
    write_report(folder.path, metrics, f"finetext train --config {folder.config}")
    metrics.write(folder.metrics)
    shutil.rmtree(folder.checkpoints, ignore_errors=True)
    return Run.open(folder.path)


def _merge(job: Job, folder: RunFolder) -> None:
    if job.config.model.keep_adapter:
        job.model.network.to("cpu")
        save_adapter(job.model, folder.adapter)
    merge_adapter(job.model)


def _save(job: Job, folder: RunFolder, progress: Progress) -> None:
    progress.finishing("saving the model and loading it in a fresh process")
    model = job.model
    model.network.to("cpu")
    shutil.rmtree(folder.model, ignore_errors=True)  # of a run that was killed in here
    save_bundle(model, folder.model, _provenance(job))
    texts = job.train.texts[:PROVED_TEXTS]
    prove(folder.model, texts, predict_logits(model, texts))


def _provenance(job: Job) -> dict[str, Any]:
    source = job.dataset.source
    return {
        "finetext": __version__,
        "backbone": job.model_source.public_name,
        "backbone_revision": job.model_source.revision,
        "backbone_digest": job.model_source.digest,
        "data_digest": source.digest,
        "synthetic_data": source.synthetic,
        "trainable": job.config.model.trainable,
        "seed": job.config.train.seed,
    }


@contextlib.contextmanager
def _timing(seconds: dict[str, float], stage: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - began


def _evaluate(job: Job, split: Dataset, inputs: Inputs) -> tuple[Metrics, NDArray[np.float32]]:
    probs = probabilities(predict_logits(job.model, inputs), job.dataset.task)
    targets, task, rule = job.targets(split), job.dataset.task, job.model.settings.decision
    return compute_metrics(targets, probs, job.dataset.class_names, task, rule), probs


def _with_intervals(job: Job, split: Dataset, metrics: Metrics, probs: NDArray[np.float32]) -> Metrics:
    task, rule = job.dataset.task, job.model.settings.decision
    return with_intervals(metrics, job.targets(split), probs, task, rule)


def _labelling_seconds(job: Job) -> float:
    """Return the time that the whole model takes to label a text of the test split, measured on some of them."""
    texts = job.splits.test.texts[:TIMED_TEXTS]
    began = time.perf_counter()
    predict_logits(job.model, texts)
    return (time.perf_counter() - began) / len(texts)


def _cost(train_seconds: float, seconds_a_text: float) -> dict[str, float]:
    return {"train_seconds": train_seconds, "seconds_per_1000": seconds_a_text * 1000}


def _baselines(job: Job, inputs: RunInputs, features: float, labelling: float) -> list[BaselineResult]:
    """Return the simple baselines, a classifier on stored features if there are any, zero-shot prompting if asked for.

    The classifier's cost is that of the frozen layers too. In use they take at most what the whole model takes.
    """
    found = simple_baselines(job)
    if inputs.stored is not None:
        frozen = frozen_features_baseline(job, inputs)
        whole = labelling * len(job.splits.test)
        found.append(
            dataclasses.replace(
                frozen,
                train_seconds=frozen.train_seconds + features,
                predict_seconds=frozen.predict_seconds + whole,
            )
        )
    if job.config.decision.zero_shot:
        device = job.model.device
        found.append(zero_shot_baseline(job)[1])
        job.model.network.to(device)
    return found


def _run_metrics(
    job: Job,
    selection: Selection,
    chosen: Chosen,
    validation: Metrics,
    test: Metrics,
    probs: NDArray[np.float32],
    baselines: list[BaselineResult],
    folds: CrossValidation | None,
) -> RunMetrics:
    """Return the content of `metrics.json`."""
    splits, task, targets = job.splits, job.dataset.task, job.targets(job.splits.test)
    right = is_right(targets, probs, task, chosen.decision)
    return RunMetrics(
        task=task,
        class_names=job.dataset.class_names,
        synthetic_data=job.dataset.source.synthetic,
        examples={
            "train": len(splits.train),
            "train_after_balancing": len(job.train),
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
            job.dataset, *([job.lengths] if job.lengths.count else []), notes=tuple(splits.notes)
        ),
        folds=folds,
    )
