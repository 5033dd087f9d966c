"""Experiments: many fits and runs that answer one question."""

from typing import TYPE_CHECKING

from finetext import lazy

if TYPE_CHECKING:
    from finetext.experiments.comparing import Comparison, compare, write_page
    from finetext.experiments.curve import Curve, CurveTrial, learning_curve, resume_curve
    from finetext.experiments.curve_report import Point, points, verdict_sentences
    from finetext.experiments.probing import Probe, probe
    from finetext.experiments.study import SweepTrial
    from finetext.experiments.sweep_file import SweepPlan, read_sweep
    from finetext.experiments.sweeping import Sweep, resume_sweep, sweep

__all__ = [
    "Comparison",
    "Curve",
    "CurveTrial",
    "Point",
    "Probe",
    "Sweep",
    "SweepPlan",
    "SweepTrial",
    "compare",
    "learning_curve",
    "points",
    "probe",
    "read_sweep",
    "resume_curve",
    "resume_sweep",
    "sweep",
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
        "Sweep": "sweeping",
        "SweepPlan": "sweep_file",
        "SweepTrial": "study",
        "compare": "comparing",
        "learning_curve": "curve",
        "points": "curve_report",
        "probe": "probing",
        "read_sweep": "sweep_file",
        "resume_curve": "curve",
        "resume_sweep": "sweeping",
        "sweep": "sweeping",
        "verdict_sentences": "curve_report",
        "write_page": "comparing",
    },
)
