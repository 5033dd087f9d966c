"""Experiments: many fits and runs that answer one question."""

from typing import TYPE_CHECKING

from finetext import lazy

if TYPE_CHECKING:
    from finetext.experiments.probing import Probe, probe

__all__ = ["Probe", "probe"]

__getattr__ = lazy.exports(__name__, {"Probe": "probing", "probe": "probing"})
