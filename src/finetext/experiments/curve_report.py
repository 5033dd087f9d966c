"""What a learning curve says: means and spreads, where the model stops being ahead, the files and the picture."""

import csv
import dataclasses
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from finetext import files
from finetext.evaluation import TFIDF
from finetext.experiments.curve import SCHEMA_VERSION, Curve, CurveTrial
from finetext.experiments.folder import ExperimentFolder
from finetext.metric_names import METRICS, SELECTION_METRICS, higher_is_better

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Point:
    """One figure at one size, over its trials.

    Attributes:
        size: Labelled texts used.
        trials: Over how many trials.
        model: Mean of the fine-tuned model.
        model_sd: Its standard deviation; None for a single trial.
        baseline: Mean of the baseline.
        baseline_sd: Its standard deviation.
        difference: Mean of model minus baseline, trial by trial.
        difference_sd: Its standard deviation.
        low: Lower end of the 95 % t interval of the mean difference; None for a single trial.
        high: Upper end.
        verdict: `ahead`, `behind`, or `not shown`, of the model.
    """

    size: int
    trials: int
    model: float | None
    model_sd: float | None
    baseline: float | None
    baseline_sd: float | None
    difference: float | None
    difference_sd: float | None
    low: float | None
    high: float | None
    verdict: str


def points(curve: Curve, metric: str) -> list[Point]:
    """Return a figure at each size."""
    sizes = dict.fromkeys(own.size for own in curve.trials)
    return [_point([own for own in curve.trials if own.size == size], metric) for size in sizes]


def _point(trials: Sequence[CurveTrial], metric: str) -> Point:
    pairs = [
        (model, baseline)
        for own in trials
        if (model := own.model[metric]) is not None and (baseline := own.baseline[metric]) is not None
    ]
    model, model_sd = _mean([first for first, _ in pairs])
    baseline, baseline_sd = _mean([second for _, second in pairs])
    difference, sd = _mean([first - second for first, second in pairs])
    low = high = None
    verdict = "not shown"
    if difference is not None and sd is not None:
        # Student's t: with few trials the spread itself is hardly known.
        reach = float(stats.t.ppf(0.975, len(pairs) - 1)) * sd / math.sqrt(len(pairs))
        low, high = difference - reach, difference + reach
        better, worse = (low > 0, high < 0) if higher_is_better(metric) else (high < 0, low > 0)
        verdict = "ahead" if better else "behind" if worse else verdict
    return Point(
        trials[0].size, len(pairs), model, model_sd, baseline, baseline_sd, difference, sd, low, high, verdict
    )


def _mean(values: Sequence[float]) -> tuple[float | None, float | None]:
    if not values:
        return None, None
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None


def verdict_sentences(found: Sequence[Point], metric: str) -> str:
    """Say at which size, if any, the fine-tuned model stops being ahead, and no more than the trials show.

    A size counts as ahead if the 95 % t interval of the paired difference lies on the model's side of zero. The model
    stops being ahead at the smallest size from which on no size does.
    """
    name, trials = METRICS[metric].text, max(own.trials for own in found)
    if trials < 2:
        return (
            f"One trial a size has no spread: it cannot show where the model stops being ahead of {TFIDF} in "
            f"{name}. Use --trials 3 or more."
        )
    ahead = [place for place, own in enumerate(found) if own.verdict == "ahead"]
    by = f"in {name}, by the 95 % t interval of the difference over {trials} paired trials"
    if not ahead:
        worst = next((own for own in found if own.verdict == "behind"), None)
        if worst is not None:
            return (
                f"At no size is the fine-tuned model shown to be ahead of {TFIDF} {by}; "
                f"with {worst.size:,} texts it is behind: {_difference(worst)}."
            )
        return (
            f"At no size is the fine-tuned model shown to be ahead of {TFIDF} {by}; "
            f"with {found[-1].size:,} texts the difference is {_difference(found[-1])}. More trials may show one."
        )
    last = found[ahead[-1]]
    gaps = [f"{own.size:,}" for own in found[: ahead[-1]] if own.verdict != "ahead"]
    but = f" (with {', '.join(gaps)} the trials do not show it)" if gaps else ""
    if ahead[-1] == len(found) - 1:
        return (
            f"The fine-tuned model is still ahead of {TFIDF} at the largest size{but}, {by}: "
            f"{_difference(last)} with {last.size:,} texts. No size was found at which it stops being ahead."
        )
    after = found[ahead[-1] + 1]
    behind = next((own for own in found[ahead[-1] + 1 :] if own.verdict == "behind"), None)
    then = (
        f"With {behind.size:,} texts the baseline is ahead: {_difference(behind)}."
        if behind is not None
        else f"From {after.size:,} texts on the trials do not show it any more ({_difference(after)}), "
        "which is not to say that there is no difference."
    )
    return (
        f"The fine-tuned model is shown to be ahead of {TFIDF} up to {last.size:,} texts{but}, {by}: "
        f"{_difference(last)}. {then}"
    )


def _difference(own: Point) -> str:
    if own.difference is None or own.low is None or own.high is None or own.difference_sd is None:
        return "not defined"
    return f"{own.difference:+.4f} ± {own.difference_sd:.4f}, interval {own.low:+.4f} to {own.high:+.4f}"


def write_curve(curve: Curve, folder: ExperimentFolder) -> None:
    """Write `curve.csv`, the two pictures, and last `curve.json`."""
    files.write_text(folder.path / "curve.csv", _table(curve))
    figure = _draw(curve)
    for kind in ("svg", "png"):
        content = io.BytesIO()
        figure.savefig(content, format=kind, dpi=150)
        files.write_bytes(folder.path / f"curve.{kind}", content.getvalue())
    metric = curve.config.train.metric
    found = {name: points(curve, name) for name in SELECTION_METRICS}
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
            "verdict": verdict_sentences(found[metric], metric),
            "points": {name: [dataclasses.asdict(own) for own in row] for name, row in found.items()},
            "trials": [dataclasses.asdict(own) for own in curve.trials],
        },
    )


def _table(curve: Curve) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    columns = [field.name for field in dataclasses.fields(Point) if field.name != "size"]
    writer.writerow(["metric", "size", *columns])
    for metric in SELECTION_METRICS:
        for own in points(curve, metric):
            values: list[Any] = [getattr(own, name) for name in columns]
            writer.writerow([metric, own.size, *("" if value is None else value for value in values)])
    return text.getvalue()


def _draw(curve: Curve) -> "Figure":
    from matplotlib.figure import Figure

    metrics = list(dict.fromkeys([curve.config.train.metric, "accuracy"]))
    figure = Figure(figsize=(5.2 * len(metrics), 4.2), layout="constrained")
    for place, metric in enumerate(metrics):
        _panel(figure.add_subplot(1, len(metrics), place + 1), points(curve, metric), metric)
    synthetic = " (synthetic data)" if curve.synthetic else ""
    trials = max(own.trial for own in curve.trials)
    figure.suptitle(
        f"{Path(curve.config.model.model).name} on {Path(curve.source).name}{synthetic}: "
        f"mean and standard deviation of {trials} trials"
    )
    return figure


def _panel(axes: "Axes", found: Sequence[Point], metric: str) -> None:
    shown = [own for own in found if own.model is not None and own.baseline is not None]
    sizes = [own.size for own in shown]
    lines = {
        "fine-tuned": [(own.model or 0.0, own.model_sd or 0.0) for own in shown],
        TFIDF: [(own.baseline or 0.0, own.baseline_sd or 0.0) for own in shown],
    }
    for (name, values), style in zip(lines.items(), ("o-", "s--"), strict=True):
        means, spreads = [mean for mean, _ in values], [spread for _, spread in values]
        axes.errorbar(sizes, means, yerr=spreads, fmt=style, capsize=3, label=name)
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.set_xlabel("labelled texts, validation included")
    axes.set_ylabel(f"{METRICS[metric].text} on the test texts")
    axes.grid(alpha=0.3)
    axes.legend()
