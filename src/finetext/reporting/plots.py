"""The plots of the report, each with its finding in words."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from finetext.evaluation import CALIBRATION_BINS
from finetext.metric_names import HEADLINE_METRICS, METRICS
from finetext.reporting import curves, svg
from finetext.reporting.curves import Curve
from finetext.reporting.elements import Plot
from finetext.reporting.folder import Floats
from finetext.reporting.phrases import plain, quoted
from finetext.reporting.rendering import sentences
from finetext.reporting.svg import CELL, DASHES, MUTED, SERIES, TEXT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEGEND_INSIDE = 3
"""Up to how many entries a legend stands inside the plot."""
POINTS = {"marker": "o", "markersize": 4}
THOUSANDS = "{x:,.0f}"


def losses(history: pl.DataFrame, per_epoch: int, best: float | None) -> Plot:
    """Draw training and validation loss.

    Args:
        history: What `history.csv` says of each step.
        per_epoch: Examples of an epoch.
        best: Epoch of the weights that were kept, if it can be marked.
    """
    figure, ax = svg.subplots()
    evaluations = history.drop_nulls("validation_loss")
    steps = curves.grouped(Curve(history["examples"].to_numpy(), history["loss"].to_numpy()))
    smoothed = curves.smooth(steps)
    ax.plot(steps.x / per_epoch, steps.y, color=SERIES[0], linewidth=0.7, alpha=0.45)
    _line(ax, smoothed.x / per_epoch, smoothed.y, "training, smoothed", 0)
    epochs = (evaluations["examples"] / per_epoch).to_numpy()
    validation = evaluations["validation_loss"].to_numpy()
    _line(ax, epochs, validation, "validation", 1, **POINTS)
    _epochs(ax, history, per_epoch, best)
    ax.set(ylabel="loss (nats)", ylim=(0, None))
    svg.legend(ax)
    finding = sentences("losses", training=smoothed.y, validation=validation, epochs=epochs)
    return svg.save(figure, "loss", "Loss during training", finding)


def scores(history: pl.DataFrame, per_epoch: int, best: float | None) -> Plot:
    """Draw accuracy, macro-F1 and MCC on validation."""
    figure, ax = svg.subplots()
    evaluations = history.drop_nulls("validation_loss")
    epochs = (evaluations["examples"] / per_epoch).to_numpy()
    for index, name in enumerate(HEADLINE_METRICS):
        _line(ax, epochs, evaluations[name].to_numpy(), METRICS[name].text, index, **POINTS)
    _epochs(ax, history, per_epoch, best)
    lowest = evaluations.select(HEADLINE_METRICS).to_numpy().min()
    ax.set(ylabel="on validation", ylim=(min(lowest - 0.03, 0.9), 1.01))
    svg.legend(ax, below=3)
    finding = sentences("scores", accuracy=evaluations["accuracy"].to_numpy(), epochs=epochs)
    return svg.save(figure, "accuracy", "Accuracy during training", finding)


def _epochs(ax: "Axes", history: pl.DataFrame, per_epoch: int, best: float | None) -> None:
    """Put epochs below the plot and examples seen above it, and mark the epoch that was kept."""
    last = history["examples"][-1] / per_epoch
    ax.set(xlim=(0, last * 1.02), xlabel="epochs")
    ax.xaxis.get_major_locator().set_params(integer=last >= 1, nbins=8)
    above = ax.secondary_xaxis("top", functions=(lambda x: x * per_epoch, lambda x: x / per_epoch))
    above.set_xlabel("examples seen")
    above.xaxis.get_major_locator().set_params(nbins=4)
    above.xaxis.set_major_formatter(THOUSANDS)
    if best is not None:
        ax.axvline(best, color=MUTED, linewidth=0.9, linestyle="dashed")
        shift, side = (-3, "right") if best > last / 2 else (3, "left")
        _annotate(ax, "kept", (best, 1), (shift, -9), side, xycoords=("data", "axes fraction"), color=MUTED)


def confusion(matrix: Sequence[Sequence[int]], names: Sequence[str]) -> Plot:
    """Draw a confusion matrix: counts, shaded by their share of the true class."""
    from matplotlib.patches import Rectangle

    size = len(names)
    side = max(3.2, 0.42 * size + 1.4)
    figure, ax = svg.subplots(max(4.2, side + 0.5), side)
    ax.grid(visible=False)
    font: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 10 if size <= 6 else 8}
    for row, counts in enumerate(matrix):
        for column, number in enumerate(counts):
            weight = "bold" if row == column else "normal"
            ax.text(column, row, f"{number:,}", color=TEXT if number else MUTED, weight=weight, **font)
            if number:
                alpha = 0.08 + 0.5 * number / sum(counts)
                corner = (column - 0.5, row - 0.5)
                ax.add_patch(Rectangle(corner, 1, 1, color=CELL, alpha=alpha, linewidth=0))
    labels = [plain(name, 14) for name in names]
    turned = sum(map(len, labels)) > 34
    ax.set_xticks(range(size), labels, rotation=45 if turned else 0, ha="right" if turned else "center")
    ax.set_yticks(range(size), labels)
    ax.tick_params(length=0)
    ax.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5), xlabel="predicted", ylabel="true")
    ax.spines[:].set_visible(False)
    return svg.save(figure, "confusion", "Confusion matrix", confusion_in_words(matrix, names))


def confusion_in_words(matrix: Sequence[Sequence[int]], names: Sequence[str]) -> str:
    """Say how many texts of each class are recognised, and which classes are confused most often."""
    recognised = [
        f"{row[i]:,} of {sum(row):,} {quoted(name)}"
        for i, (row, name) in enumerate(zip(matrix, names, strict=True))
        if sum(row)
    ]
    return sentences("confusion", recognised=recognised, pairs=confused_pairs(matrix), names=names)


def confused_pairs(matrix: Sequence[Sequence[int]]) -> list[tuple[int, int, int]]:
    """Return number, true class and predicted class of all confusions, the most frequent first."""
    counts = np.array(matrix)
    np.fill_diagonal(counts, 0)
    pairs = [(int(counts[t, p]), int(t), int(p)) for t, p in zip(*np.nonzero(counts), strict=True)]
    return sorted(pairs, key=lambda pair: (-pair[0], pair[1], pair[2]))


def roc(lines: Mapping[str, Curve], mean: Curve | None, finding: str) -> Plot:
    """Draw ROC curves.

    Args:
        lines: By class.
        mean: Over all classes, None for a single curve.
        finding: In words.
    """
    figure, ax = _ranking_plot(lines, mean, "lower right")
    ax.plot([0, 1], [0, 1], color=MUTED, linewidth=0.9, linestyle="dotted", zorder=1.9)
    ax.set(xlabel="false-positive rate", ylabel="true-positive rate (recall)")
    return svg.save(figure, "roc", "ROC curve", finding)


def precision_recall(
    lines: Mapping[str, Curve], mean: Curve | None, prevalence: float | None, finding: str
) -> Plot:
    """Draw precision-recall curves.

    Args:
        lines: By class.
        mean: Over all classes, None for a single curve.
        prevalence: Precision of predicting the class for every text, None for several curves.
        finding: In words.
    """
    figure, ax = _ranking_plot(lines, mean, "lower left", drawstyle="steps-pre")
    if prevalence is not None:
        ax.axhline(prevalence, color=MUTED, linewidth=0.9, linestyle="dotted", zorder=1.9)
    ax.set(xlabel="recall", ylabel="precision")
    return svg.save(figure, "precision-recall", "Precision-recall curve", finding)


def _ranking_plot(lines: Mapping[str, Curve], mean: Curve | None, inside: str, **how: Any) -> Any:
    """Draw curves within the unit square; `inside` is the place of a short legend."""
    entries = len(lines) + (mean is not None)
    rows = 0 if entries <= LEGEND_INSIDE else (entries + 1) // 2
    figure, ax = svg.subplots(height=3.5 + 0.18 * rows)
    ax.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))
    for index, (name, line) in enumerate(lines.items()):
        thinned = curves.thin(line)
        _line(ax, thinned.x, thinned.y, name, index, linewidth=1.6 if mean is None else 1.0, **how)
    if mean is not None:
        _line(ax, mean.x, mean.y, "macro mean", 0, color=TEXT, linestyle="solid", linewidth=2.2)
    svg.legend(ax, below=2 if rows else 0, loc=inside)
    return figure, ax


def reliability(bins: curves.Reliability, error: float) -> Plot:
    """Draw accuracy over confidence, with the number of predictions in each bin."""
    figure, (ax, histogram) = svg.subplots(height=3.8, nrows=2, sharex=True, height_ratios=(3, 1))
    ax.plot([0, 1], [0, 1], color=MUTED, linewidth=0.9, linestyle="dotted")
    low, high = np.minimum(bins.confidence, bins.accuracy), np.maximum(bins.confidence, bins.accuracy)
    ax.vlines(bins.confidence, low, high, color=SERIES[1], linewidth=1.2)
    _line(ax, bins.confidence, bins.accuracy, "", 0, **POINTS)
    ax.set(ylabel="accuracy", ylim=(-0.02, 1.04), xlim=(-0.01, 1.01))
    width = 0.92 / CALIBRATION_BINS
    histogram.bar(bins.low, bins.count, width=width, align="edge", color=SERIES[0], alpha=0.7)
    histogram.set(yscale="log", ylim=(0.7, None), ylabel="number", xlabel="confidence")
    histogram.yaxis.set_major_formatter(THOUSANDS)
    histogram.minorticks_off()
    finding = sentences("reliability", bins=bins, total=int(bins.count.sum()), error=error)
    return svg.save(figure, "reliability", "Reliability diagram", finding)


def coverage(kept: curves.CoverageCurve, limit: float | None, finding: str) -> Plot:
    """Draw the accuracy on the texts kept over the share kept, and mark where the classifier abstains."""
    figure, ax = svg.subplots()
    thinned = curves.thin(Curve(kept.share, kept.accuracy))
    _line(ax, thinned.x * 100, thinned.y, "", 0)
    number = int((kept.limit >= limit).sum()) if limit is not None else 0
    if number:
        share, accuracy = float(kept.share[number - 1]) * 100, float(kept.accuracy[number - 1])
        ax.plot([share], [accuracy], marker="o", color=SERIES[1])
        _annotate(ax, "abstains beyond", (share, accuracy), (-6, -12), "right")
    lowest = float(kept.accuracy.min())
    ax.set(
        xlim=(0, 101),
        ylim=(max(0.0, lowest - max(0.02, 0.15 * (1 - lowest))), 1.005),
        xlabel="texts kept, the most confident first (%)",
        ylabel="accuracy on them",
    )
    return svg.save(figure, "coverage", "Accuracy and coverage", finding)


def lengths(by_class: Mapping[str, Floats], finding: str) -> Plot:
    """Draw the distribution of the texts' lengths in characters, as shares of each class."""
    figure, ax = svg.subplots()
    every = np.concatenate(list(by_class.values()))
    shortest, longest = max(float(every.min()), 1), float(every.max())
    edges = np.unique(np.round(np.geomspace(shortest, max(longest, 2) + 1, 26)))
    for index, (name, values) in enumerate(by_class.items()):
        if len(values):
            shares = np.histogram(values, edges)[0] / len(values) * 100
            stairs = ax.stairs(shares, edges, color=SERIES[index], linewidth=1.5)
            stairs.set_linestyle(DASHES[index % len(DASHES)])
            stairs.shown_as = f"{plain(name)} ({len(values):,})"
    if longest >= 10 * shortest:  # within one power of ten the labels of a log scale overlap
        ax.set_xscale("log")
    else:
        ax.xaxis.get_major_locator().set_params(integer=True)
    ax.xaxis.set_major_formatter(THOUSANDS)
    ax.set(xlabel="characters", ylabel="texts of the class (%)" if len(by_class) > 1 else "texts (%)")
    svg.legend(ax, loc="best")
    return svg.save(figure, "lengths", "Length of the texts", finding)


def class_shares(shares: Mapping[str, Mapping[str, float]], names: Sequence[str], finding: str) -> Plot:
    """Draw the share of each class in each split."""
    figure, ax = svg.subplots(height=1.3 + 0.17 * (len(shares) + 1) * len(names))
    thickness = 0.8 / len(shares)
    for index, (split, by_class) in enumerate(shares.items()):
        places = np.arange(len(names)) + (index - (len(shares) - 1) / 2) * thickness
        values = [by_class[name] * 100 for name in names]
        bars = ax.barh(places, values, height=thickness * 0.9, color=SERIES[index])
        bars.patches[0].shown_as = split
    ax.set_yticks(range(len(names)), [plain(name, 18) for name in names])
    ax.tick_params(axis="y", length=0)
    ax.set(ylim=(len(names) - 0.5, -0.5), xlabel="texts of the split (%)")
    ax.grid(visible=False, axis="y")
    svg.legend(ax, below=len(shares))
    return svg.save(figure, "classes", "Classes in each split", finding)


def _line(ax: "Axes", x: Floats, y: Floats, name: str, index: int, **how: Any) -> None:
    defaults = {"color": SERIES[index % len(SERIES)], "linestyle": DASHES[index % len(DASHES)]}
    (line,) = ax.plot(x, y, **(defaults | how))
    line.shown_as = plain(name) if name else None


def _annotate(
    ax: "Axes", text: str, place: tuple[float, float], shift: tuple[int, int], side: str, **how: Any
) -> None:
    ax.annotate(text, place, xytext=shift, textcoords="offset points", ha=side, fontsize=8, **how)
