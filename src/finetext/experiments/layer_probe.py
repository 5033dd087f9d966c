"""`probe()`: how well a linear classifier does on the output of each layer of a model."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetext import files
from finetext.errors import UsageError
from finetext.metric_names import HEADLINE_METRICS, METRICS
from finetext.options import check_options
from finetext.training import (
    DepthScore,
    Progress,
    Setup,
    TrainConfig,
    best_depth,
    override,
    prepare,
    score_depths,
)

PLOTS = (".svg", ".png", ".pdf")


@dataclass(frozen=True)
class Probe:
    """The results of a linear probe.

    Attributes:
        setup: Data and model.
        scores: A score for each depth, the first layer's first.
        best: The smallest depth within one standard error of the best accuracy on validation.
    """

    setup: Setup
    scores: list[DepthScore]
    best: int

    def to_dict(self) -> dict[str, Any]:
        """Return the metrics as JSON values."""
        source = self.setup.dataset.source
        depths = [dataclasses.asdict(score) for score in self.scores]
        for values in depths:
            values |= values.pop("metrics")  # by split
        return {
            "data": source.name,
            "synthetic_data": source.synthetic,
            "model": self.setup.model_source.name,
            "pooling": self.setup.model.reads,
            "best_depth": self.best,
            "depths": depths,
        }


def probe(
    source: str | Path,
    config: TrainConfig | None = None,
    *,
    plot: Path | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Probe:
    """Fit a regularised logistic regression on the pooled output of every layer of a model.

    Args:
        source: Data, as `train` takes it.
        config: Every option; the defaults if not given.
        plot: File to plot the metrics by depth into: .svg, .png or .pdf.
        progress: Receives the number of texts done.
        **options: Single options by name, such as `model="bert-base"`.
    """
    if plot is not None and plot.suffix not in PLOTS:
        raise UsageError(f"{plot}: unknown image format. End its name in {', '.join(PLOTS)}.")
    config = override(config or TrainConfig(), options | {"source": str(source)})
    check_options(config)
    setup = prepare(config)
    scores = score_depths(setup, progress, read_test=True)
    result = Probe(setup, scores, best_depth(scores))
    if plot is not None:
        _draw(result, plot)
    return result


def _draw(result: Probe, path: Path) -> None:
    """Plot accuracy, macro-F1 and MCC by depth."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    depths = [score.depth for score in result.scores]
    tests = [score.metrics["test"] for score in result.scores]
    for name, marker in zip(HEADLINE_METRICS, "os^", strict=True):
        values = [metrics.value(name) for metrics in tests]
        axes.plot(depths, values, marker=marker, label=METRICS[name].text)
    low, high = [m.accuracy_low for m in tests], [m.accuracy_high for m in tests]
    axes.fill_between(depths, low, high, alpha=0.15)
    axes.axvline(result.best, linestyle=":", color="grey", label="smallest depth within one standard error")
    axes.set_xticks(depths)
    axes.set_xlabel("layers kept")
    axes.set_ylabel("on the test split (band: accuracy, 95 %)")
    synthetic = " (synthetic data)" if result.setup.dataset.source.synthetic else ""
    axes.set_title(f"Linear probe of {result.setup.model_source.name}{synthetic}")
    axes.legend()
    with files.writing(path) as file:
        figure.savefig(file, format=path.suffix.lstrip("."))
