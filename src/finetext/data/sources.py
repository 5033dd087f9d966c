"""Finding the tables of a source: a file, a folder, a Hub dataset, or a built-in name."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl

from finetext.data.builtin import load_sample, load_sms_spam
from finetext.data.config import DataConfig, SplitName
from finetext.data.hub import load_hub
from finetext.data.readers.batches import RawTable
from finetext.data.readers.sniff import FORMATS
from finetext.data.readers.table import read_table
from finetext.data.tables import Loaded, Part
from finetext.errors import DataError, UsageError, closest

BUILTIN = {"sample": load_sample, "sms-spam": load_sms_spam}
SPLIT_NAMES: dict[str, SplitName] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "development": "validation",
    "test": "test",
    "testing": "test",
}


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
    if config.split_column and (added or len(loaded.parts) > 1):
        raise UsageError(
            "--split-column cannot be used with separate validation or test files. Choose one of them."
        )
    if not added:
        return loaded
    parts = {part.split or "train": part for part in loaded.parts}
    parts["train"] = replace(parts["train"], split="train")
    files, digest = list(loaded.files), loaded.digest
    for split, name in added.items():
        extra = _load_one(name, config)
        if len(extra.parts) > 1:
            raise UsageError(f"--{split}-data {name}: name one file; this has {len(extra.parts)} splits.")
        parts[split] = Part(split, extra.parts[0].table)
        files += extra.files
        digest = hashlib.sha256((digest + extra.digest).encode()).hexdigest()
    return replace(loaded, parts=tuple(parts.values()), files=tuple(files), digest=digest)


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
    return Loaded(source, (Part(None, read_table(path, config)),), (path,), _digest([path]))


def _digest(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()


def _load_folder(source: str, folder: Path, config: DataConfig) -> Loaded:
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    candidates: dict[SplitName, list[Path]] = {"train": [], "validation": [], "test": []}
    for path in files:
        stem = path.name.lower().removesuffix(".gz").split(".")[0]
        known_format = Path(path.name.lower().removesuffix(".gz")).suffix in (*FORMATS, ".txt", "")
        if stem in SPLIT_NAMES and known_format:
            candidates[SPLIT_NAMES[stem]].append(path)
    for split, paths in candidates.items():
        if len(paths) > 1:
            names = ", ".join(path.name for path in paths)
            raise DataError(
                f"{source}: {len(paths)} files could be the {split} split: {names}. Keep one of them."
            )
    if not candidates["train"]:
        names = ", ".join(path.name for path in files[:8]) or "none"
        raise DataError(
            f"{source}: the folder has no train file (train.csv, train.jsonl, …); its files: {names}."
        )
    chosen = [(split, paths[0]) for split, paths in candidates.items() if paths]
    parts = tuple(Part(split, read_table(path, config)) for split, path in chosen)
    if len(parts) == 1:
        parts = (replace(parts[0], split=None),)
    read = tuple(path for _, path in chosen)
    return Loaded(source, parts, read, _digest(read))


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
    names: list[SplitName] = []
    for row, cell in zip(table.rows, cells, strict=True):
        split = splits[cell]
        if split is None:
            raise DataError(
                f"{table.name}:{row}: column {series.name!r} holds {cell!r}, which is not a split; "
                "use train, validation and test."
            )
        names.append(split)
    if "train" not in names:
        raise DataError(f"{table.name}: no row of column {series.name!r} says train.")
    return names
