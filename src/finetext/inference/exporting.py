"""Exporting a classifier to ONNX, and what decides whether the export may be used."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from finetext import files
from finetext.data import Dataset, examine
from finetext.data.config import DataConfig
from finetext.errors import DataError, ModelError, UsageError
from finetext.inference.classifier import Classifier, load
from finetext.models import (
    ONNX,
    load_exported,
    predict_logits,
    quantize,
    read_bundle,
    save_companions,
    save_config,
    write_onnx,
)
from finetext.models.onnx_export import OPSET, TOLERANCE
from finetext.runs import RunFolder

REPORT = "export.json"
PACKAGES = ("finetext", "torch", "transformers", "onnx", "onnxruntime")
CHECKED_TEXTS = 2000
"""Most texts of the test split on which logits are compared."""
TIMED_TEXTS, ROUNDS = 256, 3
LEAST_QUANTIZED = 0.9
"""Share of the matrix parameters that must be in int8 for a model to be called so."""
LEAST_AGREEMENT = 0.995
"""Share of the validation texts that an int8 model must label as the original does."""
MOST_LOST = 0.003
"""Accuracy on validation that an int8 model may lose."""


@dataclass(frozen=True)
class Examples:
    """What an export is judged on.

    Attributes:
        test: The logits must be the same on these texts.
        validation: An int8 model must give the same labels on these.
    """

    test: Dataset
    validation: Dataset


def export_onnx(
    model: Path,
    output: Path,
    source: str | None = None,
    config: DataConfig = DataConfig(),
    *,
    int8: bool = False,
) -> dict[str, Any]:
    """Export a classifier as a folder that `load` runs by ONNX Runtime, whole or not at all.

    Args:
        model: A run folder, a bundle, or any Hugging Face folder with a sequence classifier.
        output: The folder to create.
        source: Labelled texts to judge the export on; by default the run's own test and validation splits. All of
            it serves for both where it has no such splits of its own.
        config: How the source is read.
        int8: Quantise the matrices; the activations are quantised batch by batch.

    Returns:
        What `export.json` holds: sizes, differences, figures of the int8 model, speed.

    Raises:
        DataError: There are no labelled texts.
        ModelError: The architecture cannot be exported, the export gives other logits, or the int8 model loses more
            than it may.
        UsageError: The folder is there already, or the packages of the extra are not installed.
    """
    if output.exists():
        raise UsageError(f"{output}: is there already. Choose another --output.")
    parts = read_bundle(model)
    examples = _examples(model, source, config, parts.settings.task)
    with files.making_folder(output) as folder:
        folder.mkdir(parents=True)
        exporter = write_onnx(parts, folder / ONNX)
        save_config(parts.network, folder)
        save_companions(parts.tokenizer, parts.settings, parts.provenance, folder)
        classifiers = {"pytorch": load(model, device="cpu"), "onnx": Classifier(load_exported(folder))}
        report: dict[str, Any] = {
            "schema_version": 1,
            "format": "onnx",
            "opset": OPSET,
            "exporter": exporter,
            "versions": {name: metadata.version(name) for name in PACKAGES},
            "bytes": _size(folder),
            "check": _check(classifiers["pytorch"], classifiers["onnx"], examples.test.texts[:CHECKED_TEXTS]),
        }
        if int8:
            share = _quantize(folder)
            classifiers["int8"] = Classifier(load_exported(folder))
            figures = _judge(classifiers["pytorch"], classifiers["int8"], examples.validation)
            report["int8"] = {"share_of_matrices": share, "bytes": _size(folder)} | figures
        report["texts_per_second"] = _speeds(classifiers, examples.test.texts[:TIMED_TEXTS])
        files.write_json(folder / REPORT, report)
    return report


def _examples(model: Path, source: str | None, config: DataConfig, task: str) -> Examples:
    if source is None:
        run = RunFolder(model.parent if model.name == "model" else model)
        if not (run.splits / "test.csv").is_file():
            raise UsageError(
                f"{model}: is no run with splits to check the export on. Name labelled texts: --data FILE."
            )
        source, kind = str(run.splits), "multi-label" if task == "multi-label" else "single-label"
        config = DataConfig(text_column="text", label_column="label", task=kind)  # type: ignore[arg-type]
    dataset = examine(source, config)
    if not len(dataset):
        raise DataError(f"{source}: has no labelled texts to check the export on.")
    given = dataset.given_splits or []
    named = {name: [row for row, own in enumerate(given) if own == name] for name in ("test", "validation")}
    whole = list(range(len(dataset)))
    return Examples(dataset.subset(named["test"] or whole), dataset.subset(named["validation"] or whole))


def _size(folder: Path) -> int:
    """Return the bytes of the network, with its weights where they stand in a file of their own."""
    return sum(path.stat().st_size for path in folder.glob(f"{ONNX}*"))


def _check(original: Classifier, exported: Classifier, texts: Sequence[str]) -> dict[str, Any]:
    """Compare logits; raise ModelError if they differ."""
    expected = predict_logits(original.model, texts)
    found = predict_logits(exported.model, texts)
    scale = max(1.0, float(np.abs(expected).max()))
    difference = float(np.abs(found - expected).max())
    if not difference <= TOLERANCE * scale:
        raise ModelError(
            f"the export gives other logits: they differ by {difference:.1e} of {scale:.1f}, allowed are "
            f"{TOLERANCE * scale:.1e}. It is not kept."
        )
    return {"texts": len(texts), "largest_difference": difference, "largest_logit": scale}


def _quantize(folder: Path) -> float:
    """Put the network in int8 in the place of the one in float32; raise ModelError if it hardly is."""
    low = folder / "int8" / ONNX
    low.parent.mkdir()
    share = quantize(folder / ONNX, low)
    if share < LEAST_QUANTIZED:
        raise ModelError(
            f"only {share:.0%} of the matrix parameters can be put into int8 ({LEAST_QUANTIZED:.0%} are needed to call "
            "it so). Nothing is kept; export without --int8."
        )
    for path in folder.glob(f"{ONNX}*"):
        path.unlink()
    for path in low.parent.iterdir():
        path.rename(folder / path.name)
    low.parent.rmdir()
    return share


def _judge(original: Classifier, quantized: Classifier, validation: Dataset) -> dict[str, Any]:
    """Compare labels and accuracy on validation; raise ModelError if too much is lost."""
    labels = [set(names) for names in validation.labels]
    before = [set(names) for names in original.predict(validation.texts)]
    after = [set(names) for names in quantized.predict(validation.texts)]
    count = len(labels)
    agreement = sum(a == b for a, b in zip(after, before, strict=True)) / count
    accuracy = sum(a == b for a, b in zip(after, labels, strict=True)) / count
    of_original = sum(a == b for a, b in zip(before, labels, strict=True)) / count
    if agreement < LEAST_AGREEMENT or of_original - accuracy > MOST_LOST + 1e-9:
        raise ModelError(
            f"the int8 model gives {agreement:.2%} of {count:,} validation texts the original's label (at least "
            f"{LEAST_AGREEMENT:.1%}) and has accuracy {accuracy:.4f}, the original {of_original:.4f} (at most "
            f"{MOST_LOST:.3f} less). Nothing is kept; export without --int8."
        )
    return {"texts": count, "agreement": agreement, "accuracy": accuracy, "accuracy_of_original": of_original}


def _speeds(classifiers: dict[str, Classifier], texts: Sequence[str]) -> dict[str, float]:
    """Return texts a second of each, the median of interleaved rounds after one to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in classifiers}
    for _ in range(ROUNDS + 1):
        for name, classifier in classifiers.items():
            began = time.perf_counter()
            classifier.predict_proba(texts)
            seconds[name].append(time.perf_counter() - began)
    return {name: round(len(texts) / statistics.median(own[1:]), 1) for name, own in seconds.items()}
