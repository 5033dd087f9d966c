"""Arithmetic over a model and token lists; it knows nothing of files or labels."""

from typing import TYPE_CHECKING

from finetext import lazy

if TYPE_CHECKING:
    from finetext.engine.arithmetic import (
        FastLinear,
        forget_fusions,
        noting_fusions,
        pack,
        packed,
        products_per_token,
        unpack,
        use_fast_kernels,
    )
    from finetext.engine.batches import Batch, Encoded, collate, token_budget_batches
    from finetext.engine.constant import ConstantInput, find_constant_input
    from finetext.engine.device import (
        Precision,
        choose_device,
        choose_precision,
        computes_bf16_fast,
        default_token_budget,
        prepare_cpu,
        usable_cores,
        usable_threads,
    )
    from finetext.engine.features import Inputs, Trunk, evaluating, store_features, weights_digest
    from finetext.engine.lanes import in_lanes, lane_budget, lanes_of, leaves_no_trace, use_threads
    from finetext.engine.logistic import LinearFit, fit_logistic
    from finetext.engine.reading import ReadPosition, read_one_position
    from finetext.engine.replay import Replay, cut_network
    from finetext.engine.store import Features, FeatureStore, ShelfSummary, StoreFull
    from finetext.engine.unpadding import Unpadding

__all__ = [
    "Batch",
    "ConstantInput",
    "Encoded",
    "FastLinear",
    "FeatureStore",
    "Features",
    "Inputs",
    "LinearFit",
    "Precision",
    "ReadPosition",
    "Replay",
    "ShelfSummary",
    "StoreFull",
    "Trunk",
    "Unpadding",
    "choose_device",
    "choose_precision",
    "collate",
    "computes_bf16_fast",
    "cut_network",
    "default_token_budget",
    "evaluating",
    "find_constant_input",
    "fit_logistic",
    "forget_fusions",
    "in_lanes",
    "lane_budget",
    "lanes_of",
    "leaves_no_trace",
    "noting_fusions",
    "pack",
    "packed",
    "prepare_cpu",
    "products_per_token",
    "read_one_position",
    "store_features",
    "token_budget_batches",
    "unpack",
    "usable_cores",
    "usable_threads",
    "use_fast_kernels",
    "use_threads",
    "weights_digest",
]

__getattr__ = lazy.exports(
    __name__,
    {
        "FastLinear": "arithmetic",
        "evaluating": "features",
        "find_constant_input": "constant",
        "fit_logistic": "logistic",
        "forget_fusions": "arithmetic",
        "LinearFit": "logistic",
        "Batch": "batches",
        "ConstantInput": "constant",
        "Encoded": "batches",
        "FeatureStore": "store",
        "Features": "store",
        "Inputs": "features",
        "Precision": "device",
        "ReadPosition": "reading",
        "Replay": "replay",
        "ShelfSummary": "store",
        "StoreFull": "store",
        "Trunk": "features",
        "Unpadding": "unpadding",
        "choose_device": "device",
        "choose_precision": "device",
        "collate": "batches",
        "computes_bf16_fast": "device",
        "cut_network": "replay",
        "default_token_budget": "device",
        "in_lanes": "lanes",
        "lane_budget": "lanes",
        "lanes_of": "lanes",
        "leaves_no_trace": "lanes",
        "use_threads": "lanes",
        "noting_fusions": "arithmetic",
        "pack": "arithmetic",
        "packed": "arithmetic",
        "prepare_cpu": "device",
        "products_per_token": "arithmetic",
        "read_one_position": "reading",
        "store_features": "features",
        "token_budget_batches": "batches",
        "unpack": "arithmetic",
        "usable_cores": "device",
        "usable_threads": "device",
        "use_fast_kernels": "arithmetic",
        "weights_digest": "features",
    },
)
