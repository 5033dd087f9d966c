"""Figures and names as they are shown."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from finetext.reporting.blocks import Figures, Number

NAMES = {
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "macro_f1": "Macro-F1",
    "weighted_f1": "Weighted F1",
    "micro_f1": "Micro-F1",
    "mcc": "MCC",
    "roc_auc": "ROC-AUC",
    "pr_auc": "PR-AUC",
    "log_loss": "Log loss",
    "calibration_error": "Calibration error (ECE)",
    "hamming_loss": "Hamming loss",
}
"""The figures of a classifier in the order of the report, and what they are called."""

ELLIPSIS = "…"


def figures_of(task: str) -> tuple[str, ...]:
    """Return the names of the figures that are shown for a task."""
    left_out = {"hamming_loss", "micro_f1"} if task != "multi-label" else {"balanced_accuracy"}
    return tuple(name for name in NAMES if name not in left_out)


def decimal(value: float | None, digits: int = 4) -> str:
    """Return a figure with a fixed number of digits; a dash where it is not defined."""
    if value is None:
        return "–"
    return f"{value:.{digits}f}".replace("-", "−") if round(value, digits) else f"{0:.{digits}f}"


def interval_of(figures: Figures, name: str) -> tuple[float, float] | None:
    """Return the 95 % interval of a figure, None if it has none."""
    if name == "accuracy":
        return figures["accuracy_low"], figures["accuracy_high"]
    found = (figures.get("intervals") or {}).get(name)
    return None if found is None else (found[0], found[1])


def span(interval: Sequence[float] | None, digits: int = 3) -> str:
    """Return an interval such as `0.962–0.993`; empty if there is none."""
    if interval is None:
        return ""
    low, high = (decimal(end, digits) for end in interval)
    return f"{low} to {high}" if interval[0] < 0 else f"{low}–{high}"


def figure(figures: Figures, name: str, prefix: str, best: bool = False) -> Number:
    """Return a figure of a classifier with its interval below.

    Args:
        figures: The classifier's metrics.
        name: Which of them.
        prefix: Where these metrics stand in `metrics.json`, such as `test`.
        best: Whether it is the best of its row.
    """
    value = figures.get(name)
    return Number(value, decimal(value), f"{prefix}.{name}", span(interval_of(figures, name)), best)


def count(value: int, key: str = "") -> Number:
    """Return a number of texts."""
    return Number(value, f"{value:,}", key)


def points(difference: float) -> str:
    """Return a difference of shares in percentage points, with its sign."""
    return f"{difference * 100:+.1f}".replace("-", "−")


def p_value(value: float) -> str:
    """Return a p-value such as `p = 0.012`."""
    return "p < 0.0001" if value < 0.0001 else f"p = {value:.2g}"


def seconds(value: float) -> str:
    """Return a time in a unit that suits it."""
    if value < 0.001:
        return "< 1 ms"
    if value < 1:
        return f"{value * 1000:.0f} ms"
    if value < 120:
        return f"{value:.1f} s"
    return f"{value / 60:.1f} min"


def listing(names: Iterable[str], most: int = 8, last: str = "and") -> str:
    """Return names as `a, b and c`; of many the first and how many more there are."""
    known = list(names)
    if len(known) > most:
        return f"{', '.join(known[:most])} and {len(known) - most} more"
    return f" {last} ".join(part for part in (", ".join(known[:-1]), *known[-1:]) if part)


def texts(number: int) -> str:
    """Return `1 text` or `300 texts`."""
    return f"{number:,} text{'' if number == 1 else 's'}"


def quoted(name: str) -> str:
    """Return a class name in quotation marks, shortened."""
    return f"“{shorten(name, 60)}”"


def shorten(text: str, most: int) -> str:
    """Return the text, cut with an ellipsis if it is longer than `most` characters."""
    return text if len(text) <= most else text[: most - 1].rstrip() + ELLIPSIS


def plain(name: str, most: int = 24) -> str:
    """Return a class name for a plot: one line, without control characters, shortened."""
    shown = "".join(sign if sign.isprintable() else " " for sign in name)
    return shorten(" ".join(shown.split()) or "(blank)", most)


def better_than(name: str, first: float | None, second: float | None) -> bool:
    """Tell whether `first` is the better value of a figure, beyond what four digits show."""
    from finetext.evaluation import higher_is_better

    if first is None or second is None or decimal(first) == decimal(second):
        return False
    return first > second if higher_is_better(name) else first < second


def best_of(name: str, classifiers: Mapping[str, Any]) -> str | None:
    """Return which classifier alone has the best value of a figure, None if two share it."""
    known = {own: figures.get(name) for own, figures in classifiers.items() if figures.get(name) is not None}
    for own, value in known.items():
        if all(better_than(name, value, other) for rival, other in known.items() if rival != own):
            return own if len(known) > 1 else None
    return None
