"""Datasets of the Hugging Face Hub, through the library `datasets`."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from finetext.data.config import SplitName
from finetext.data.dataset import Source
from finetext.data.readers.batches import Loaded, RawTable
from finetext.errors import DataError, DownloadError, UsageError, hub_errors


def load_hub(source: str, split_names: Mapping[str, SplitName]) -> Loaded:
    """Load `hf:owner/name` with its splits, or one split of it, `hf:owner/name:split`.

    A dataset of several configurations needs one named: `hf:owner/name:config:split`, where an empty split
    means all of them.

    Raises:
        DownloadError: No network, or no such dataset.
        DataError: It cannot be read as a table, or needs a choice that was not made.
        UsageError: The library `datasets` is not installed.
    """
    name, _, choice = source.removeprefix("hf:").partition(":")
    config, _, wanted = choice.rpartition(":")
    if not re.fullmatch(r"[\w.\-]+(/[\w.\-]+)?", name):
        raise DataError(
            f"{source}: not the name of a Hub dataset; write hf:owner/name or hf:owner/name:split."
        )
    try:
        import datasets
    except ImportError as error:
        message = f'{source}: Hub datasets need another package: pip install "finetext[hub]"'
        raise UsageError(message) from error
    loaded, revision = _download(source, name, config or None, datasets)
    if wanted and wanted not in loaded:
        raise DataError(f"{source}: no split {wanted!r}; it has {', '.join(loaded)}.")
    tables: dict[SplitName, RawTable] = {}
    for split in [wanted] if wanted else list(loaded):
        role = "train" if wanted or len(loaded) == 1 else split_names.get(str(split).lower())
        if role is not None:
            table = _to_table(loaded[split], f"{name}:{split}", datasets)
            tables.setdefault(role, replace(table, split=role))
    if "train" not in tables:
        first = next(iter(loaded))
        raise DataError(
            f"{source}: no train split; it has {', '.join(loaded)}. Choose one, such as {source}:{first}."
        )
    # The files of a Hub dataset lie in the cache of `datasets`, so that its rows are digested.
    rows = "".join(table.frame.write_ndjson() for table in tables.values())
    digest = hashlib.sha256(rows.encode()).hexdigest()
    return Loaded(Source(source, (), digest, revision=revision), tuple(tables.values()))


def _download(
    source: str, name: str, config: str | None, datasets: Any
) -> tuple[Mapping[str, Any], str | None]:
    try:
        datasets.disable_progress_bars()
        revision = _revision(name)
        return datasets.load_dataset(name, config, revision=revision), revision
    except hub_errors() as error:
        raise DownloadError(
            f"{source}: the Hub cannot be reached ({_in_one_line(error)}). Connect to the network, or set "
            "HF_HUB_OFFLINE=1 if the dataset is in its cache."
        ) from error
    except FileNotFoundError as error:  # DatasetNotFoundError is one
        reason = _in_one_line(error)
        raise DownloadError(f"{source}: not found on the Hub, or no network ({reason}).") from error
    except (OSError, ValueError, RuntimeError) as error:
        hint = f" Name one: {source}:CONFIG:SPLIT." if "onfig name is missing" in str(error) else ""
        raise DataError(f"{source}: cannot be loaded: {_in_one_line(error)}{hint}") from error


def _in_one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]


def _revision(name: str) -> str | None:
    """Return the commit of a Hub dataset, or None if the Hub is offline or does not say.

    It also finds out within one request whether there is a network: `datasets` would try for half a minute.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        return HfApi().dataset_info(name).sha
    except (HfHubHTTPError, OfflineModeIsEnabled, OSError, ValueError):
        return None  # `datasets` may still have it in its cache; if not, its own error says why


def _to_table(dataset: Any, name: str, datasets: Any) -> RawTable:
    """Turn a split into a table; numbers that stand for class names become those names."""
    frame: pl.DataFrame = (
        dataset.to_polars() if dataset.num_rows else pl.DataFrame(schema=dataset.column_names)
    )
    for column, feature in dataset.features.items():
        label = getattr(feature, "feature", feature)  # of a list, that of its items
        if not isinstance(label, datasets.ClassLabel):
            continue
        nested = isinstance(frame[column].dtype, pl.List | pl.Array)
        ids = pl.element() if nested else pl.col(column)
        names = dict(enumerate(label.names))
        named = ids.replace_strict(names, default=None, return_dtype=pl.String)
        frame = frame.with_columns(pl.col(column).list.eval(named) if nested else named)
    return RawTable(frame, np.arange(1, frame.height + 1), name, "hub")
