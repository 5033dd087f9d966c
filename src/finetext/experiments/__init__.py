"""Experiments: many fits and runs that answer one question."""

from typing import TYPE_CHECKING

from finetext import lazy

if TYPE_CHECKING:
    from finetext.experiments.baselines import Baselines, measure_baselines
    from finetext.experiments.comparing import Comparison, compare, write_page
    from finetext.experiments.curve import Curve, CurveTrial, learning_curve, resume_curve
    from finetext.experiments.curve_report import Point, points, verdict_sentences
    from finetext.experiments.faults import Fault, Faults
    from finetext.experiments.label_errors import find_faults
    from finetext.experiments.probing import Probe, probe
    from finetext.experiments.study import SweepTrial
    from finetext.experiments.sweep_file import SweepPlan, read_sweep
    from finetext.experiments.sweeping import Sweep, resume_sweep, sweep

__all__ = [
    "Baselines",
    "Comparison",
    "Curve",
    "CurveTrial",
    "Fault",
    "Faults",
    "Point",
    "Probe",
    "Sweep",
    "SweepPlan",
    "SweepTrial",
    "compare",
    "find_faults",
    "learning_curve",
    "measure_baselines",
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
        "Baselines": "baselines",
        "Comparison": "comparing",
        "Curve": "curve",
        "CurveTrial": "curve",
        "Fault": "faults",
        "Faults": "faults",
        "Point": "curve_report",
        "Probe": "probing",
        "Sweep": "sweeping",
        "SweepPlan": "sweep_file",
        "SweepTrial": "study",
        "compare": "comparing",
        "find_faults": "label_errors",
        "learning_curve": "curve",
        "measure_baselines": "baselines",
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
