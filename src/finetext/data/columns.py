"""Finding the columns that hold the texts, the labels and the splits."""

import re
from collections.abc import Collection, Sequence

import polars as pl

from finetext.data.config import DataConfig
from finetext.errors import DataError, UsageError, closest

TEXT_NAMES = frozenset(
    "text texts message messages msg body sentence sentences review reviews content comment comments tweet "
    "post sms email document utterance question description headline input review_text full_text".split()
)
LABEL_NAMES = frozenset(
    "label labels class classes category categories target targets tag tags sentiment intent emotion "
    "emotions topic y".split()
)


def _normal(name: str) -> str:
    return re.sub(r"[\s\-]+", "_", name.strip().strip('"').lower())


def is_header(cells: Sequence[str], partly: bool = False) -> bool:
    """Return whether a first line holds column names: of a text and a label or, if `partly`, of a text."""
    names = {_normal(cell) for cell in cells}
    texts, labels = bool(names & TEXT_NAMES), bool(names & LABEL_NAMES)
    return texts and (partly or labels or len(cells) == 1)


def label_position(frame: pl.DataFrame) -> int:
    """Return which of two nameless columns holds the labels: the one with fewer distinct values."""
    first, second = (frame.to_series(position).n_unique() for position in (0, 1))
    return 0 if first <= second else 1


def find_text_column(frame: pl.DataFrame, config: DataConfig, name: str, headerless: bool = False) -> str:
    """Return the name of the column with the texts.

    Raises:
        DataError: No column, or more than one, could be it.
    """
    if config.text_column is not None:
        return choose_column(frame, config.text_column, "text", name)
    if headerless:
        return frame.columns[0] if frame.width == 1 else frame.columns[1 - label_position(frame)]
    return _only(frame, TEXT_NAMES, "text", name, taken=config.label_column)


def _find_label_column(frame: pl.DataFrame, config: DataConfig, name: str, headerless: bool) -> str:
    if config.label_column is not None:
        return choose_column(frame, config.label_column, "label", name)
    if not headerless:
        return _only(frame, LABEL_NAMES, "label", name, taken=config.text_column)
    if frame.width == 1:
        raise DataError(f"{name}: one column only, where a text and its label are needed.")
    if config.text_column is not None:
        text = choose_column(frame, config.text_column, "text", name)
        return next(column for column in frame.columns if column != text)
    return frame.columns[label_position(frame)]


def find_columns(
    frame: pl.DataFrame, config: DataConfig, name: str, headerless: bool = False
) -> tuple[str, str]:
    """Return the names of the columns with the texts and with the labels.

    Raises:
        DataError: Either is missing or ambiguous; both problems are told together.
        UsageError: Both are the same column.
    """
    chosen, problems = [], []
    for find in (find_text_column, _find_label_column):
        try:
            chosen.append(find(frame, config, name, headerless))
        except DataError as error:
            problems.append(str(error))
    if len(problems) == 2 and config.text_column is None and config.label_column is None and not headerless:
        raise _unfound(frame, name)
    if problems:
        raise DataError("\n".join(problems))
    text, label = chosen
    if text == label:
        raise UsageError(f"--text-column and --label-column are both {text!r}. Name two different columns.")
    return text, label


def list_columns(names: Collection[str]) -> str:
    """Return the names for a message, the first 20 of them."""
    shown = ", ".join(repr(name[:40]) for name in list(names)[:20])
    return f"{shown} and {len(names) - 20} more" if len(names) > 20 else shown


def choose_column(frame: pl.DataFrame, chosen: str, kind: str, name: str) -> str:
    """Return the name of the column that the user chose, whose case and blanks may differ from the file's."""
    if chosen in frame.columns:
        return chosen
    same = [column for column in frame.columns if _normal(column) == _normal(chosen)]
    if len(same) == 1:
        return same[0]
    raise DataError(
        f"{name}: no column {chosen!r} (--{kind}-column); its columns are {list_columns(frame.columns)}."
        f"{closest(chosen, frame.columns)}"
    )


def _only(frame: pl.DataFrame, known: frozenset[str], kind: str, name: str, taken: str | None) -> str:
    columns = [column for column in frame.columns if taken is None or _normal(column) != _normal(taken)]
    candidates = [column for column in columns if _normal(column) in known]
    if len(candidates) == 1:
        return candidates[0]
    problem = f"no {kind} column found; its columns are {list_columns(frame.columns)}. Name it"
    if candidates:
        problem = f"{len(candidates)} columns could be the {kind}: {list_columns(candidates)}. Choose"
    raise DataError(f"{name}: {problem} with --{kind}-column.")


def _unfound(frame: pl.DataFrame, name: str) -> DataError:
    texts, labels = (
        list_columns([column for column in frame.columns if _normal(column) in names])
        for names in (TEXT_NAMES, LABEL_NAMES)
    )
    what = "no text and no label column found"
    if texts or labels:
        what = f"several could be text ({texts or 'none'}) or label ({labels or 'none'})"
    return DataError(
        f"{name}: {what}; its columns are {list_columns(frame.columns)}. Name them with --text-column and "
        "--label-column; if the first line is an example and no header, add a line of column names."
    )
