"""Reading in batches gives the same rows and errors for any chunk size."""

import contextlib
import csv
import gzip
import io
import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from finetext.data import DataConfig, open_rows
from finetext.data.columns import find_text_column
from finetext.data.readers import csv as csv_reader
from finetext.data.readers import decode, parquet
from finetext.data.readers.table import read_table
from finetext.errors import DataError, FinetextError, UsageError

characters = st.one_of(
    st.sampled_from(list("ab \"',;\t\n\r|\\#\u2028\x85\x0b\ufeff é😀")),
    st.characters(codec="utf-8", exclude_characters="\0"),
)
cells = st.text(characters, max_size=12)
HEADER = b"text,label\n"


@contextlib.contextmanager
def chunks_of(size):
    """Read `size` bytes at a time, so that chunk borders fall everywhere."""
    before = decode.CHUNK_BYTES
    decode.CHUNK_BYTES = size
    try:
        yield
    finally:
        decode.CHUNK_BYTES = before


def whole(content: bytes, config: DataConfig, name: str) -> object:
    """Return the rows of reading the file at once, or the error."""
    try:
        table = read_table(content, config, name)
        column = find_text_column(table.frame, config, name, table.headerless)
    except FinetextError as error:
        return str(error)
    return table.frame.columns, column, table.frame.rows()


def in_batches(content: bytes, config: DataConfig, path: Path, size: int) -> object:
    """Return the rows of reading `size` bytes at a time, or the error."""
    path.write_bytes(content)
    with chunks_of(size):
        try:
            file = open_rows(path, config)
            frame = pl.concat([batch.frame for batch in file.batches()])
        except FinetextError as error:
            return str(error)
    assert file.height == frame.height
    return list(file.columns), file.text_column, frame.rows()


def written(table, **dialect) -> bytes:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, **dialect).writerows(table)
    return buffer.getvalue().encode()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("rows") / "data.csv"


@settings(max_examples=400)
@given(
    rows=st.integers(2, 4).flatmap(
        lambda width: st.lists(st.lists(cells, min_size=width, max_size=width), min_size=1, max_size=12)
    ),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    end=st.sampled_from(["\r\n", "\n"]),
    size=st.integers(32, 96),
)
@example(rows=[["a\n" * 4, "é😀" * 5], ["", ""]], quoting=csv.QUOTE_MINIMAL, end="\n", size=33)
@example(rows=[["a\r\nb", '"'], ["c", '""']] * 4, quoting=csv.QUOTE_ALL, end="\r\n", size=32)
def test_csv_round_trip_is_lossless_for_any_chunk_size(place, rows, quoting, end, size):
    header = ["text", "label", "third", "fourth"][: len(rows[0])]
    if end == "\n":  # some Python versions leave a lone CR unquoted here, where a final one ends the line
        assume(not all(row[-1].endswith("\r") for row in rows))
    content = written([header, *rows], quoting=quoting, lineterminator=end)
    config = DataConfig(format="csv", quoting="csv", text_column="text")
    result = in_batches(content, config, place, size)
    assert result == (header, "text", [tuple(row) for row in rows])


@settings(max_examples=400)
@given(
    lines=st.lists(
        st.text(st.sampled_from(list('ab",\t\r é😀')), max_size=14).map(str.encode), min_size=1, max_size=14
    ),
    end=st.sampled_from([b"\n", b"\r\n", b"\r"]),
    last=st.booleans(),
    quoting=st.sampled_from(["csv", "none"]),
    size=st.integers(16, 64),
)
@example(lines=[b'"a', b"b,c", b'd",e'], end=b"\n", last=True, quoting="csv", size=16)
@example(lines=[b'5" nail,a', b'"x, y",b', b"", b'"z,a'], end=b"\r\n", last=False, quoting="csv", size=20)
def test_chunk_size_changes_neither_rows_nor_errors(place, lines, end, last, quoting, size):
    content = end.join([b"text,label", *lines]) + (end if last else b"")
    config = DataConfig(format="csv", quoting=quoting, text_column="text")
    # The sniffed head contains the whole first line, as 4 MiB do; with a lone CR as line end, that is the whole file.
    size = max(size, len(content)) if end == b"\r" else size
    assert in_batches(content, config, place, size) == whole(content, config, str(place))


@settings(max_examples=300)
@given(
    rows=st.lists(st.tuples(cells.filter(lambda c: "\n" not in c), st.sampled_from(["ham", "spam"]))),
    size=st.integers(16, 64),
)
def test_quoting_is_detected_for_any_chunk_size(place, rows, size):
    content = written([("text", "label"), *rows], lineterminator="\n")
    config = DataConfig()
    assert in_batches(content, config, place, size) == whole(content, config, str(place))


def test_two_unpaired_quotes_that_look_like_one_long_field_are_refused_before_the_first_row(tmp_path):
    rows = b"x,ham\ny,spam\n" * 4
    content = HEADER + rows * 40 + rows + b'"unpaired,ham\nplain,spam\nended",ham\n' + rows * 40
    path = tmp_path / "data.csv"
    path.write_bytes(content)
    with chunks_of(128), pytest.raises(DataError, match="row 330: a quoted text of 3 lines, or 3 rows"):
        open_rows(path, DataConfig())


def test_all_uneven_rows_are_counted_and_the_first_is_named(tmp_path):
    path = tmp_path / "data.csv"
    path.write_bytes(HEADER + b"a,b\n" * 200 + b"a\n" + b"a,b\n" * 200 + b"a,b,c\n")
    with chunks_of(64), pytest.raises(DataError, match=r"row 202 has 1 field .* 2 \(2 such rows\)"):
        open_rows(path, DataConfig())


def test_invalid_utf8_is_reported_with_its_line(tmp_path):
    path = tmp_path / "data.csv"
    path.write_bytes(HEADER + "é,b\n".encode() * 200 + b"\xe9,b\n")
    with chunks_of(64), pytest.raises(DataError, match=r"data.csv:202: byte 0xe9 is not utf-8"):
        open_rows(path, DataConfig())
    with chunks_of(64):
        frame = pl.concat(
            [batch.frame for batch in open_rows(path, DataConfig(encoding="latin-1")).batches()]
        )
    assert frame["text"][-1] == "é"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "cp1252"])
def test_every_encoding_is_read_in_batches(tmp_path, encoding):
    table = [("text", "label"), *((f"café {n}", "x") for n in range(50))]
    content = written(table).decode().encode(encoding)
    config = DataConfig(encoding=encoding if encoding == "cp1252" else "utf-8")
    assert in_batches(content, config, tmp_path / "data.csv", 50) == (["text", "label"], "text", table[1:])


@pytest.mark.parametrize("members", [1, 3])
def test_gzip_is_read_in_batches(tmp_path, members):
    parts = [HEADER, b"one,a\n" * 30, '"two\n😀",b\n'.encode() * 30]
    zipped = b"".join(map(gzip.compress, parts)) if members == 3 else gzip.compress(b"".join(parts))
    result = in_batches(zipped, DataConfig(), tmp_path / "data.csv.gz", 40)
    assert result == (["text", "label"], "text", [("one", "a")] * 30 + [("two\n😀", "b")] * 30)
    assert "damaged or cut off" in in_batches(zipped[:-9], DataConfig(), tmp_path / "data.csv.gz", 40)


def test_old_mac_lines_are_read_in_batches(tmp_path):
    content = b"\r".join([b"text,label", *[b"some words,a"] * 40])
    assert in_batches(content, DataConfig(), tmp_path / "data.csv", 64)[2] == [("some words", "a")] * 40


@pytest.mark.parametrize("last", [b"", b"\n"])
def test_a_file_of_one_text_per_line_keeps_its_blank_lines(tmp_path, last):
    content = b"\n".join([b"win cash now", b"", b"tea, at four"] * 20) + last
    path = tmp_path / "texts.txt"
    assert in_batches(content, DataConfig(), path, 64) == whole(content, DataConfig(), str(path))


def test_a_last_line_that_ends_in_a_zero_byte_counts(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_bytes(b"one\ntwo\0")
    rows = open_rows(path, DataConfig())
    assert rows.height == sum(batch.frame.height for batch in rows.batches()) == 2


def test_a_file_without_header_is_read_in_batches(tmp_path):
    content = b"".join(b"%s\ttext %d\n" % (b"spam" if n % 3 else b"ham", n) for n in range(60))
    path = tmp_path / "messages"
    result = in_batches(content, DataConfig(), path, 64)
    assert result == whole(content, DataConfig(), str(path))
    assert result[1] == "column 2"


# Streams ------------------------------------------------------------------------------------------


class Pipe(io.RawIOBase):
    """A stream that can be read once and records how far it was read."""

    def __init__(self, content: bytes) -> None:
        self.left = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        return self.left.readinto(buffer)


@settings(max_examples=300)
@given(
    rows=st.lists(st.tuples(cells, cells), min_size=1, max_size=12),
    end=st.sampled_from(["\r\n", "\n"]),
    size=st.integers(16, 64),
)
@example(rows=[("plain", "b"), ("plain", "b"), ("one\ntwo", '"')], end="\n", size=16)
@example(rows=[("plain", "b"), ("plain", "b"), ('5" x,', "b\n")], end="\r\n", size=16)
def test_a_stream_yields_the_rows_that_were_written(rows, end, size):
    if end == "\n":
        assume(not all(row[-1].endswith("\r") for row in rows))
    content = written([("text", "label"), *rows], lineterminator=end)
    with chunks_of(size):
        file = open_rows(io.BufferedReader(Pipe(content)), DataConfig(format="csv", quoting="csv"))
        frame = pl.concat([batch.frame for batch in file.batches()])
    assert frame.rows() == rows


def test_a_stream_is_read_before_it_ends():
    pipe = Pipe(HEADER + b"some words,a\n" * 1000)
    with chunks_of(256):
        batches = open_rows(pipe, DataConfig()).batches()
        next(batches)
        assert pipe.left.tell() < 1024


def test_a_bad_row_of_a_stream_is_reported_when_it_is_reached():
    stream = io.BytesIO(HEADER + b"some words,a\n" * 40 + b"three,fields,here\n")
    with chunks_of(64):
        file = open_rows(stream, DataConfig())
        assert file.height is None and file.digest is None
        with pytest.raises(DataError, match="row 42 has 3 fields where the first row has 2"):
            list(file.batches())


# JSON Lines and Parquet ---------------------------------------------------------------------------

json_values = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), cells, st.lists(cells, max_size=2)
)


@settings(max_examples=200)
@given(records=st.lists(st.dictionaries(st.sampled_from("abcd"), json_values), min_size=1, max_size=10))
def test_json_lines_are_preserved(place, records):
    lines = [json.dumps({"text": "x", **record}).encode() for record in records]
    path = place.with_suffix(".jsonl")
    path.write_bytes(b"\n".join(lines))
    with chunks_of(64):
        file = open_rows(path, DataConfig())
        batches = list(file.batches("written"))
        typed = pl.concat([batch.frame for batch in file.batches()])
    assert [line for batch in batches for line in batch.lines] == lines
    assert set(file.columns) == {"text", *(key for record in records for key in record)}
    for key in file.columns:
        values = [{"text": "x", **record}.get(key) for record in records]
        if all(type(value) is str for value in values if value is not None):
            assert typed[key].to_list() == values


def test_json_numbers_keep_their_spelling(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_text('{"text": "a", "n": 1.50, "m": 1e3, "k": 12345678901234567890, "l": [1.50], "b": true}\n')
    (batch,) = open_rows(path, DataConfig()).batches("written")
    assert batch.frame.row(0) == ("a", "1.50", "1e3", "12345678901234567890", "[1.5]", "true")
    (batch,) = open_rows(path, DataConfig()).batches("lines")
    assert batch.frame.columns == ["text"] and batch.lines == [path.read_bytes().strip()]
    (batch,) = open_rows(path, DataConfig()).batches()
    assert batch.frame.row(0) == ("a", 1.5, 1000.0, "12345678901234567890", "[1.5]", True)


def test_a_broken_line_of_json_is_named_before_the_first_row(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_text('{"text": "a"}\n\n' * 50 + '{"text": \n')
    with chunks_of(64), pytest.raises(DataError, match=r"data.jsonl:101: not valid JSON"):
        open_rows(path, DataConfig())


def test_training_and_prediction_read_the_same_texts_from_json(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_text('{"text": "\\ud800 and 😀", "n": 12345678901234567890}\n{"text": null, "n": 1}\n')
    (batch,) = open_rows(path, DataConfig()).batches()
    assert read_table(path, DataConfig()).frame.rows() == batch.frame.rows()
    assert batch.frame.rows() == [("? and 😀", "12345678901234567890"), (None, "1")]


def test_a_new_key_late_in_a_stream_is_refused():
    stream = io.BytesIO(b'{"text": "a"}\n' * 20 + b'{"text": "a", "predicted": "x"}\n')
    with (
        chunks_of(64),
        pytest.raises(DataError, match=r":21: unexpected key 'predicted': it was not in the first rows"),
    ):
        list(open_rows(stream, DataConfig()).batches("written"))


def test_a_json_array_is_read(tmp_path):
    path = tmp_path / "data.json"
    path.write_text(json.dumps([{"text": f"t{n}", "n": n} for n in range(30)]))
    with chunks_of(64):
        file = open_rows(path, DataConfig())
        frame = pl.concat([batch.frame for batch in file.batches()])
    assert frame.rows() == [(f"t{n}", n) for n in range(30)] and file.height == 30


@pytest.mark.parametrize("how", ["path", "gzip", "stream"])
def test_parquet_is_read_in_slices(tmp_path, monkeypatch, how):
    monkeypatch.setattr(parquet, "SLICE_ROWS", 16)
    frame = pl.DataFrame({"text": [f"t{n}" for n in range(50)], "n": range(50), "l": [["a", "b"]] * 50})
    path = tmp_path / "data.parquet"
    frame.write_parquet(path, row_group_size=20)
    source = path
    if how == "gzip":
        source = tmp_path / "data.parquet.gz"
        source.write_bytes(gzip.compress(path.read_bytes()))
    elif how == "stream":
        source = io.BytesIO(path.read_bytes())
    file = open_rows(source, DataConfig())
    batches = [batch.frame for batch in file.batches()]
    assert len(batches) == 4 and pl.concat(batches).equals(frame)


def test_unreadable_files_are_refused(tmp_path):
    for name, content, fragment in (
        ("empty.csv", b"\n\n", "the file is empty"),
        ("data.parquet", b"PAR1nonsense", "not a readable Parquet file"),
        ("data.xlsx", b"PK\x03\x04", "zip or spreadsheet"),
        ("data.csv", b"id,label\n1,2\n", "no text column"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=fragment):
            open_rows(tmp_path / name, DataConfig())
    with pytest.raises(DataError, match="no such file"):
        open_rows(tmp_path / "nowhere.csv", DataConfig())
    with pytest.raises(UsageError, match="no such encoding"):
        open_rows(tmp_path / "data.csv", DataConfig(encoding="utf-9"))


def test_a_quote_left_open_beyond_the_longest_row_is_a_plain_character(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_reader, "MAX_ROW_BYTES", 256)
    content = HEADER + b'"unpaired,a\n' + b"some words,b\n" * 100 + b'ends",a\n'
    result = in_batches(content, DataConfig(quoting="csv"), tmp_path / "data.csv", 64)
    assert result[2] == [('"unpaired', "a"), *[("some words", "b")] * 100, ('ends"', "a")]
