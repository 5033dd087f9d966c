"""Reading, checking, splitting and balancing labelled text."""

from typing import TYPE_CHECKING

from finetext import lazy

if TYPE_CHECKING:
    from finetext.data.balancing import balance, class_weights
    from finetext.data.checks import Finding, Findings, check_lengths
    from finetext.data.config import DataConfig, SplitName, Task
    from finetext.data.folds import fold_splits, held_out_folds, join
    from finetext.data.given import given_dataset
    from finetext.data.loading import examine, read, read_text_table
    from finetext.data.rows import Block, Cells, Rows, open_rows, rows_of_texts
    from finetext.data.splits import Splits, hold_out_validation, limit, split
    from finetext.data.stratify import assign_folds, group_texts
    from finetext.data.table import Dataset, Source, fold

__all__ = [
    "Block",
    "Cells",
    "DataConfig",
    "Dataset",
    "Finding",
    "Findings",
    "Rows",
    "Source",
    "SplitName",
    "Splits",
    "Task",
    "assign_folds",
    "balance",
    "check_lengths",
    "class_weights",
    "examine",
    "fold",
    "fold_splits",
    "given_dataset",
    "group_texts",
    "held_out_folds",
    "hold_out_validation",
    "join",
    "limit",
    "open_rows",
    "read",
    "read_text_table",
    "rows_of_texts",
    "split",
]

__getattr__ = lazy.exports(
    __name__,
    {
        "Block": "rows",
        "Cells": "rows",
        "DataConfig": "config",
        "Dataset": "table",
        "Finding": "checks",
        "Findings": "checks",
        "Rows": "rows",
        "Source": "table",
        "SplitName": "config",
        "Splits": "splits",
        "Task": "config",
        "assign_folds": "stratify",
        "balance": "balancing",
        "check_lengths": "checks",
        "class_weights": "balancing",
        "examine": "loading",
        "fold": "table",
        "fold_splits": "folds",
        "given_dataset": "given",
        "group_texts": "stratify",
        "held_out_folds": "folds",
        "hold_out_validation": "splits",
        "join": "folds",
        "limit": "splits",
        "open_rows": "rows",
        "read": "loading",
        "read_text_table": "loading",
        "rows_of_texts": "rows",
        "split": "splits",
    },
)
