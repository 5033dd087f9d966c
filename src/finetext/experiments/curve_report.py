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
from finetext.reporting import sentences

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def curve_verdict(points: Sequence[CurvePoint], metric: str) -> str:
    """Say up to which size, if any, the fine-tuned model is shown to be ahead of the baseline.

    A size counts as ahead if the 95 % t interval of the paired difference lies on the model's side of zero. The model
    stops being ahead at the smallest size from which on no size does.
    """
    ahead = [index for index, point in enumerate(points) if point.verdict == "ahead"]
    last = ahead[-1] if ahead else -1
    return sentences(
        "learning_curve",
        baseline=TFIDF,
        metric=METRICS[metric].text,
        trials=max(point.trials for point in points),
        last=points[last] if ahead else None,
        later=points[last + 1 :],
        behind=next((point for point in points[last + 1 :] if point.verdict == "behind"), None),
        gaps=[f"{point.size:,}" for point in points[: last + 1] if point.verdict != "ahead"],
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
