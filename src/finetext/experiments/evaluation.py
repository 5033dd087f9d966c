"""`evaluate()`: a trained classifier on labelled texts, from the source to a folder with a report."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from finetext.data import DataConfig, Dataset, examine
from finetext.errors import DataError
from finetext.evaluation import RunMetrics
from finetext.evaluation import evaluate as evaluate_texts
from finetext.inference import load
from finetext.reporting import refuse_folder, write_evaluation
from finetext.runs import RunFolder, next_run_folder
from finetext.training import Progress

EVALUATIONS = Path("evaluations")
"""Default parent of the folders, below the working directory."""
EvaluatedSplit = Literal["auto", "train", "validation", "test", "all"]


@dataclass(frozen=True)
class EvaluationRun:
    """A finished evaluation.

    Attributes:
        folder: Its files.
        dataset: The texts that were evaluated.
        metrics: What `metrics.json` holds.
    """

    folder: RunFolder
    dataset: Dataset
    metrics: RunMetrics


def evaluate(
    model: str | Path,
    source: str | Path,
    data: DataConfig | None = None,
    *,
    split: EvaluatedSplit = "auto",
    output: str | Path | None = None,
    device: str = "auto",
    precision: str = "fp32",
    command: str = "",
    progress: Progress | None = None,
) -> EvaluationRun:
    """Evaluate a trained classifier on labelled texts.

    Args:
        model: A run folder, a saved model, or any Hugging Face folder with a sequence classifier.
        source: Data, as `train` takes it.
        data: How to read it.
        split: Which of the source's own splits; auto is test if it has one, else all rows.
        output: The folder to create; by default `evaluations/SOURCE-MODEL-N`.
        device: auto, cpu, cuda or mps.
        precision: auto, fp32, tf32, bf16 or fp16.
        command: The command that repeats it, for the report.
        progress: Receives the number of texts done.
    """
    model, source = Path(model), str(source)
    name = model.parent.name if model.name == "model" else model.name
    folder = Path(output) if output else next_run_folder(EVALUATIONS, source, name)
    refuse_folder(folder)
    dataset = _select(examine(source, data or DataConfig()), split)
    if not dataset.texts:
        raise DataError(
            f"{source}: has no labelled texts to evaluate. Check its columns with `finetext inspect`."
        )
    classifier = load(model, device=device, precision=precision)
    advance = (progress or Progress()).counter("evaluating", len(dataset))
    result = evaluate_texts(classifier, dataset.texts, dataset.labels, progress=advance)
    named = {"model": str(model), "source": source, "split": split}
    metrics = write_evaluation(folder, classifier, dataset, result, named, command)
    return EvaluationRun(RunFolder(folder), dataset, metrics)


def _select(dataset: Dataset, split: EvaluatedSplit) -> Dataset:
    """Return the texts of one of the source's own splits."""
    splits = dataset.given_splits
    if split == "auto":
        split = "test" if splits is not None and "test" in splits else "all"
    if split == "all":
        return dataset
    if splits is None:
        raise DataError(f"{dataset.source.name}: has no splits of its own. Leave out --split {split}.")
    return dataset.subset([row for row, name in enumerate(splits) if name == split])
