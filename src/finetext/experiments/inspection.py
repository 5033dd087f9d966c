"""`inspect()`: checks of labelled texts before any training, with the splits that training would make."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetext.data import DataConfig, Dataset, Finding, Splits, check_lengths, examine, limit, split
from finetext.experiments.data_issues import DataIssues
from finetext.experiments.issue_search import FOLDS, find_issues
from finetext.models import ModelConfig, find_model, load_model
from finetext.training import Progress


@dataclass(frozen=True)
class Inspection:
    """The results of all checks.

    Attributes:
        dataset: The examples, with a finding for each check.
        splits: The splits that training would make; None if training makes no sense.
        issues: Likely wrong labels, near-duplicates and outliers; None if they were not looked for.
    """

    dataset: Dataset
    splits: Splits | None
    issues: DataIssues | None

    @property
    def split_sizes(self) -> dict[str, int]:
        """Number of texts in each split."""
        names = ("train", "validation", "test")
        return {} if self.splits is None else {name: len(getattr(self.splits, name)) for name in names}

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        source = self.dataset.source
        return {
            "source": source.name,
            "files": [str(path) for path in source.files],
            "format": source.format,
            "text_column": source.text_column,
            "label_column": source.label_column,
            "digest": source.digest,
            "revision": source.revision,
            "synthetic": source.synthetic,
            "task": self.dataset.task,
            **self.dataset.findings.to_dict(),
            "splits": self.split_sizes or None,
            "notes": [] if self.splits is None else list(self.splits.notes),
            **({} if self.issues is None else {"label_errors": self.issues.to_dict()}),
        }


def inspect(
    source: str | Path,
    data: DataConfig | None = None,
    *,
    model: str | None = None,
    label_errors: bool = False,
    folds: int = FOLDS,
    seed: int = 42,
    progress: Progress | None = None,
) -> Inspection:
    """Check labelled texts: what is missing, duplicated, contradictory or too long; wrong labels too if asked for.

    Findings that forbid training are part of the result, not raised.

    Args:
        source: Data, as `train` takes it.
        data: How to read it.
        model: Also count the texts that exceed this model's limit; its hidden states show label errors (by default
            those of minilm).
        label_errors: Also look for wrong labels, near-duplicates and outliers.
        folds: Number of cross-validation folds for out-of-fold label scores.
        seed: Of the splits and the folds.
        progress: Receives the number of texts done.
    """
    data = data or DataConfig()
    dataset = examine(source, data)
    issues = None
    if model is not None and len(dataset):
        dataset = _with_findings(dataset, _check_lengths(dataset, model, seed))
    if label_errors and len(dataset) and dataset.findings["one-class"].severity == "ok":
        sample = dataset if data.limit is None else limit(dataset, data.limit, seed)
        config = ModelConfig(model=model or "minilm")
        issues = find_issues(sample, config, folds=folds, seed=seed, progress=progress)
        dataset = _with_findings(dataset, *issues.findings())
    return Inspection(dataset, None if dataset.findings.errors else split(dataset, data, seed), issues)


def _with_findings(dataset: Dataset, *added: Finding) -> Dataset:
    findings = dataset.findings
    for finding in added:
        findings = findings.with_finding(finding)
    return dataclasses.replace(dataset, findings=findings)


def _check_lengths(dataset: Dataset, name: str, seed: int) -> Finding:
    """Count the texts that exceed a model's limit, by its tokenizer."""
    source, config = find_model(name), ModelConfig(model=name)
    model = load_model(source, dataset.class_names, dataset.task, config, seed)
    counts = model.token_counts(dataset.texts)
    return check_lengths(dataset.texts, counts, model.settings.max_length, dataset.rows)
