"""Experiments: many fits and runs that answer one question."""

from typing import TYPE_CHECKING

from finetext import lazy

if TYPE_CHECKING:
    from finetext.experiments.comparing import Comparison, compare, write_page
    from finetext.experiments.curve import Curve, CurveTrial, learning_curve, resume_curve
    from finetext.experiments.curve_report import Point, points, verdict_sentences
    from finetext.experiments.probing import Probe, probe

__all__ = [
    "Comparison",
    "Curve",
    "CurveTrial",
    "Point",
    "Probe",
    "compare",
    "learning_curve",
    "points",
    "probe",
    "resume_curve",
    "verdict_sentences",
    "write_page",
]

__getattr__ = lazy.exports(
    __name__,
    {
        "Comparison": "comparing",
        "Curve": "curve",
        "CurveTrial": "curve",
        "Point": "curve_report",
        "Probe": "probing",
        "compare": "comparing",
        "learning_curve": "curve",
        "points": "curve_report",
        "probe": "probing",
        "resume_curve": "curve",
        "verdict_sentences": "curve_report",
        "write_page": "comparing",
    },
)
