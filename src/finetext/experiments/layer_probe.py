"""`probe()`: how good each depth of a model is for a task, in one pass over the texts."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetext import files
from finetext.training import TrainConfig
from finetext.training.config_file import check_config, override
from finetext.training.depth_selection import DepthScore, best_depth, score_depths
from finetext.training.setup import Setup, prepare


@dataclass(frozen=True)
class Probe:
    """What a linear probe found.

    Attributes:
        job: Data and model.
        scores: A score for each depth, the first layer's first.
        best: The least depth within one standard error of the best accuracy on validation.
    """

    job: Setup
    scores: list[DepthScore]
    best: int

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return {
            "data": self.job.dataset.source.name,
            "synthetic_data": self.job.dataset.source.synthetic,
            "model": self.job.model_source.name,
            "pooling": self.job.model.reads,
            "best_depth": self.best,
            "depths": [
                {
                    "depth": own.depth,
                    "strength": own.strength,
                    "parameters": own.parameters,
                    "texts_per_second": own.texts_per_second,
                    "validation": own.validation.to_dict(),
                    "test": own.test.to_dict(),
                }
                for own in self.scores
            ],
        }


def probe(
    source: str | Path,
    config: TrainConfig | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> Probe:
    """Fit a regularised logistic regression on the pooled output of every layer of a model.

    Args:
        source: Data, as `train` takes it.
        config: Every option; the defaults if not given.
        progress: Called with the texts done and the texts to do.
        **options: Single options by name, such as `model="bert-base"`.

    Raises:
        FinetextError: With one or two lines that say what to do.
    """
    config = override(config or TrainConfig(), options | {"source": str(source)})
    check_config(config)
    job = prepare(config)
    scores = score_depths(job, progress, read_test=True)
    return Probe(job, scores, best_depth(scores))


def plot_probe(found: Probe, path: Path) -> None:
    """Draw accuracy, macro-F1 and MCC by depth, as the file's name says: svg, png or pdf.

    Raises:
        UsageError: The file cannot be written.
    """
    import io

    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    depths = [own.depth for own in found.scores]
    lines = {
        "accuracy": [own.test.accuracy for own in found.scores],
        "macro-F1": [own.test.macro_f1 for own in found.scores],
        "MCC": [own.test.mcc for own in found.scores],
    }
    for (name, values), marker in zip(lines.items(), "os^", strict=True):
        axes.plot(depths, values, marker=marker, label=name)
    accuracies = [own.test for own in found.scores]
    axes.fill_between(
        depths,
        [own.accuracy_low for own in accuracies],
        [own.accuracy_high for own in accuracies],
        alpha=0.15,
    )
    axes.axvline(found.best, linestyle=":", color="grey", label="least depth within one standard error")
    axes.set_xticks(depths)
    axes.set_xlabel("layers kept")
    axes.set_ylabel("on the test split (band: accuracy, 95 %)")
    synthetic = " (synthetic data)" if found.job.dataset.source.synthetic else ""
    axes.set_title(f"Linear probe of {found.job.model_source.name}{synthetic}")
    axes.legend()
    content = io.BytesIO()
    figure.savefig(content, format=path.suffix.lstrip(".") or "svg")
    files.write_bytes(path, content.getvalue())
