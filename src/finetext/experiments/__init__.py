"""Experiments: many fits and runs that answer one question."""

from typing import TYPE_CHECKING

from finetext import lazy

if TYPE_CHECKING:
    from finetext.experiments.baselines import Baselines, measure_baselines
    from finetext.experiments.faults import Fault, Faults
    from finetext.experiments.label_errors import find_faults
    from finetext.experiments.probing import Probe, probe

__all__ = ["Baselines", "Fault", "Faults", "Probe", "find_faults", "measure_baselines", "probe"]

__getattr__ = lazy.exports(
    __name__,
    {
        "Baselines": "baselines",
        "Fault": "faults",
        "Faults": "faults",
        "Probe": "probing",
        "find_faults": "label_errors",
        "measure_baselines": "baselines",
        "probe": "probing",
    },
)
