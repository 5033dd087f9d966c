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
    from finetext.evaluation.predictions import Evaluation, evaluate, write_predictions
    from finetext.evaluation.simple import (
        MAJORITY,
        TFIDF,
        BaselineResult,
        baselines,
        fit_tfidf,
        mcnemar,
        verdict,
    )
    from finetext.evaluation.targets import decide, encode_targets, is_right

__all__ = [
    "MAJORITY",
    "TFIDF",
    "BaselineResult",
    "ClassMetrics",
    "Evaluation",
    "Metrics",
    "baselines",
    "compute_metrics",
    "decide",
    "encode_targets",
    "evaluate",
    "fit_tfidf",
    "higher_is_better",
    "is_right",
    "mcnemar",
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
        "baselines": "simple",
        "compute_metrics": "metrics",
        "decide": "targets",
        "encode_targets": "targets",
        "evaluate": "predictions",
        "fit_tfidf": "simple",
        "higher_is_better": "metrics",
        "is_right": "targets",
        "mcnemar": "simple",
        "verdict": "simple",
        "wilson_interval": "metrics",
        "write_predictions": "predictions",
    },
)
