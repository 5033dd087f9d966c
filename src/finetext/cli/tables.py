"""The tables that several commands print."""

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

Figures = Mapping[str, Any]
"""Metrics as `metrics.json` holds them."""

COLUMNS = {
    "macro_f1": "macro-F1",
    "mcc": "MCC",
    "roc_auc": "ROC-AUC",
    "pr_auc": "PR-AUC",
    "log_loss": "log loss",
    "calibration_error": "ECE",
}


def figures_table(rows: Mapping[str, Figures], title: str) -> Table:
    """Return a table with a row a classifier: the headline figures, accuracy with its 95 % interval."""
    multi = any(figures["confusion"] is None for figures in rows.values())
    second = "micro-F1" if multi else "bal. acc."
    table = plain_table(title, "", "accuracy (95 %)", second, *COLUMNS.values())
    for name, own in rows.items():
        interval = accuracy_interval(own["accuracy"], own["accuracy_low"], own["accuracy_high"])
        keys = ("micro_f1" if multi else "balanced_accuracy", *COLUMNS)
        table.add_row(name, interval, *(four_digits(own[key]) for key in keys))
    return table


def class_table(figures: Figures) -> Table:
    """Return a table with a row a class: precision, recall, F1, support, and what its examples were taken for."""
    confusion = figures["confusion"]
    classes = figures["classes"]
    shown = confusion is not None and len(classes) <= 10
    predicted = [f"→ {own['name']}" for own in classes] if shown else []
    table = plain_table("Per class", "", "precision", "recall", "F1", "texts", *predicted)
    for index, own in enumerate(classes):
        counts = [f"{count:,}" for count in confusion[index]] if shown else []
        cells = [four_digits(own[key]) for key in ("precision", "recall", "f1")]
        table.add_row(own["name"], *cells, f"{own['support']:,}", *counts)
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
