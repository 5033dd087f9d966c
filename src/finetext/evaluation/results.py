"""`metrics.json`: what a training or an evaluation found, as one typed value with one writer and one reader."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Self, get_args, get_origin, get_type_hints

from finetext import files
from finetext.data import Dataset, Finding
from finetext.decision import Decision, abstains
from finetext.errors import RunError
from finetext.evaluation.metrics import Interval, Metrics, Probs, Targets
from finetext.evaluation.targets import is_right

SCHEMA_VERSION = 2


@dataclass(frozen=True)
class BestEvaluation:
    """The evaluation on validation whose weights were kept.

    Attributes:
        metric: What it was chosen by.
        value: Its value; None where it is not defined.
        step: Optimizer steps taken by then; 0 for the linear-probe initialisation.
        epoch: Epochs done by then.
        averaged_epochs: Epochs whose mean weights were kept; 0 for those of a single evaluation.
    """

    metric: str
    value: float | None
    step: int
    epoch: float
    averaged_epochs: int = 0


@dataclass(frozen=True, kw_only=True)
class BaselineComparison:
    """A classifier compared with a baseline on the same texts.

    Attributes:
        accuracy_difference: The classifier's minus the baseline's.
        accuracy_difference_interval: Its 95 % bootstrap interval; None where both are right on the same texts.
        mcnemar_p_value: Two-sided exact p-value that both err equally often.
        verdict: `better`, `worse`, or `no difference shown` at the 5 % level.
    """

    accuracy_difference: float
    accuracy_difference_interval: Interval | None = None
    mcnemar_p_value: float
    verdict: str


@dataclass(frozen=True)
class Coverage:
    """The test texts that get a label although the classifier may abstain.

    Attributes:
        coverage: Their share.
        accuracy: On them; None if there is none.
        texts: Their number.
    """

    coverage: float
    accuracy: float | None
    texts: int


@dataclass(frozen=True)
class DecisionSummary:
    """How probabilities become labels, and how that was chosen.

    Attributes:
        rule: argmax or threshold.
        criterion: What the thresholds were chosen for.
        thresholds: See `Decision`.
        abstain_below: See `Decision`.
        temperature: What the logits are divided by; None if they are not calibrated.
        chosen_on: validation or cross-fitting; None if nothing was chosen.
        examples: Number of texts that was; None for an evaluation.
        test: Coverage of the test split, if the classifier may abstain.
    """

    rule: str = "argmax"
    criterion: str | None = None
    thresholds: tuple[float, ...] | None = None
    abstain_below: float | None = None
    temperature: float | None = None
    chosen_on: str | None = None
    examples: int | None = None
    test: Coverage | None = None

    @classmethod
    def of(cls, decision: Decision, **choice: Any) -> Self:
        """Summarize a decision rule, with how it was chosen: `criterion`, `temperature`, `chosen_on`, `examples`."""
        rule = "argmax" if decision.thresholds is None else "threshold"
        return cls(rule=rule, **dataclasses.asdict(decision), **choice)

    @property
    def decision(self) -> Decision:
        """The rule itself."""
        return Decision(self.thresholds, self.abstain_below)

    def with_coverage(self, targets: Targets, probs: Probs, task: str) -> Self:
        """Return the summary with the coverage of the test texts.

        Args:
            targets: Of the test texts, `(N,)` class ids, or `(N, C)` zeros and ones if multi-label.
            probs: `(N, C)`.
            task: binary, multi-class or multi-label.
        """
        if self.abstain_below is None:
            return self
        kept = ~abstains(probs, task, self.decision)
        right = is_right(targets, probs, task, self.decision)[kept]
        test = Coverage(float(kept.mean()), float(right.mean()) if len(right) else None, int(kept.sum()))
        return dataclasses.replace(self, test=test)


@dataclass(frozen=True)
class DataSummary:
    """The data and what its checks found.

    Attributes:
        source: What the user called it.
        digest: SHA-256 of its files.
        revision: Commit of a Hub dataset.
        findings: Of each check.
        classes: Examples of each class, in the order of their ids.
        characters: Length of the texts in characters: min, median, mean, p95, max.
        notes: How it was split; None for an evaluation.
    """

    source: str = ""
    digest: str = ""
    revision: str | None = None
    findings: tuple[Finding, ...] = ()
    classes: tuple[tuple[str, int], ...] = ()
    characters: tuple[tuple[str, float], ...] = ()
    notes: tuple[str, ...] | None = None

    @classmethod
    def of(cls, dataset: Dataset, *more: Finding, notes: tuple[str, ...] | None = None) -> Self:
        """Summarize a dataset, with more findings than its own."""
        source, findings = dataset.source, dataset.findings
        items = (*findings.items, *more)
        return cls(
            source.name, source.digest, source.revision, items, findings.classes, findings.characters, notes
        )


@dataclass(frozen=True)
class FoldMetric:
    """A metric over the folds of a cross-validation: its mean, standard deviation and value on each fold."""

    mean: float
    std: float
    values: tuple[float, ...]


@dataclass(frozen=True)
class CrossValidation:
    """The metrics of a cross-validation.

    Attributes:
        k: Number of folds.
        examples: Number of examples over all folds.
        metrics: By name.
    """

    k: int
    examples: int
    metrics: Mapping[str, FoldMetric]


@dataclass(frozen=True, kw_only=True)
class RunMetrics:
    """The content of `metrics.json`, of a run or of an evaluation.

    Attributes:
        schema_version: Of the file.
        task: binary, multi-class or multi-label.
        class_names: The classes in the order of their ids.
        synthetic_data: Whether the texts were made up.
        examples: Sizes by split; `train_after_balancing` too. An evaluation has `test` alone.
        best: The evaluation whose weights were kept. None for an evaluation, as is all that only a run has.
        validation: Metrics on the validation split.
        test: Metrics on the test split, or on the texts evaluated.
        baselines: Metrics of each baseline on the test split, by name.
        comparisons: The classifier compared with each of them.
        decision: How probabilities become labels.
        data: The data and what its checks found.
        folds: Cross-validation, if it was asked for.
        model: What the user of `evaluate` called the model.
        source: And the texts.
        split: And the split.
    """

    schema_version: int = SCHEMA_VERSION
    task: str
    class_names: tuple[str, ...]
    synthetic_data: bool = False
    examples: Mapping[str, int] = field(default_factory=dict)
    best: BestEvaluation | None = None
    validation: Metrics | None = None
    test: Metrics
    baselines: Mapping[str, Metrics] = field(default_factory=dict)
    comparisons: Mapping[str, BaselineComparison] = field(default_factory=dict)
    decision: DecisionSummary = DecisionSummary()
    data: DataSummary = DataSummary()
    folds: CrossValidation | None = None
    model: str | None = None
    source: str | None = None
    split: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values; what a run or an evaluation does not have is left out."""
        values = {name: value for name, value in dataclasses.asdict(self).items() if value not in (None, {})}
        if self.best is not None:
            values["folds"] = values.get("folds")
        for part, optional in ((values["decision"], ("examples", "test")), (values["data"], ("notes",))):
            for name in optional:
                if part[name] is None:
                    del part[name]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return what `to_dict` was taken from; unknown keys are ignored."""
        metrics: Self = _read(cls, values)
        return metrics

    def write(self, path: Path) -> None:
        """Write `metrics.json`."""
        files.write_json(path, self.to_dict())

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read `metrics.json`.

        Raises:
            RunError: It is damaged.
        """
        try:
            return cls.from_dict(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError, AttributeError) as error:
            raise RunError(f"{path}: not a metrics.json file of finetext ({error}).") from error


def _read(kind: Any, value: Any) -> Any:
    """Return a JSON value as its type hint says: dataclasses, tuples and mappings of them."""
    if value is None:
        return None
    if dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind)
        return kind(**{name: _read(hints[name], part) for name, part in value.items() if name in hints})  # type: ignore[operator]
    arguments = get_args(kind)
    match get_origin(kind):
        case origin if origin is UnionType:
            return _read(next(part for part in arguments if part is not NoneType), value)
        case origin if origin is tuple:
            kinds = repeat(arguments[0]) if arguments[-1] is ... else arguments
            # Pairs were an object in schema version 1.
            parts = value.items() if isinstance(value, Mapping) else value
            return tuple(_read(part_kind, part) for part_kind, part in zip(kinds, parts, strict=False))
        case origin if origin is Mapping:
            return {name: _read(arguments[1], part) for name, part in value.items()}
    return value
