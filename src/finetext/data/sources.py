"""Finding the tables of a source: a file, a folder, a Hub dataset, or a built-in name."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl

from finetext.data.builtin import load_sample, load_sms_spam
from finetext.data.config import DataConfig, SplitName
from finetext.data.dataset import Source
from finetext.data.hub import load_hub
from finetext.data.readers.batches import Loaded, RawTable
from finetext.data.readers.sniff import FORMATS
from finetext.data.readers.table import read_table
from finetext.errors import DataError, UsageError, closest

BUILTIN = {"sample": load_sample, "sms-spam": load_sms_spam}
_SPELLINGS: dict[SplitName, str] = {
    "train": "train training",
    "validation": "validation valid val dev development",
    "test": "test testing",
}
SPLIT_NAMES = {spelling: split for split, names in _SPELLINGS.items() for spelling in names.split()}


def load(source: str, config: DataConfig) -> Loaded:
    """Read all tables of a source, those of `--validation-data` and `--test-data` included.

    Raises:
        DataError: There is no such source, or one of its files cannot be read.
        DownloadError: A built-in or Hub dataset could not be fetched.
        UsageError: Options that do not fit together.
    """
    loaded = _load_one(source, config)
    options: dict[SplitName, str | None] = {"validation": config.validation_data, "test": config.test_data}
    added = {split: path for split, path in options.items() if path}
    if config.split_column and (added or len(loaded.tables) > 1):
        raise UsageError(
            "--split-column cannot be used with separate validation or test files. Choose one of them."
        )
    if not added:
        return loaded
    tables = {table.split: table for table in loaded.tables}
    files, digest = loaded.source.files, loaded.source.digest
    for split, name in added.items():
        extra = _load_one(name, config)
        if len(extra.tables) > 1:
            raise UsageError(f"--{split}-data {name}: name one file; this has {len(extra.tables)} splits.")
        tables[split] = replace(extra.tables[0], split=split)
        files += extra.source.files
        digest = hashlib.sha256((digest + extra.source.digest).encode()).hexdigest()
    return Loaded(replace(loaded.source, files=files, digest=digest), tuple(tables.values()))


def _load_one(source: str, config: DataConfig) -> Loaded:
    if source.startswith("hf:"):
        return load_hub(source, SPLIT_NAMES)
    if source in BUILTIN:
        return BUILTIN[source]()
    try:
        path = Path(source).expanduser()
        is_folder, exists, is_file = path.is_dir(), path.exists(), path.is_file()
    except (OSError, RuntimeError, ValueError) as error:  # a name too long, no such user, a zero byte
        raise DataError(f"{source[:80]}: no such file or folder: {error}.") from error
    if is_folder:
        return _load_folder(source, path, config)
    if not exists:
        raise _no_source(source, path)
    if not is_file:
        raise DataError(f"{source}: neither a file nor a folder.")
    return Loaded(Source(source, (path,), _digest([path])), (read_table(path, config),))


def _digest(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()


def _load_folder(source: str, folder: Path, config: DataConfig) -> Loaded:
    present = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    candidates: dict[SplitName, list[Path]] = {"train": [], "validation": [], "test": []}
    for path in present:
        name = Path(path.name.lower().removesuffix(".gz"))
        stem = name.name.split(".")[0]
        if stem in SPLIT_NAMES and name.suffix in (*FORMATS, ".txt", ""):
            candidates[SPLIT_NAMES[stem]].append(path)
    for split, paths in candidates.items():
        if len(paths) > 1:
            names = ", ".join(path.name for path in paths)
            raise DataError(
                f"{source}: {len(paths)} files could be the {split} split: {names}. Keep one of them."
            )
    if not candidates["train"]:
        names = ", ".join(path.name for path in present[:8]) or "none"
        raise DataError(
            f"{source}: the folder has no train file (train.csv, train.jsonl, …); its files: {names}."
        )
    chosen = {split: paths[0] for split, paths in candidates.items() if paths}
    tables = tuple(replace(read_table(path, config), split=split) for split, path in chosen.items())
    files = tuple(chosen.values())
    return Loaded(Source(source, files, _digest(files)), tables)


def _no_source(source: str, path: Path) -> DataError:
    neighbours = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    hint = closest(path.name, [*neighbours, *BUILTIN])
    if not hint and source.count("/") == 1 and not source.startswith((".", "/", "~")) and not path.suffix:
        hint = f" For a Hub dataset write hf:{source}."
    return DataError(f"{source}: no such file, folder or built-in dataset ({', '.join(BUILTIN)}).{hint}")


def parse_splits(series: pl.Series, table: RawTable) -> list[SplitName]:
    """Return the split that each cell of a split column names.

    Raises:
        DataError: A cell names none, or no row is for training.
    """
    cells = series.cast(pl.String).to_list()
    splits = {cell: SPLIT_NAMES.get((cell or "").strip().lower()) for cell in set(cells)}
    names = [split for cell in cells if (split := splits[cell]) is not None]
    if len(names) < len(cells):
        row, cell = next((row, cell) for row, cell in zip(table.rows, cells, strict=True) if not splits[cell])
        raise DataError(
            f"{table.name}:{row}: column {series.name!r} holds {cell!r}, which is not a split; "
            "use train, validation and test."
        )
    if "train" not in names:
        raise DataError(f"{table.name}: no row of column {series.name!r} says train.")
    return names
