"""Exporting a classifier to ONNX, with the checks that decide whether the export is kept."""

import statistics
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from finetext import files
from finetext.data import DataConfig, Dataset, examine
from finetext.errors import DataError, ModelError, UsageError
from finetext.inference.classifier import Classifier, load
from finetext.models import (
    ONNX,
    ONNX_OPSET,
    ONNX_TOLERANCE,
    load_bundle,
    quantize,
    read_bundle,
    save_companions,
    write_onnx,
)
from finetext.runs import RunFolder

REPORT = "export.json"
PACKAGES = ("finetext", "torch", "transformers", "onnx", "onnxruntime")
MAX_CHECKED_TEXTS = 2000
"""Texts of the test split on which logits are compared, at most."""
TIMED_TEXTS, ROUNDS = 256, 3
MIN_QUANTIZED = 0.9
"""Least share of the matrix parameters in int8 for a model to count as int8."""
MIN_AGREEMENT = 0.995
"""Least share of the validation texts on which an int8 model must predict the original's labels."""
MAX_ACCURACY_LOSS = 0.003
"""Accuracy on validation that an int8 model may lose."""


def export_onnx(
    model: Path,
    output: Path,
    source: str | None = None,
    config: DataConfig = DataConfig(),
    *,
    int8: bool = False,
) -> dict[str, Any]:
    """Export a classifier to a folder that `load` runs with ONNX Runtime; nothing is left if a check fails.

    Args:
        model: A run folder, a bundle, or any Hugging Face folder with a sequence classifier.
        output: The folder to create.
        source: Labelled texts to check the export on; by default the run's test and validation splits. Without such
            splits all of it serves as both.
        config: How the source is read.
        int8: Quantize the matrices; activations are quantized dynamically.

    Returns:
        The content of `export.json`: sizes, differences, metrics of the int8 model, speed.

    Raises:
        DataError: There are no labelled texts.
        ModelError: The architecture cannot be exported, the export's logits differ, or the int8 model loses too much
            accuracy.
        UsageError: The folder already exists, or the packages of the extra are not installed.
    """
    if output.exists():
        raise UsageError(f"{output}: already exists. Choose another --output.")
    parts = read_bundle(model)
    test, validation = _test_and_validation(model, source, config, parts.settings.task)
    with files.making_folder(output) as folder:
        folder.mkdir(parents=True)
        exporter = write_onnx(parts, folder / ONNX)
        save_companions(parts.network.config, parts.tokenizer, parts.settings, parts.provenance, folder)
        classifiers = {"pytorch": load(model, device="cpu"), "onnx": Classifier(load_bundle(folder))}
        report: dict[str, Any] = {
            "schema_version": 1,
            "format": "onnx",
            "opset": ONNX_OPSET,
            "exporter": exporter,
            "versions": {name: metadata.version(name) for name in PACKAGES},
            "bytes": _size(folder),
            "check": _check(classifiers["pytorch"], classifiers["onnx"], test.texts[:MAX_CHECKED_TEXTS]),
        }
        if int8:
            share = _quantize(folder)
            classifiers["int8"] = Classifier(load_bundle(folder))
            quality = _check_quantized(classifiers["pytorch"], classifiers["int8"], validation)
            report["int8"] = {"share_of_matrices": share, "bytes": _size(folder)} | quality
        report["texts_per_second"] = _measure_speeds(classifiers, test.texts[:TIMED_TEXTS])
        files.write_json(folder / REPORT, report)
    return report


def _test_and_validation(
    model: Path, source: str | None, config: DataConfig, task: str
) -> tuple[Dataset, Dataset]:
    """Return the texts on which logits must be the same, and those on which an int8 model's labels must be."""
    if source is None:
        run = RunFolder(model.parent if model.name == "model" else model)
        if not (run.splits / "test.csv").is_file():
            raise UsageError(
                f"{model}: not a run with splits to check the export on. Name labelled texts: --data FILE."
            )
        source, kind = str(run.splits), "multi-label" if task == "multi-label" else "single-label"
        config = DataConfig(text_column="text", label_column="label", task=kind)  # type: ignore[arg-type]
    dataset = examine(source, config)
    if not len(dataset):
        raise DataError(f"{source}: has no labelled texts to check the export on.")

    def part(name: str) -> Dataset:
        rows = [row for row, split in enumerate(dataset.given_splits or []) if split == name]
        return dataset.subset(rows) if rows else dataset

    return part("test"), part("validation")


def _size(folder: Path) -> int:
    """Return the bytes of the network, including weights in a file of their own."""
    return sum(path.stat().st_size for path in folder.glob(f"{ONNX}*"))


def _check(original: Classifier, exported: Classifier, texts: Sequence[str]) -> dict[str, Any]:
    """Compare logits; raise ModelError if they differ."""
    expected, actual = original.logits(texts), exported.logits(texts)
    scale = max(1.0, float(np.abs(expected).max()))
    difference = float(np.abs(actual - expected).max())
    if not difference <= ONNX_TOLERANCE * scale:
        raise ModelError(
            f"the export's logits differ from the original's by {difference:.1e} (largest logit {scale:.1f}); "
            f"{ONNX_TOLERANCE * scale:.1e} is allowed. Nothing was kept."
        )
    return {"texts": len(texts), "largest_difference": difference, "largest_logit": scale}


def _quantize(folder: Path) -> float:
    """Replace the float32 network by its int8 version; raise ModelError if too little of it is int8."""
    quantized = folder / "int8" / ONNX
    quantized.parent.mkdir()
    share = quantize(folder / ONNX, quantized)
    if share < MIN_QUANTIZED:
        raise ModelError(
            f"only {share:.0%} of the matrix parameters can be quantized to int8; {MIN_QUANTIZED:.0%} are needed. "
            "Nothing was kept; export without --int8."
        )
    for path in folder.glob(f"{ONNX}*"):
        path.unlink()
    for path in quantized.parent.iterdir():
        path.rename(folder / path.name)
    quantized.parent.rmdir()
    return share


def _check_quantized(original: Classifier, quantized: Classifier, validation: Dataset) -> dict[str, Any]:
    """Compare labels and accuracy on validation; raise ModelError if they differ too much."""
    count = len(validation)
    predictions = [classifier.predict(validation.texts) for classifier in (quantized, original)]
    rows = [tuple(map(set, row)) for row in zip(*predictions, validation.labels, strict=True)]
    agreement = sum(after == before for after, before, _ in rows) / count
    accuracy = sum(after == label for after, _, label in rows) / count
    of_original = sum(before == label for _, before, label in rows) / count
    if agreement < MIN_AGREEMENT or of_original - accuracy > MAX_ACCURACY_LOSS + 1e-9:
        raise ModelError(
            f"the int8 model agrees with the original on {agreement:.2%} of {count:,} validation texts (at least "
            f"{MIN_AGREEMENT:.1%} are needed); its accuracy is {accuracy:.4f}, the original's {of_original:.4f} (it "
            f"may lose {MAX_ACCURACY_LOSS:.3f}). Nothing was kept; export without --int8."
        )
    return {"texts": count, "agreement": agreement, "accuracy": accuracy, "accuracy_of_original": of_original}


def _measure_speeds(classifiers: dict[str, Classifier], texts: Sequence[str]) -> dict[str, float]:
    """Return texts per second of each, the median of interleaved rounds after a warm-up."""
    seconds: dict[str, list[float]] = {name: [] for name in classifiers}
    for _ in range(ROUNDS + 1):
        for name, classifier in classifiers.items():
            began = time.perf_counter()
            classifier.predict_proba(texts)
            seconds[name].append(time.perf_counter() - began)
    return {name: round(len(texts) / statistics.median(times[1:]), 1) for name, times in seconds.items()}
