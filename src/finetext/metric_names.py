"""The metrics of a classifier: their names in files and options, their labels, and which direction is better.

A new metric is a row here, a field of `evaluation.Metrics` and its computation.
"""

from typing import Literal, NamedTuple, get_args


class MetricLabel(NamedTuple):
    """How a metric is shown, and where it applies."""

    text: str
    """Its name in a sentence or a legend."""
    column: str = ""
    """A shorter name for a narrow column; empty if the usual one is short enough."""
    lower_is_better: bool = False
    single_label: bool = True
    """Whether it is shown for binary and multi-class tasks."""
    multi_label: bool = True

    @property
    def title(self) -> str:
        """Its name at the start of a line."""
        return self.text[0].upper() + self.text[1:]

    @property
    def short(self) -> str:
        """Its name in a narrow column."""
        return self.column or self.text


METRICS = {
    "accuracy": MetricLabel("accuracy"),
    "balanced_accuracy": MetricLabel("balanced accuracy", "bal. acc.", multi_label=False),
    "macro_f1": MetricLabel("macro-F1"),
    "weighted_f1": MetricLabel("weighted F1"),
    "micro_f1": MetricLabel("micro-F1", single_label=False),
    "mcc": MetricLabel("MCC"),
    "roc_auc": MetricLabel("ROC-AUC"),
    "pr_auc": MetricLabel("PR-AUC"),
    "log_loss": MetricLabel("log loss", lower_is_better=True),
    "calibration_error": MetricLabel("calibration error (ECE)", "ECE", lower_is_better=True),
    "hamming_loss": MetricLabel("Hamming loss", lower_is_better=True, single_label=False),
}
"""Every metric by its name in `metrics.json`, in the order of reports and tables."""

SelectionMetric = Literal[
    "accuracy", "balanced_accuracy", "macro_f1", "mcc", "micro_f1", "roc_auc", "pr_auc", "log_loss"
]
"""Those by which the best epoch can be chosen."""
SELECTION_METRICS: tuple[str, ...] = get_args(SelectionMetric)
HEADLINE_METRICS = ("accuracy", "macro_f1", "mcc")
"""Those that are shown where there is room for three."""


def metrics_of(task: str) -> tuple[str, ...]:
    """Return the names of the metrics that are shown for a task."""
    if task == "multi-label":
        return tuple(name for name, label in METRICS.items() if label.multi_label)
    return tuple(name for name, label in METRICS.items() if label.single_label)


def higher_is_better(name: str) -> bool:
    """Tell whether a larger value of a metric is the better one."""
    return not METRICS[name].lower_is_better
