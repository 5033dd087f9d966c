"""`finetext predict`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from finetext.data.config import DataConfig
from finetext.options import Parameter

if TYPE_CHECKING:
    import polars as pl


def predict(
    model: Path,
    /,
    *texts: str,
    file: Annotated[str | None, Parameter(name=("--file", "-f"), allow_leading_hyphen=True)] = None,
    output: Annotated[Path | None, Parameter(name=("--output", "-o"))] = None,
    overwrite: bool = False,
    format: Literal["auto", "table", "csv", "tsv", "json", "jsonl", "parquet"] = "auto",
    text_column: str | None = None,
    encoding: str = "utf-8",
    all_scores: bool = False,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    precision: Literal["auto", "fp32", "bf16", "fp16", "tf32"] = "fp32",
) -> None:
    """Label texts: those named, those of a file, or those on stdin.

    Args:
        model: A run folder, a saved model, or any Hugging Face folder with a sequence classifier.
        texts: Texts to label.
        file: A CSV, TSV, JSON Lines, Parquet or plain text file (also gzipped); - is stdin.
        output: Write there instead of to stdout; the format follows from the name.
        overwrite: Replace an output file that is there.
        format: How stdout is written; auto is a table in a terminal, else CSV.
        text_column: Name of the column with the texts; found by its name if not given.
        encoding: Character encoding of the file.
        all_scores: Give the probability of every class.
        device: Where the model runs.
        precision: Arithmetic.
    """
    from finetext.cli.console import progress_bar, prose
    from finetext.errors import UsageError
    from finetext.inference import load, predict_table, refuse_existing, table_format, write_table

    if texts and file is not None:
        raise UsageError("give texts or --file, not both.")
    if output is not None:
        if file is not None and file != "-" and output.exists() and output.samefile(file):
            raise UsageError(f"{output}: is the input itself. Choose another --output.")
        refuse_existing(output, overwrite)
        table_format(output)
    frame, column = _read(texts, file, text_column, encoding)
    classifier = load(model, device=device, precision=precision)
    with progress_bar("labelling", frame.height) as advance:
        labelled, empty, abstained = predict_table(
            classifier, frame, column, all_scores=all_scores, progress=advance
        )
    if output is not None:
        write_table(labelled, output, overwrite=overwrite)
        prose().print(f"{labelled.height:,} rows written to {output}", markup=False)
    else:
        _show(labelled, format)
    if empty:
        prose().print(f"note: {empty:,} rows have no text; their prediction is empty.", markup=False)
    if abstained:
        prose().print(
            f"note: the classifier abstains on {abstained:,} rows (--abstain-below); their prediction is empty.",
            markup=False,
        )


def _read(
    texts: tuple[str, ...], file: str | None, text_column: str | None, encoding: str
) -> tuple["pl.DataFrame", str]:
    import polars as pl

    from finetext.data import read_text_table
    from finetext.errors import UsageError

    if texts:
        return pl.DataFrame({"text": list(texts)}), "text"
    config = DataConfig(text_column=text_column, encoding=encoding)
    if file is None and sys.stdin.isatty():
        raise UsageError("nothing to label: give a text, --file FILE, or texts on stdin.")
    if file is None or file == "-":
        return read_text_table(sys.stdin.buffer, config, "stdin")
    return read_text_table(Path(file), config)


def _show(frame: "pl.DataFrame", format: str) -> None:
    from finetext.inference import table_bytes

    if format == "auto":
        format = "table" if sys.stdout.isatty() else "csv"
    if format == "table":
        _show_table(frame)
    elif format == "json":
        _show_json(frame.to_dicts())
    else:
        sys.stdout.buffer.write(table_bytes(frame, format))  # type: ignore[arg-type]
        sys.stdout.buffer.flush()


def _show_json(rows: list[dict[str, Any]]) -> None:
    import json

    json.dump(rows, sys.stdout, ensure_ascii=False, indent=2)
    sys.stdout.write("\n")


def _show_table(frame: "pl.DataFrame") -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from finetext.cli.console import data

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in frame.columns:
        table.add_column(Text(name))
    for row in frame.iter_rows():
        table.add_row(
            *(
                Text("" if cell is None else f"{cell:.4f}" if isinstance(cell, float) else str(cell))
                for cell in row
            )
        )
    data().print(table)
