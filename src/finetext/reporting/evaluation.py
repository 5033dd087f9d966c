"""`write_evaluation()`: the folder that an evaluation of labelled texts leaves."""

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finetext import files
from finetext.data import Dataset, Finding, check_lengths, fold
from finetext.errors import UsageError
from finetext.evaluation import Evaluation, coverage, write_predictions
from finetext.inference import Classifier
from finetext.reporting.folder import read_split_files
from finetext.reporting.report import write_report
from finetext.runs import RunFolder

SCHEMA_VERSION = 2
SHOWN_ROWS = 5
SEEN = (
    "The classifier learnt from these texts or was chosen on them: the figures are too good. Leave them out."
)


def write_evaluation(
    path: Path,
    classifier: Classifier,
    dataset: Dataset,
    result: Evaluation,
    named: Mapping[str, str],
    command: str,
) -> dict[str, Any]:
    """Write `metrics.json`, `predictions.csv`, `report.html` and `plots/` into a new folder, whole or not at all.

    Args:
        path: The folder.
        classifier: What was evaluated.
        dataset: The labelled texts.
        result: What came out.
        named: What the user called `model`, `source` and `split`.
        command: What repeats it.

    Returns:
        What `metrics.json` holds.

    Raises:
        UsageError: The folder is there already, or cannot be written.
        RunError: The disk is full.
    """
    refuse_folder(path)
    staging = RunFolder(path.with_name(f".{path.name}.tmp"))
    figures = _figures(classifier, _checked(dataset, classifier, Path(named["model"])), result) | dict(named)
    try:
        shutil.rmtree(staging.path, ignore_errors=True)
        staging.path.mkdir(parents=True)
        write_predictions(
            staging.predictions,
            dataset.texts,
            result.targets,
            result.probs,
            classifier.class_names,
            classifier.task,
            classifier.decision,
        )
        write_report(staging.path, figures, command)
        files.write_json(staging.metrics, figures)
        staging.path.rename(path)
    except OSError as error:
        raise files.explain_os_error(error, path) from error
    finally:
        shutil.rmtree(staging.path, ignore_errors=True)
    return figures


def refuse_folder(path: Path) -> None:
    """Raise UsageError if something stands where an evaluation should go."""
    if path.exists() or path.is_symlink():
        raise UsageError(f"{path}: is there already, and nothing is overwritten. Choose another --output.")


def _checked(dataset: Dataset, classifier: Classifier, model: Path) -> Dataset:
    """Return the texts with two more findings: those that the run learnt from, and those that are cut."""
    counts, own = classifier.model.token_counts(dataset.texts), classifier.model.settings
    windows = own.long_texts == "windows"
    lengths = check_lengths(dataset.texts, counts, own.max_length, dataset.rows, windows=windows)
    findings = dataset.findings.with_finding(lengths)
    run = RunFolder(model if (model / "model").is_dir() else model.parent)
    if run.splits.is_dir() and run.config.is_file():
        parts = read_split_files(run.splits)
        known = {
            fold(text) for name in ("train", "validation") if name in parts for text in parts[name].texts
        }
        places = [place for place, key in enumerate(dataset.keys) if key in known]
        rows = tuple(dataset.rows[place] for place in places[:SHOWN_ROWS])
        findings = findings.with_finding(
            Finding("seen-texts", len(places), rows, SEEN, "warning" if places else "ok")
        )
    return dataclasses.replace(dataset, findings=findings)


def _figures(classifier: Classifier, dataset: Dataset, result: Evaluation) -> dict[str, Any]:
    rule, source, findings = classifier.decision, dataset.source, dataset.findings
    decision: dict[str, Any] = {
        "rule": "argmax" if rule.thresholds is None else "threshold",
        "criterion": None,
        "thresholds": None if rule.thresholds is None else list(rule.thresholds),
        "abstain_below": rule.abstain_below,
        "temperature": None,
        "chosen_on": None,
    }
    if rule.abstain_below is not None:
        decision["test"] = coverage(result.targets, result.probs, classifier.task, rule)
    return {
        "schema_version": SCHEMA_VERSION,
        "task": classifier.task,
        "class_names": list(classifier.class_names),
        "synthetic_data": source.synthetic,
        "examples": {"test": len(dataset)},
        "test": result.metrics.to_dict(),
        "decision": decision,
        "data": {
            "source": source.name,
            "digest": source.digest,
            "revision": source.revision,
            "findings": [dataclasses.asdict(item) for item in findings.items],
            "classes": [list(pair) for pair in findings.classes],
            "characters": [list(pair) for pair in findings.characters],
        },
    }
