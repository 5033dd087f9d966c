"""The tables that several commands print."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table

from finetext.metric_names import METRICS

if TYPE_CHECKING:
    from finetext.evaluation import Metrics

COLUMNS = ("macro_f1", "mcc", "roc_auc", "pr_auc", "log_loss", "calibration_error")


def metrics_table(rows: Mapping[str, "Metrics"], title: str) -> Table:
    """Return a table with a row per classifier: the main metrics, accuracy with its 95 % interval."""
    multi = any(metrics.confusion is None for metrics in rows.values())
    columns = ("micro_f1" if multi else "balanced_accuracy", *COLUMNS)
    table = plain_table(title, "", "accuracy (95 %)", *(METRICS[column].short for column in columns))
    for name, metrics in rows.items():
        accuracy = accuracy_interval(metrics.accuracy, metrics.accuracy_low, metrics.accuracy_high)
        table.add_row(name, accuracy, *(four_digits(metrics.value(column)) for column in columns))
    return table


def class_table(metrics: "Metrics") -> Table:
    """Return a table with a row per class: precision, recall, F1, support, and the predictions of its examples."""
    confusion = metrics.confusion if len(metrics.classes) <= 10 else None
    predicted = [] if confusion is None else [f"→ {label.name}" for label in metrics.classes]
    table = plain_table("Per class", "", "precision", "recall", "F1", "texts", *predicted)
    for index, label in enumerate(metrics.classes):
        counts = [] if confusion is None else [f"{count:,}" for count in confusion[index]]
        cells = [four_digits(value) for value in (label.precision, label.recall, label.f1)]
        table.add_row(label.name, *cells, f"{label.support:,}", *counts)
    return table


def plain_table(title: str, first: str, *columns: str) -> Table:
    """Return a table without rows: the first column to the left, the others to the right."""
    table = Table(
        title=title, box=SIMPLE_HEAD, title_justify="left", title_style="bold", padding=(0, 1, 0, 0)
    )
    table.add_column(first, no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def accuracy_interval(accuracy: float, low: float, high: float) -> str:
    """Return an accuracy with its 95 % interval."""
    return f"{accuracy:.4f} ({low:.3f}–{high:.3f})"


def four_digits(value: float | None) -> str:
    """Return a metric as it is shown, a dash if it is not defined."""
    return "–" if value is None else f"{value:.4f}"
