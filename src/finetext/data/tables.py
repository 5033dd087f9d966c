"""The tables of a source, before texts and labels are taken out of them."""

from dataclasses import dataclass
from pathlib import Path

from finetext.data.readers.batches import RawTable


@dataclass(frozen=True)
class Loaded:
    """The tables of a source and where they came from."""

    name: str
    tables: tuple[RawTable, ...]
    files: tuple[Path, ...]
    digest: str
    synthetic: bool = False
    revision: str | None = None
