"""`probe()`: how well a linear classifier does on the output of each layer of a model."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetext import files
from finetext.errors import UsageError
from finetext.training import (
    DepthScore,
    Progress,
    Setup,
    TrainConfig,
    best_depth,
    check_config,
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
        return {
            "data": source.name,
            "synthetic_data": source.synthetic,
            "model": self.setup.model_source.name,
            "pooling": self.setup.model.reads,
            "best_depth": self.best,
            "depths": [
                {
                    "depth": score.depth,
                    "strength": score.strength,
                    "parameters": score.parameters,
                    "texts_per_second": score.texts_per_second,
                    "validation": score.validation.to_dict(),
                    "test": score.test.to_dict(),
                }
                for score in self.scores
            ],
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
    progress = progress or Progress()
    config = override(config or TrainConfig(), options | {"source": str(source)})
    check_config(config)
    setup = prepare(config)
    scores = score_depths(
        setup, lambda done, total: progress.working("reading texts", done, total), read_test=True
    )
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
    tests = [score.test for score in result.scores]
    lines = {
        "accuracy": [metrics.accuracy for metrics in tests],
        "macro-F1": [metrics.macro_f1 for metrics in tests],
        "MCC": [metrics.mcc for metrics in tests],
    }
    for (name, values), marker in zip(lines.items(), "os^", strict=True):
        axes.plot(depths, values, marker=marker, label=name)
    low, high = [m.accuracy_low for m in tests], [m.accuracy_high for m in tests]
    axes.fill_between(depths, low, high, alpha=0.15)
    axes.axvline(result.best, linestyle=":", color="grey", label="smallest depth within one standard error")
    axes.set_xticks(depths)
    axes.set_xlabel("layers kept")
    axes.set_ylabel("on the test split (band: accuracy, 95 %)")
    synthetic = " (synthetic data)" if result.setup.dataset.source.synthetic else ""
    axes.set_title(f"Linear probe of {result.setup.model_source.name}{synthetic}")
    axes.legend()
    content = io.BytesIO()
    figure.savefig(content, format=path.suffix.lstrip("."))
    files.write_bytes(path, content.getvalue())
