"""Arithmetic over a model and token lists; it knows nothing of files or labels."""

from typing import TYPE_CHECKING

from finetext import lazy

if TYPE_CHECKING:
    from finetext.engine.batches import Batch, Encoded, collate, token_budget_batches
    from finetext.engine.device import (
        Precision,
        choose_device,
        choose_precision,
        default_token_budget,
        usable_cores,
    )

__all__ = [
    "Batch",
    "Encoded",
    "Precision",
    "choose_device",
    "choose_precision",
    "collate",
    "default_token_budget",
    "token_budget_batches",
    "usable_cores",
]

__getattr__ = lazy.exports(
    __name__,
    {
        "Batch": "batches",
        "Encoded": "batches",
        "Precision": "device",
        "choose_device": "device",
        "choose_precision": "device",
        "collate": "batches",
        "default_token_budget": "device",
        "token_budget_batches": "batches",
        "usable_cores": "device",
    },
)
