"""The end of a run: the bundle saved and proved, the test split read once, the figures written."""

import contextlib
import shutil
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetext import __version__, files
from finetext.data import Dataset
from finetext.engine import Inputs
from finetext.evaluation import (
    BaselineResult,
    Metrics,
    baselines,
    compute_metrics,
    is_right,
    mcnemar,
    verdict,
    write_predictions,
)
from finetext.models import merge_adapter, predict_logits, probabilities, save_adapter, save_bundle
from finetext.runs import RunFolder
from finetext.training.environment import describe_environment
from finetext.training.features import RunInputs
from finetext.training.job import Job
from finetext.training.progress import Progress
from finetext.training.proof import prove
from finetext.training.run import Run
from finetext.training.selection import Selection

SCHEMA_VERSION = 1
PROVED_TEXTS = 4
"""How many training texts the saved bundle must give the same logits for."""


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
    with _timing(seconds, "saving"):
        _save(job, folder, progress)
    progress.finishing("evaluating on validation and test, and the baselines")
    with _timing(seconds, "evaluating"):
        job.model.network.to(device)
        validation, _ = _evaluate(job, job.splits.validation, inputs.validation)
        test, probs = _evaluate(job, job.splits.test, inputs.test)
    with _timing(seconds, "baselines"):
        beside = _baselines(job)
    write_predictions(
        folder.predictions,
        job.splits.test.texts,
        job.targets(job.splits.test),
        probs,
        job.dataset.class_names,
        job.dataset.task,
    )
    seconds |= {f"{b.name}, training": b.train_seconds for b in beside}
    seconds |= {f"{b.name}, test": b.predict_seconds for b in beside}
    files.write_json(folder.environment, describe_environment(job, inputs, started, seconds))
    right = is_right(job.targets(job.splits.test), probs, job.dataset.task)
    metrics = _figures(job, selection, validation, test, beside, right)
    files.write_json(folder.metrics, metrics)
    shutil.rmtree(folder.checkpoints, ignore_errors=True)
    return Run.open(folder.path)


def _save(job: Job, folder: RunFolder, progress: Progress) -> None:
    progress.finishing("saving the model and loading it in a fresh process")
    model = job.model
    model.network.to("cpu")
    if job.config.model.trainable == "lora":
        if job.config.model.keep_adapter:
            save_adapter(model, folder.adapter)
        merge_adapter(model)
    shutil.rmtree(folder.model, ignore_errors=True)  # of a run that was killed in here
    save_bundle(model, folder.model, _provenance(job))
    texts = job.train.texts[:PROVED_TEXTS]
    prove(folder.model, texts, predict_logits(model, texts))


def _provenance(job: Job) -> dict[str, Any]:
    source = job.dataset.source
    return {
        "finetext": __version__,
        "backbone": job.model_source.name,
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
    names, task = job.dataset.class_names, job.dataset.task
    return compute_metrics(job.targets(split), probs, names, task), probs


def _baselines(job: Job) -> list[BaselineResult]:
    return baselines(
        job.train.texts,
        job.targets(job.train),
        job.splits.test.texts,
        job.targets(job.splits.test),
        job.dataset.class_names,
        job.dataset.task,
        job.config.train.seed,
    )


def _figures(
    job: Job,
    selection: Selection,
    validation: Metrics,
    test: Metrics,
    beside: list[BaselineResult],
    right: NDArray[np.bool_],
) -> dict[str, Any]:
    best = selection.to_dict()
    return {
        "schema_version": SCHEMA_VERSION,
        "task": job.dataset.task,
        "class_names": list(job.dataset.class_names),
        "synthetic_data": job.dataset.source.synthetic,
        "examples": {
            "train": len(job.splits.train),
            "train_after_balancing": len(job.train),
            "validation": len(job.splits.validation),
            "test": len(job.splits.test),
        },
        "best": {name: best[name] for name in ("metric", "value", "step", "epoch")},
        "validation": validation.to_dict(),
        "test": test.to_dict(),
        "baselines": {b.name: b.metrics.to_dict() for b in beside},
        "comparisons": {b.name: _compare(test, right, b) for b in beside},
    }


def _compare(test: Metrics, right: NDArray[np.bool_], baseline: BaselineResult) -> dict[str, Any]:
    """Compare the model with a baseline on the same test texts."""
    difference = test.accuracy - baseline.metrics.accuracy
    p_value = mcnemar(right, baseline.right)
    return {
        "accuracy_difference": difference,
        "mcnemar_p_value": p_value,
        "verdict": verdict(p_value, difference),
    }
