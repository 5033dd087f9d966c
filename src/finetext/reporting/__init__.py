"""What a run amounts to, for people: the report page, its plots, and the model card."""

from typing import TYPE_CHECKING

from finetext import lazy

if TYPE_CHECKING:
    from finetext.reporting.card import write_card
    from finetext.reporting.evaluation import refuse_folder, write_evaluation
    from finetext.reporting.report import write_report

__all__ = ["refuse_folder", "write_card", "write_evaluation", "write_report"]

__getattr__ = lazy.exports(
    __name__,
    {
        "refuse_folder": "evaluation",
        "write_card": "card",
        "write_evaluation": "evaluation",
        "write_report": "report",
    },
)
