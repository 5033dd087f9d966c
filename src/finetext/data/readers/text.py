"""One text a line; blank lines are empty texts."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from finetext.data.readers.batches import Cells, NumberedBatch, RowBatch, Rows
from finetext.data.readers.decode import Content, whole_lines


def open_text(content: Content) -> Rows:
    """Get ready to read a file of one text a line as the column `text`."""
    line_ends = returned = height = 0
    for chunk in whole_lines(content.known()):
        line_ends += chunk.count(b"\n")
        returned += chunk.count(b"\r\n")
        height += chunk.count(b"\n") + (not chunk.endswith(b"\n"))

    def read(cells: Cells, column: str | None) -> Iterator[NumberedBatch]:
        before = 0
        for chunk in whole_lines(content.chunks()):
            lines = chunk.decode().removesuffix("\n").split("\n")
            if line_ends == returned:
                lines = [line.removesuffix("\r") for line in lines]
            numbers = np.arange(before + 1, before + len(lines) + 1)
            yield RowBatch(pl.DataFrame({"text": lines}, schema={"text": pl.String})), numbers
            before += len(lines)

    sample = pl.DataFrame(schema={"text": pl.String})
    return Rows(
        content.name, "one-column", sample, None if content.open_ended else height, read, headerless=True
    )
