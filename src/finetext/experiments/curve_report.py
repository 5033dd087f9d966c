"""The files of a learning curve: its verdict in words, a table, and plots."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from finetext import files
from finetext.evaluation import TFIDF
from finetext.experiments.curve_points import CurvePoint, LearningCurve
from finetext.experiments.folder import SCHEMA_VERSION, ExperimentFolder
from finetext.metric_names import METRICS, SELECTION_METRICS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def curve_verdict(points: Sequence[CurvePoint], metric: str) -> str:
    """Say up to which size, if any, the fine-tuned model is shown to be ahead of the baseline.

    A size counts as ahead if the 95 % t interval of the paired difference lies on the model's side of zero. The model
    stops being ahead at the smallest size from which on no size does.
    """
    name, trials = METRICS[metric].text, max(point.trials for point in points)
    if trials < 2:
        return (
            f"One trial per size has no spread: it cannot show where the model stops being ahead of {TFIDF} in "
            f"{name}. Use --trials 3 or more."
        )
    by = f"in {name}, by the 95 % t interval of the difference over {trials} paired trials"
    ahead = [index for index, point in enumerate(points) if point.verdict == "ahead"]
    if not ahead:
        return f"At no size is the fine-tuned model shown to be ahead of {TFIDF} {by}; {_never_ahead(points)}"
    last, later = points[ahead[-1]], points[ahead[-1] + 1 :]
    gaps = [f"{point.size:,}" for point in points[: ahead[-1]] if point.verdict != "ahead"]
    but = f" (with {', '.join(gaps)} the trials do not show it)" if gaps else ""
    if not later:
        return (
            f"The fine-tuned model is still ahead of {TFIDF} at the largest size{but}, {by}: "
            f"{_difference(last)} with {last.size:,} texts. No size was found at which it stops being ahead."
        )
    behind = next((point for point in later if point.verdict == "behind"), None)
    then = (
        f"From {later[0].size:,} texts on the trials no longer show it ({_difference(later[0])}), "
        "which is not to say that there is no difference."
        if behind is None
        else f"With {behind.size:,} texts the baseline is ahead: {_difference(behind)}."
    )
    return (
        f"The fine-tuned model is shown to be ahead of {TFIDF} up to {last.size:,} texts{but}, {by}: "
        f"{_difference(last)}. {then}"
    )


def _never_ahead(points: Sequence[CurvePoint]) -> str:
    behind = next((point for point in points if point.verdict == "behind"), None)
    if behind is not None:
        return f"with {behind.size:,} texts it is behind: {_difference(behind)}."
    last = points[-1]
    return f"with {last.size:,} texts the difference is {_difference(last)}. More trials may show one."


def _difference(point: CurvePoint) -> str:
    if point.difference is None or point.low is None or point.high is None or point.difference_sd is None:
        return "not defined"
    return (
        f"{point.difference:+.4f} ± {point.difference_sd:.4f}, interval {point.low:+.4f} to {point.high:+.4f}"
    )


def write_curve(curve: LearningCurve, folder: ExperimentFolder) -> None:
    """Write `curve.csv`, the two plots, and last `curve.json`."""
    metric = curve.config.train.metric
    points = {name: curve.points(name) for name in SELECTION_METRICS}
    columns = [field.name for field in dataclasses.fields(CurvePoint)]
    rows = ([name, *dataclasses.astuple(point)] for name, row in points.items() for point in row)
    files.write_csv(folder.path / "curve.csv", ["metric", *columns], rows)
    figure = _draw(curve)
    for kind in ("svg", "png"):
        with files.writing(folder.path / f"curve.{kind}") as file:
            figure.savefig(file, format=kind, dpi=150)
    files.write_json(
        folder.results,
        {
            "schema_version": SCHEMA_VERSION,
            "data": curve.source,
            "synthetic_data": curve.synthetic,
            "model": curve.config.model.model,
            "trainable": curve.config.model.trainable,
            "baseline": TFIDF,
            "metric": metric,
            "verdict": curve_verdict(points[metric], metric),
            "points": {name: [dataclasses.asdict(point) for point in row] for name, row in points.items()},
            "trials": [dataclasses.asdict(trial) for trial in curve.trials],
        },
    )


def _draw(curve: LearningCurve) -> "Figure":
    from matplotlib.figure import Figure

    metrics = list(dict.fromkeys([curve.config.train.metric, "accuracy"]))
    figure = Figure(figsize=(5.2 * len(metrics), 4.2), layout="constrained")
    for index, metric in enumerate(metrics, 1):
        _draw_metric(figure.add_subplot(1, len(metrics), index), curve.points(metric), metric)
    synthetic = " (synthetic data)" if curve.synthetic else ""
    figure.suptitle(
        f"{Path(curve.config.model.model).name} on {Path(curve.source).name}{synthetic}: "
        f"mean and standard deviation of {curve.trials_per_size} trials"
    )
    return figure


def _draw_metric(axes: "Axes", points: Sequence[CurvePoint], metric: str) -> None:
    shown = [point for point in points if point.model is not None and point.baseline is not None]
    sizes = [point.size for point in shown]
    for name, field, style in (("fine-tuned", "model", "o-"), (TFIDF, "baseline", "s--")):
        means = [getattr(point, field) for point in shown]
        deviations = [getattr(point, f"{field}_sd") or 0.0 for point in shown]
        axes.errorbar(sizes, means, yerr=deviations, fmt=style, capsize=3, label=name)
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.set_xlabel("labelled texts, validation included")
    axes.set_ylabel(f"{METRICS[metric].text} on the test texts")
    axes.grid(alpha=0.3)
    axes.legend()
