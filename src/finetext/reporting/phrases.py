"""Numbers and names as they are shown."""

from collections.abc import Iterable, Sequence

from finetext.evaluation import MAJORITY, Metrics
from finetext.reporting.elements import Number

ELLIPSIS = "…"


def decimal(value: float | None, digits: int = 4) -> str:
    """Return a number with a fixed number of digits; a dash where it is not defined."""
    if value is None:
        return "–"
    return f"{value:.{digits}f}".replace("-", "−") if round(value, digits) else f"{0:.{digits}f}"


def span(interval: Sequence[float] | None, digits: int = 3) -> str:
    """Return an interval such as `0.962–0.993`; empty if there is none."""
    if interval is None:
        return ""
    low, high = (decimal(end, digits) for end in interval)
    return f"{low} to {high}" if interval[0] < 0 else f"{low}–{high}"


def metric_cell(metrics: Metrics, name: str, prefix: str, best: bool = False) -> Number:
    """Return a metric with its interval below.

    Args:
        metrics: Of a classifier.
        name: Which of them.
        prefix: The path of these metrics in `metrics.json`, such as `test`.
        best: Whether it is the best of its row.
    """
    value = metrics.value(name)
    return Number(value, decimal(value), f"{prefix}.{name}", span(metrics.interval(name)), best)


def decimal_cell(value: float | None, key: str = "", digits: int = 4) -> Number:
    """Return a number with a fixed number of digits."""
    return Number(value, decimal(value, digits), key)


def count(value: int, key: str = "", below: str = "") -> Number:
    """Return a number of texts."""
    return Number(value, f"{value:,}", key, below)


def percent(share: float) -> str:
    """Return a share in percent."""
    return f"{decimal(share * 100, 1)} %"


def points(difference: float) -> str:
    """Return a difference of shares in percentage points, with its sign."""
    return f"{difference * 100:+.1f}".replace("-", "−")


def significant(value: float) -> str:
    """Return a number with four significant digits."""
    return f"{value:.4g}"


def p_value(value: float) -> str:
    """Return a p-value such as `p = 0.012`."""
    return "p < 0.0001" if value < 0.0001 else f"p = {value:.2g}"


def seconds(value: float) -> str:
    """Return a duration in a suitable unit."""
    if value < 0.001:
        return "< 1 ms"
    if value < 1:
        return f"{value * 1000:.0f} ms"
    if value < 120:
        return f"{value:.1f} s"
    return f"{value / 60:.1f} min"


def listing(names: Iterable[str], most: int = 8, last: str = "and") -> str:
    """Return names as `a, b and c`; of many names the first, and how many more there are."""
    listed = list(names)
    if len(listed) > most:
        return f"{', '.join(listed[:most])} and {len(listed) - most} more"
    return f" {last} ".join(part for part in (", ".join(listed[:-1]), *listed[-1:]) if part)


def texts(number: int) -> str:
    """Return `1 text` or `300 texts`."""
    return f"{number:,} text{'' if number == 1 else 's'}"


def the(baseline: str) -> str:
    """Return the name of a baseline with the article that it may need."""
    return f"the {baseline}" if baseline == MAJORITY else baseline


def quoted(name: str) -> str:
    """Return a class name in quotation marks, on one line and shortened."""
    return f"“{shorten(' '.join(name.split()), 60)}”"


def shorten(text: str, most: int) -> str:
    """Return the text, cut with an ellipsis if it is longer than `most` characters."""
    return text if len(text) <= most else text[: most - 1].rstrip() + ELLIPSIS


def plain(name: str, most: int = 24) -> str:
    """Return a class name for a plot: one line, without control characters, shortened."""
    printable = "".join(sign if sign.isprintable() else " " for sign in name)
    return shorten(" ".join(printable.split()) or "(blank)", most)


FILTERS = (decimal, listing, p_value, percent, points, quoted, significant, span, texts, the)
"""Those that templates use."""
