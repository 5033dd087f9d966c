"""What a run amounts to, for people: the report page, its plots, and the model card."""

from typing import TYPE_CHECKING

from finetext import lazy

if TYPE_CHECKING:
    from finetext.reporting.card import write_card
    from finetext.reporting.report import write_report

__all__ = ["write_card", "write_report"]

__getattr__ = lazy.exports(__name__, {"write_card": "card", "write_report": "report"})
