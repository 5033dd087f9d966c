"""How good a classifier is: metrics, baselines, and `evaluate()`. NumPy and scikit-learn only."""

from typing import TYPE_CHECKING

from finetext import lazy

if TYPE_CHECKING:
    from finetext.evaluation.metrics import (
        ClassMetrics,
        Metrics,
        compute_metrics,
        higher_is_better,
        wilson_interval,
    )
    from finetext.evaluation.paired import PairedDifference, decision_figures, paired_differences
    from finetext.evaluation.predictions import Evaluation, evaluate, write_predictions
    from finetext.evaluation.simple import MAJORITY, TFIDF, BaselineResult, baselines, mcnemar, verdict
    from finetext.evaluation.targets import decide, encode_targets, is_right

__all__ = [
    "MAJORITY",
    "TFIDF",
    "BaselineResult",
    "ClassMetrics",
    "Evaluation",
    "Metrics",
    "PairedDifference",
    "baselines",
    "compute_metrics",
    "decide",
    "decision_figures",
    "encode_targets",
    "evaluate",
    "higher_is_better",
    "is_right",
    "mcnemar",
    "paired_differences",
    "verdict",
    "wilson_interval",
    "write_predictions",
]

__getattr__ = lazy.exports(
    __name__,
    {
        "MAJORITY": "simple",
        "TFIDF": "simple",
        "BaselineResult": "simple",
        "ClassMetrics": "metrics",
        "Evaluation": "predictions",
        "Metrics": "metrics",
        "PairedDifference": "paired",
        "baselines": "simple",
        "compute_metrics": "metrics",
        "decide": "targets",
        "decision_figures": "paired",
        "encode_targets": "targets",
        "evaluate": "predictions",
        "higher_is_better": "metrics",
        "is_right": "targets",
        "mcnemar": "simple",
        "paired_differences": "paired",
        "verdict": "simple",
        "wilson_interval": "metrics",
        "write_predictions": "predictions",
    },
)
