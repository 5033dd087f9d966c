"""What the server tells about a model: its settings, its card, and the test metrics of the run that it is from."""

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError

from finetext.inference import Classifier
from finetext.metric_names import METRICS
from finetext.runs import RunFolder, model_folder
from finetext.serving.schemas import Baseline, ClassMetrics, Metric, TestMetrics

MAX_BYTES = 4_194_304
"""Of a card or of metrics; finetext writes none that are larger."""
_FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)


class _Scores(BaseModel):
    """The metrics of a classifier in `metrics.json`: one field per name, and intervals of some."""

    model_config = ConfigDict(extra="allow")

    examples: int | None = None
    classes: list[ClassMetrics] = []
    intervals: dict[str, tuple[FiniteFloat, FiniteFloat] | None] = {}
    accuracy_low: FiniteFloat | None = None
    accuracy_high: FiniteFloat | None = None

    def metrics(self) -> list[Metric]:
        """Return name, value and 95 % interval of those that are defined."""
        values = self.model_extra or {}
        # The interval of the accuracy that the report shows is Wilson's.
        intervals = {**self.intervals, "accuracy": (self.accuracy_low, self.accuracy_high)}
        return [
            Metric(name=name, title=label.title, value=values[name], low=low, high=high)
            for name, label in METRICS.items()
            if values.get(name) is not None
            for low, high in [intervals.get(name) or (None, None)]
        ]


class _MetricsFile(BaseModel):
    test: _Scores
    synthetic_data: bool = False
    baselines: dict[str, _Scores] = {}
    comparisons: dict[str, dict[str, Any]] = {}


def describe(name: str, classifier: Classifier) -> dict[str, Any]:
    """Return the settings of a model for `/info`."""
    settings = classifier.model.settings
    return {
        "name": name,
        "task": classifier.task,
        "labels": classifier.class_names,
        "thresholds": settings.decision.thresholds,
        "abstain_below": settings.decision.abstain_below,
        "max_length": settings.max_length,
        "long_texts": settings.long_texts,
        "architecture": type(classifier.model.network).__name__,
        "device": classifier.model.device.type,
        "precision": classifier.precision,
        "fast_paths": {name: asdict(path) for name, path in classifier.model.fast_paths().items()},
    }


def read_card_and_metrics(folder: Path) -> dict[str, Any]:
    """Return `{"card", "test"}` for `/card`; what is missing or cannot be read is None.

    Args:
        folder: A run's folder, or a model's.
    """
    model = model_folder(folder)
    run = model.resolve().parent if model.name == "model" else folder
    card = _read(model / "README.md")
    metrics = _read(RunFolder(run).metrics)
    return {
        "card": None if card is None else _FRONT_MATTER.sub("", card).strip(),
        "test": None if metrics is None else _test_metrics(metrics),
    }


def _read(path: Path) -> str | None:
    try:
        return None if path.stat().st_size > MAX_BYTES else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _test_metrics(content: str) -> dict[str, Any] | None:
    try:
        file = _MetricsFile.model_validate_json(content)
        baselines = [
            Baseline(
                name=name, verdict=file.comparisons.get(name, {}).get("verdict"), figures=scores.metrics()
            )
            for name, scores in file.baselines.items()
        ]
        return TestMetrics(
            examples=file.test.examples,
            synthetic_data=file.synthetic_data,
            figures=file.test.metrics(),
            classes=file.test.classes,
            baselines=baselines,
        ).model_dump()
    except ValidationError:  # a file that finetext did not write
        return None
