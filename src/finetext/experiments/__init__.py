"""Experiments: many fits and runs that answer one question."""

from typing import TYPE_CHECKING

from finetext import lazy

if TYPE_CHECKING:
    from finetext.experiments.faults import Fault, Faults
    from finetext.experiments.label_errors import find_faults
    from finetext.experiments.probing import Probe, probe

__all__ = ["Fault", "Faults", "Probe", "find_faults", "probe"]

__getattr__ = lazy.exports(
    __name__,
    {
        "Fault": "faults",
        "Faults": "faults",
        "Probe": "probing",
        "find_faults": "label_errors",
        "probe": "probing",
    },
)
