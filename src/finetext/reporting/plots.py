"""The plots of the report, each with its finding in words."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from finetext.reporting import curves, svg
from finetext.reporting.blocks import Drawing
from finetext.reporting.curves import Curve
from finetext.reporting.folder import Floats, History
from finetext.reporting.phrases import decimal, listing, plain, quoted, texts
from finetext.reporting.svg import CELL, DASHES, MUTED, SERIES, TEXT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEGEND_INSIDE = 3
"""Up to how many entries a legend stands inside the plot."""


def losses(history: History, per_epoch: int, best: float | None) -> Drawing:
    """Draw training and validation loss.

    Args:
        history: The course of the training.
        per_epoch: Examples of an epoch.
        best: Epoch of the weights that were kept.
    """
    figure, plot = svg.axes()
    steps = curves.grouped(Curve(history.examples, history.loss))
    train = curves.smooth(steps)
    plot.plot(steps.x / per_epoch, steps.y, color=SERIES[0], linewidth=0.7, alpha=0.45)
    _line(plot, train.x / per_epoch, train.y, "training, smoothed", 0)
    found = history.scores["validation_loss"]
    _line(plot, history.evaluated / per_epoch, found, "validation", 1, marker="o", markersize=4)
    _epochs(plot, history, per_epoch, best)
    plot.set_ylabel("loss (nats)")
    plot.set_ylim(bottom=0)
    svg.legend(plot)
    finding = f"The training loss ends at about {decimal(float(train.y[-1]), 3)}"
    if len(found):
        lowest = int(np.argmin(found))
        finding += (
            f"; the validation loss is lowest, {decimal(found[lowest])}, at epoch "
            f"{history.evaluated[lowest] / per_epoch:.3g} and ends at {decimal(found[-1])}"
        )
    return svg.save(figure, "loss", "Loss during training", finding + ".")


def scores(history: History, per_epoch: int, best: float | None) -> Drawing:
    """Draw accuracy, macro-F1 and MCC on validation."""
    figure, plot = svg.axes()
    shown = {"accuracy": "accuracy", "macro_f1": "macro-F1", "mcc": "MCC"}
    for index, (name, label) in enumerate(shown.items()):
        _line(
            plot, history.evaluated / per_epoch, history.scores[name], label, index, marker="o", markersize=4
        )
    _epochs(plot, history, per_epoch, best)
    plot.set_ylabel("on validation")
    lowest = min((float(own.min()) for name, own in history.scores.items() if name in shown), default=0.0)
    plot.set_ylim(min(lowest - 0.03, 0.9), 1.01)
    svg.legend_below(plot, 3)
    accuracy = history.scores["accuracy"]
    highest = int(np.argmax(accuracy))
    finding = (
        f"Accuracy on validation is highest, {decimal(float(accuracy[highest]))}, at epoch "
        f"{history.evaluated[highest] / per_epoch:.3g} and ends at {decimal(float(accuracy[-1]))}."
    )
    return svg.save(figure, "accuracy", "Accuracy during training", finding)


def _epochs(plot: "Axes", history: History, per_epoch: int, best: float | None) -> None:
    """Put epochs below and examples seen above."""
    last = float(history.examples[-1]) / per_epoch
    plot.set_xlim(0, last * 1.02)
    plot.set_xlabel("epochs")
    plot.xaxis.get_major_locator().set_params(integer=last >= 1, nbins=8)
    above = plot.secondary_xaxis("top", functions=(lambda x: x * per_epoch, lambda x: x / per_epoch))
    above.set_xlabel("examples seen")
    above.xaxis.get_major_locator().set_params(nbins=4)
    above.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    if best is not None:
        plot.axvline(best, color=MUTED, linewidth=0.9, linestyle="dashed")
        plot.annotate(
            "kept",
            (best, 1),
            xycoords=("data", "axes fraction"),
            xytext=(-3 if best > last / 2 else 3, -9),
            textcoords="offset points",
            ha="right" if best > last / 2 else "left",
            color=MUTED,
            fontsize=8,
        )


def confusion(matrix: Sequence[Sequence[int]], names: Sequence[str]) -> Drawing:
    """Draw a confusion matrix: counts, shaded by their share of the true class."""
    from matplotlib.patches import Rectangle

    size = len(names)
    side = max(3.2, 0.42 * size + 1.4)
    figure, plot = svg.axes(max(4.2, side + 0.5), side)
    plot.grid(visible=False)
    for row, counts in enumerate(matrix):
        total = sum(counts)
        for column, number in enumerate(counts):
            share = number / total if total else 0.0
            if number:
                corner = (column - 0.5, row - 0.5)
                plot.add_patch(Rectangle(corner, 1, 1, color=CELL, alpha=0.08 + 0.5 * share, linewidth=0))
            strong = "bold" if row == column else "normal"
            colour = TEXT if number else MUTED

            plot.text(
                column,
                row,
                f"{number:,}",
                ha="center",
                va="center",
                fontsize=10 if size <= 6 else 8,
                color=colour,
                weight=strong,
            )
    plot.set_xlim(-0.5, size - 0.5)
    plot.set_ylim(size - 0.5, -0.5)
    labels = [plain(name, 14) for name in names]
    turned = sum(map(len, labels)) > 34
    plot.set_xticks(range(size), labels, rotation=45 if turned else 0, ha="right" if turned else "center")
    plot.set_yticks(range(size), labels)
    plot.tick_params(length=0)
    plot.set_xlabel("predicted")
    plot.set_ylabel("true")
    plot.spines[:].set_visible(False)
    return svg.save(figure, "confusion", "Confusion matrix", confusion_in_words(matrix, names))


def confusion_in_words(matrix: Sequence[Sequence[int]], names: Sequence[str]) -> str:
    """Say how many texts of each class are recognised, and what is confused most."""
    found = [
        f"{row[i]:,} of {sum(row):,} {quoted(name)}"
        for i, (row, name) in enumerate(zip(matrix, names, strict=True))
        if sum(row)
    ]
    said = f"Recognised: {listing(found, 20)}."
    pairs = confused_pairs(matrix)
    if not pairs:
        return f"{said} No text is taken for another class."
    number, true, predicted = pairs[0]
    return (
        f"{said} Most often, {quoted(names[true])} is taken for {quoted(names[predicted])}: {texts(number)}."
    )


def confused_pairs(matrix: Sequence[Sequence[int]]) -> list[tuple[int, int, int]]:
    """Return number, true class and predicted class of all confusions, the most frequent first."""
    counts = np.array(matrix)
    np.fill_diagonal(counts, 0)
    pairs = [(int(counts[t, p]), int(t), int(p)) for t, p in zip(*np.nonzero(counts), strict=True)]
    return sorted(pairs, key=lambda pair: (-pair[0], pair[1], pair[2]))


def roc(lines: Mapping[str, Curve], mean: Curve | None, finding: str) -> Drawing:
    """Draw ROC curves.

    Args:
        lines: By class.
        mean: Over all classes, None where there is one curve only.
        finding: In words.
    """
    figure, plot = _ranking_axes(lines, mean)
    plot.plot([0, 1], [0, 1], color=MUTED, linewidth=0.9, linestyle="dotted")
    for index, (name, line) in enumerate(lines.items()):
        own = curves.thin(line)
        _line(plot, own.x, own.y, name, index, linewidth=1.6 if mean is None else 1.0)
    if mean is not None:
        _line(plot, mean.x, mean.y, "macro mean", 0, color=TEXT, linestyle="solid", linewidth=2.2)
    plot.set_xlabel("false-positive rate")
    plot.set_ylabel("true-positive rate (recall)")
    _legend_of_curves(plot, "lower right")
    return svg.save(figure, "roc", "ROC curve", finding)


def precision_recall(
    lines: Mapping[str, Curve], mean: Curve | None, prevalence: float | None, finding: str
) -> Drawing:
    """Draw precision-recall curves.

    Args:
        lines: By class.
        mean: Over all classes, None where there is one curve only.
        prevalence: Precision of calling every text positive, None where there are several curves.
        finding: In words.
    """
    figure, plot = _ranking_axes(lines, mean)
    if prevalence is not None:
        plot.axhline(prevalence, color=MUTED, linewidth=0.9, linestyle="dotted")
    for index, (name, line) in enumerate(lines.items()):
        own = curves.thin(line)
        width = 1.6 if mean is None else 1.0
        _line(plot, own.x, own.y, name, index, linewidth=width, drawstyle="steps-pre")
    if mean is not None:
        _line(plot, mean.x, mean.y, "macro mean", 0, color=TEXT, linestyle="solid", linewidth=2.2)
    plot.set_xlabel("recall")
    plot.set_ylabel("precision")
    _legend_of_curves(plot, "lower left")
    return svg.save(figure, "precision-recall", "Precision-recall curve", finding)


def _ranking_axes(lines: Mapping[str, Curve], mean: Curve | None) -> Any:
    entries = len(lines) + (mean is not None)
    rows = 0 if entries <= LEGEND_INSIDE else (entries + 1) // 2
    figure, plot = svg.axes(height=3.5 + 0.18 * rows)
    plot.set_xlim(-0.01, 1.01)
    plot.set_ylim(-0.01, 1.02)
    return figure, plot


def _legend_of_curves(plot: "Axes", inside: str) -> None:
    entries = sum(1 for line in plot.get_lines() if getattr(line, "shown_as", None))
    if entries <= LEGEND_INSIDE:
        svg.legend(plot, loc=inside)
    else:
        svg.legend_below(plot)


def reliability(bins: Sequence[curves.Bin], error: float) -> Drawing:
    """Draw accuracy over confidence, with the number of predictions in each bin."""
    figure, (plot, counts) = svg.stacked_axes(height=3.8)
    plot.plot([0, 1], [0, 1], color=MUTED, linewidth=0.9, linestyle="dotted")
    confidence = np.array([own.confidence for own in bins])
    accuracy = np.array([own.accuracy for own in bins])
    plot.vlines(
        confidence,
        np.minimum(confidence, accuracy),
        np.maximum(confidence, accuracy),
        color=SERIES[1],
        linewidth=1.2,
    )
    _line(plot, confidence, accuracy, "", 0, marker="o", markersize=4)
    plot.set_ylabel("accuracy")
    plot.set_ylim(-0.02, 1.04)
    plot.set_xlim(-0.01, 1.01)
    width = bins[0].high - bins[0].low
    counts.bar(
        [own.low for own in bins],
        [own.count for own in bins],
        width=width * 0.92,
        align="edge",
        color=SERIES[0],
        alpha=0.7,
    )
    counts.set_yscale("log")
    counts.set_ylim(bottom=0.7)
    counts.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    counts.minorticks_off()
    counts.set_ylabel("number")
    counts.set_xlabel("confidence")
    total = sum(own.count for own in bins)
    sure = sum(own.confidence * own.count for own in bins) / total
    right = sum(own.accuracy * own.count for own in bins) / total
    finding = (
        f"Over {total:,} predictions the mean confidence is {sure:.3f} and the accuracy {right:.3f}: on average "
        f"{_tendency(sure - right)}. The expected calibration error is {decimal(error)}."
    )
    return svg.save(figure, "reliability", "Reliability diagram", finding)


def _tendency(gap: float) -> str:
    if abs(gap) < 0.005:
        return "neither too sure nor too unsure"
    return f"too {'sure' if gap > 0 else 'unsure'} by {abs(gap):.3f}"


def coverage(found: curves.Coverage, limit: float | None, finding: str) -> Drawing:
    """Draw the accuracy on the texts kept over the share kept, and where the classifier abstains."""
    figure, plot = svg.axes()
    thinned = curves.thin(Curve(found.share, found.accuracy))
    _line(plot, thinned.x * 100, thinned.y, "", 0)
    kept = int((found.limit >= limit).sum()) if limit is not None else 0
    if kept:
        share, accuracy = float(found.share[kept - 1]), float(found.accuracy[kept - 1])
        plot.plot([share * 100], [accuracy], marker="o", color=SERIES[1])
        plot.annotate(
            "abstains beyond",
            (share * 100, accuracy),
            xytext=(-6, -12),
            textcoords="offset points",
            ha="right",
            fontsize=8,
        )
    plot.set_xlim(0, 101)
    lowest = float(found.accuracy.min())
    plot.set_ylim(max(0.0, lowest - max(0.02, 0.15 * (1 - lowest))), 1.005)
    plot.set_xlabel("texts kept, the most confident first (%)")
    plot.set_ylabel("accuracy on them")
    return svg.save(figure, "coverage", "Accuracy and coverage", finding)


def lengths(by_class: Mapping[str, Floats], finding: str) -> Drawing:
    """Draw the distribution of the texts' lengths in characters, as shares of each class."""
    figure, plot = svg.axes()
    longest = max(float(own.max()) for own in by_class.values() if len(own))
    shortest = min(float(own.min()) for own in by_class.values() if len(own))
    edges = np.unique(np.round(np.geomspace(max(shortest, 1), max(longest, 2) + 1, 26)))
    for index, (name, own) in enumerate(by_class.items()):
        if len(own):
            shares = np.histogram(own, edges)[0] / len(own) * 100
            line = plot.stairs(shares, edges, color=SERIES[index], linewidth=1.5)
            line.set_linestyle(DASHES[index % len(DASHES)])
            line.shown_as = f"{plain(name)} ({len(own):,})"
    if longest >= 10 * max(shortest, 1):  # within one power of ten the labels of a log scale overlap
        plot.set_xscale("log")
    else:
        plot.xaxis.get_major_locator().set_params(integer=True)
    plot.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    plot.set_xlabel("characters")
    plot.set_ylabel("texts of the class (%)" if len(by_class) > 1 else "texts (%)")
    svg.legend(plot, loc="best")
    return svg.save(figure, "lengths", "Length of the texts", finding)


def class_shares(shares: Mapping[str, Mapping[str, float]], names: Sequence[str], finding: str) -> Drawing:
    """Draw the share of each class in each split."""
    figure, plot = svg.axes(height=1.3 + 0.17 * (len(shares) + 1) * len(names))
    thickness = 0.8 / len(shares)
    for index, (split, own) in enumerate(shares.items()):
        places = np.arange(len(names)) + (index - (len(shares) - 1) / 2) * thickness
        bars = plot.barh(
            places, [own[name] * 100 for name in names], height=thickness * 0.9, color=SERIES[index]
        )
        bars.patches[0].shown_as = split
    plot.set_yticks(range(len(names)), [plain(name, 18) for name in names])
    plot.tick_params(axis="y", length=0)
    plot.set_ylim(len(names) - 0.5, -0.5)
    plot.set_xlabel("texts of the split (%)")
    plot.grid(visible=False, axis="y")
    svg.legend_below(plot, len(shares))
    return svg.save(figure, "classes", "Classes in each split", finding)


def _line(plot: "Axes", x: Floats, y: Floats, name: str, index: int, **how: Any) -> None:
    defaults = {"color": SERIES[index % len(SERIES)], "linestyle": DASHES[index % len(DASHES)]}
    (line,) = plot.plot(x, y, **(defaults | how))
    line.shown_as = plain(name) if name else None
