"""How good a classifier is: metrics, baselines, and `evaluate()`. NumPy and scikit-learn only."""

from typing import TYPE_CHECKING

from finetext import lazy

if TYPE_CHECKING:
    from finetext.evaluation.bootstrap import bootstrap_intervals, with_intervals
    from finetext.evaluation.calibration import fit_temperature, scaled_probabilities
    from finetext.evaluation.metrics import (
        CALIBRATION_BINS,
        ClassMetrics,
        Metrics,
        compute_metrics,
        higher_is_better,
        likeliest,
        text_losses,
        wilson_interval,
    )
    from finetext.evaluation.paired import PairedDifference, decision_figures, paired_differences
    from finetext.evaluation.predictions import Evaluation, evaluate, write_predictions
    from finetext.evaluation.simple import (
        MAJORITY,
        TFIDF,
        BaselineResult,
        baselines,
        compare_right,
        fit_tfidf,
        mcnemar,
        verdict,
    )
    from finetext.evaluation.targets import coverage, encode_targets, is_right
    from finetext.evaluation.thresholds import Criterion, choose_thresholds, count_at, parse_criterion

__all__ = [
    "CALIBRATION_BINS",
    "MAJORITY",
    "TFIDF",
    "BaselineResult",
    "ClassMetrics",
    "Criterion",
    "Evaluation",
    "Metrics",
    "PairedDifference",
    "baselines",
    "bootstrap_intervals",
    "choose_thresholds",
    "compare_right",
    "compute_metrics",
    "count_at",
    "coverage",
    "decision_figures",
    "encode_targets",
    "evaluate",
    "fit_temperature",
    "fit_tfidf",
    "higher_is_better",
    "is_right",
    "likeliest",
    "mcnemar",
    "paired_differences",
    "parse_criterion",
    "scaled_probabilities",
    "text_losses",
    "verdict",
    "wilson_interval",
    "with_intervals",
    "write_predictions",
]

__getattr__ = lazy.exports(
    __name__,
    {
        "BaselineResult": "simple",
        "CALIBRATION_BINS": "metrics",
        "ClassMetrics": "metrics",
        "Criterion": "thresholds",
        "Evaluation": "predictions",
        "MAJORITY": "simple",
        "Metrics": "metrics",
        "PairedDifference": "paired",
        "TFIDF": "simple",
        "baselines": "simple",
        "bootstrap_intervals": "bootstrap",
        "choose_thresholds": "thresholds",
        "compare_right": "simple",
        "compute_metrics": "metrics",
        "coverage": "targets",
        "count_at": "thresholds",
        "decision_figures": "paired",
        "encode_targets": "targets",
        "evaluate": "predictions",
        "fit_temperature": "calibration",
        "fit_tfidf": "simple",
        "higher_is_better": "metrics",
        "is_right": "targets",
        "likeliest": "metrics",
        "mcnemar": "simple",
        "paired_differences": "paired",
        "parse_criterion": "thresholds",
        "scaled_probabilities": "calibration",
        "text_losses": "metrics",
        "verdict": "simple",
        "wilson_interval": "metrics",
        "with_intervals": "bootstrap",
        "write_predictions": "predictions",
    },
)
