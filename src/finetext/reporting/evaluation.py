"""`write_evaluation()`: the folder that an evaluation of labelled texts leaves."""

from collections.abc import Mapping
from pathlib import Path

from finetext import files
from finetext.data import Dataset, Finding, check_lengths, fold
from finetext.errors import UsageError
from finetext.evaluation import DataSummary, DecisionSummary, Evaluation, RunMetrics, write_predictions
from finetext.inference import Classifier
from finetext.reporting.folder import read_splits
from finetext.reporting.report import write_report
from finetext.runs import RunFolder

SHOWN_ROWS = 5
SEEN = "The classifier was trained or chosen on these texts: its metrics look better than they are. Leave them out."


def write_evaluation(
    path: Path,
    classifier: Classifier,
    dataset: Dataset,
    result: Evaluation,
    named: Mapping[str, str],
    command: str,
) -> RunMetrics:
    """Write `metrics.json`, `predictions.csv`, `report.html` and `plots/` into a new folder, whole or not at all.

    Args:
        path: The folder.
        classifier: The evaluated classifier.
        dataset: The labelled texts.
        result: Predictions and metrics.
        named: What the user called `model`, `source` and `split`.
        command: The command that reproduces it.

    Returns:
        The content of `metrics.json`.

    Raises:
        UsageError: The folder already exists, or cannot be written.
        RunError: The disk is full.
    """
    refuse_folder(path)
    task, rule = classifier.task, classifier.decision
    metrics = RunMetrics(
        task=task,
        class_names=classifier.class_names,
        synthetic_data=dataset.source.synthetic,
        examples={"test": len(dataset)},
        test=result.metrics,
        decision=DecisionSummary.of(rule).with_coverage(result.targets, result.probs, task),
        data=DataSummary.of(dataset, *_more_findings(dataset, classifier, Path(named["model"]))),
        model=named["model"],
        source=named["source"],
        split=named["split"],
    )
    with files.making_folder(path) as staging:
        folder = RunFolder(staging)
        write_predictions(
            folder.predictions, dataset.texts, result.targets, result.probs, metrics.class_names, task, rule
        )
        write_report(staging, metrics, command)
        metrics.write(folder.metrics)
    return metrics


def refuse_folder(path: Path) -> None:
    """Raise UsageError if something stands where an evaluation should go."""
    if path.exists() or path.is_symlink():
        raise UsageError(f"{path}: already exists, and nothing is overwritten. Choose another --output.")


def _more_findings(dataset: Dataset, classifier: Classifier, model: Path) -> list[Finding]:
    """Check which texts are too long for the model, and which the run was trained or chosen on."""
    counts, settings = classifier.model.token_counts(dataset.texts), classifier.model.settings
    windows = settings.long_texts == "windows"
    findings = [check_lengths(dataset.texts, counts, settings.max_length, dataset.rows, windows=windows)]
    run = RunFolder(model if (model / "model").is_dir() else model.parent)
    if run.splits.is_dir() and run.config.is_file():
        splits = read_splits(run.splits)
        seen = {
            fold(text) for name in ("train", "validation") if name in splits for text in splits[name]["text"]
        }
        rows = [row for row, key in zip(dataset.rows, dataset.keys, strict=True) if key in seen]
        first_rows = tuple(rows[:SHOWN_ROWS])
        findings.append(Finding("seen-texts", len(rows), first_rows, SEEN, "warning" if rows else "ok"))
    return findings
