"""Reading is lossless: every row and character of a file is read."""

import csv
import gzip
import io
import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from finetext.data import DataConfig, open_rows, read
from finetext.data.columns import is_header
from finetext.data.readers.table import read_table
from finetext.errors import DataError, UsageError

AUTO = DataConfig()
SMS = Path(__file__).parents[3] / "shared/data/sms_spam/SMSSpamCollection"
with_sms = pytest.mark.skipif(not SMS.exists(), reason="../shared/data/sms_spam is not here")

characters = st.one_of(
    st.sampled_from(list("ab \"',;\t\n\r|\\#\0\u2028\u2029\x85\x0b\x0c\x1c\x1d\ufeff é😀")),
    st.characters(codec="utf-8"),
)
cells = st.text(characters, max_size=12)
lines = st.text(characters.filter(lambda c: c not in "\t\n\r"), max_size=12)


def table_of(content: bytes, config: DataConfig = AUTO, name: str = "data.csv") -> list[tuple]:
    return read_table(content, config, name).frame.rows()


def written(rows: list[list[str]], **dialect) -> bytes:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, **dialect).writerows(rows)
    return buffer.getvalue().encode()


# CSV ----------------------------------------------------------------------------------------------


@settings(max_examples=400)
@given(
    rows=st.integers(2, 4).flatmap(
        lambda width: st.lists(st.tuples(*[cells] * width), min_size=1, max_size=8)
    ),
    delimiter=st.sampled_from(",\t"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    lineterminator=st.sampled_from(["\r\n", "\n"]),
)
@example(rows=[("a\r", "\r")], delimiter=",", quoting=csv.QUOTE_MINIMAL, lineterminator="\r\n")
@example(rows=[("a\n\nb", ""), ("", "")], delimiter=",", quoting=csv.QUOTE_MINIMAL, lineterminator="\n")
@example(rows=[("a\r\nb", '"'), ("c", '""')], delimiter=",", quoting=csv.QUOTE_ALL, lineterminator="\r\n")
def test_csv_round_trip_is_lossless(rows, delimiter, quoting, lineterminator):
    header = ["text", "label", "third", "fourth"][: len(rows[0])]
    if (
        lineterminator == "\n"
    ):  # some Python versions leave a lone CR unquoted here, where a final one ends the line
        assume(not all(row[-1].endswith("\r") for row in rows))
    content = written(
        [header, *map(list, rows)], delimiter=delimiter, quoting=quoting, lineterminator=lineterminator
    )
    config = DataConfig(format="csv" if delimiter == "," else "tsv", quoting="csv")
    table = read_table(content, config, "data")
    assert table.frame.columns == header
    assert table.frame.rows() == rows
    assert table.rows.tolist() == list(range(2, len(rows) + 2))


@settings(max_examples=300)
@given(rows=st.lists(st.tuples(cells, st.sampled_from(["ham", "spam"])), min_size=1, max_size=8))
def test_quoting_is_detected(rows):
    assume(
        not any(line.rstrip('"').endswith((",ham", ",spam")) for text, _ in rows for line in text.split("\n"))
    )
    assert table_of(written([["text", "label"], *map(list, rows)])) == rows


@settings(max_examples=200)
@given(rows=st.lists(cells, min_size=1, max_size=8))
def test_a_csv_of_one_column_keeps_its_empty_rows(rows):
    assert table_of(written([["text"], *[[row] for row in rows]]), DataConfig(quoting="csv")) == [
        (r,) for r in rows
    ]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", [True, False])
def test_all_line_ends_are_read(end, last):
    content = end.join(["text,label", 'say "hi" now,ham', '"a, b",spam', "c,ham"]) + (end if last else "")
    assert table_of(content.encode()) == [('say "hi" now', "ham"), ("a, b", "spam"), ("c", "ham")]


def test_quotes_in_the_middle_of_fields_are_plain_characters():
    assert table_of(b'text,label\n5" nail,a\nno quote,b\n6" nail,a\n') == [
        ('5" nail', "a"),
        ("no quote", "b"),
        ('6" nail', "a"),
    ]


def test_an_unpaired_quote_at_the_start_of_a_field_does_not_swallow_rows():
    content = b'text,label\n"unpaired,a\nplain,b\nmore,a\n'
    assert table_of(content) == [('"unpaired', "a"), ("plain", "b"), ("more", "a")]


def test_unpaired_and_enclosing_quotes_are_distinguished():
    content = b'text,label\n5" nail,a\n"one, two",b\n"""x"" y, z",a\n"a" b,a\n'
    assert table_of(content) == [('5" nail', "a"), ("one, two", "b"), ('"x" y, z', "a"), ('"a" b', "a")]


def test_a_text_of_several_lines_is_one_row():
    table = read_table(b'text,label\n"one\ntwo",a\n\nthree,b\n', AUTO, "data.csv")
    assert table.frame.rows() == [("one\ntwo", "a"), ("three", "b")]
    assert table.rows.tolist() == [2, 4]


@pytest.mark.parametrize("stray_quotes", ["", '5" nail,ham\n"a, b",ham\n'])
def test_two_unpaired_quotes_that_look_like_one_long_field_are_refused(stray_quotes):
    content = "text,label\nx,ham\ny,spam\n" + stray_quotes + '"unpaired,ham\nplain,spam\nended",ham\n'
    row = 4 + stray_quotes.count("\n")
    with pytest.raises(
        DataError, match=rf"row {row}: a quoted text of 3 lines, or 3 rows.*--quoting csv.*--quoting none"
    ):
        table_of(content.encode())
    assert len(table_of(content.encode(), DataConfig(quoting="csv"))) == 3 + stray_quotes.count("\n")
    if not stray_quotes:
        assert len(table_of(content.encode(), DataConfig(quoting="none"))) == 5


@pytest.mark.parametrize(
    ("content", "row", "fields"),
    [
        ("text,label\na,b\nc\nd,e\n", 3, "1 field "),
        ("text,label\na,b\n\nc,d,e\n", 4, "3 fields "),
        ('text,label\n"a, b",x\nc,"d, e",f\n', 3, "3 fields "),
        ('text,label\n"a" b, c,x\n"d, e",f\n', 2, "3 fields "),
        ("text,label\r\na,b\r\n,\r\nc,d,\r\n", 4, "3 fields "),
    ],
)
def test_a_row_with_more_or_fewer_fields_is_refused(content, row, fields):
    with pytest.raises(DataError, match=rf"data\.csv: row {row} has {fields}where the first row has 2"):
        table_of(content.encode())


def test_blank_lines_are_left_out_and_counted():
    table = read_table(b"\n\ntext,label\n\na,b\n   \nc,d\n\n\n", AUTO, "data.csv")
    assert table.frame.rows() == [("a", "b"), ("c", "d")]
    assert table.rows.tolist() == [5, 7]


def test_a_very_long_field_is_read():
    text = "word, " * 500_000
    assert table_of(written([["text", "label"], [text, "a"], ['5" x', "b"]])) == [(text, "a"), ('5" x', "b")]


def test_semicolons_in_the_header_make_them_the_separator():
    assert table_of(b"text;label\na, b;x\nc;y\n") == [("a, b", "x"), ("c", "y")]


def test_unnamed_and_repeated_columns_get_names():
    frame = read_table(b"text,label,,a,a\n1,2,3,4,5\n", AUTO, "data.csv").frame
    assert frame.columns == ["text", "label", "column 3", "a", "a (column 5)"]


# Two columns without a header ---------------------------------------------------------------------


@settings(max_examples=400)
@given(rows=st.lists(st.tuples(lines, lines), min_size=1, max_size=8), end=st.sampled_from(["\n", "\r\n"]))
def test_a_two_column_file_is_read_back(rows, end):
    assume(not rows[0][0].startswith("\ufeff"))
    content = "".join(f"{label}\t{text}{end}" for label, text in rows).encode()
    table = read_table(content, DataConfig(format="two-column"), "data")
    assert table.frame.rows() == rows
    assert table.headerless


@settings(max_examples=200)
@given(rows=st.lists(st.tuples(st.sampled_from(["ham", "spam"]), lines), min_size=1, max_size=8))
def test_a_two_column_file_is_recognised(rows):
    assume(not is_header([rows[0][1]]))  # the first text could look like a column name
    content = "\n".join(f"{label}\t{text}" for label, text in rows).encode()
    table = read_table(content, AUTO, "SMSSpamCollection")
    assert (table.format, table.frame.rows()) == ("two-column", rows)


def test_a_first_text_that_is_a_label_columns_name_is_no_header():
    assert table_of(b"ham\tY\nspam\tn\n", name="data") == [("ham", "Y"), ("spam", "n")]
    assert table_of(b"ham\ttext", name="data") == [("ham", "text")]


@pytest.mark.parametrize("name", ["data.tsv", "data.txt", "data"])
def test_the_header_of_a_two_column_file_is_recognised(name):
    table = read_table(b'label\ttext\nham\thi\nspam\t"win\n', AUTO, name)
    assert table.frame.columns == ["label", "text"]
    assert table.frame.rows() == [("ham", "hi"), ("spam", '"win')]
    assert table.rows.tolist() == [2, 3]


def test_a_tsv_whose_first_line_is_an_example_has_no_header():
    table = read_table(b"ham\tone\nspam\ttwo\nham\tthree\n", AUTO, "data.tsv")
    assert table.frame.rows() == [("ham", "one"), ("spam", "two"), ("ham", "three")]


def test_a_tsv_of_an_old_mac_without_header_is_recognised():
    table = read_table(b"ham\tone\rspam\ttwo\rham\tthree", AUTO, "data.tsv")
    assert table.frame.rows() == [("ham", "one"), ("spam", "two"), ("ham", "three")]


def test_a_tsv_with_unknown_column_names_keeps_its_header():
    table = read_table(b"v1\tv2\nham\tone\nspam\ttwo\nham\tthree\n", AUTO, "data.tsv")
    assert table.frame.columns == ["v1", "v2"]


@with_sms
def test_the_sms_collection_loses_no_message():
    dataset = read(SMS, AUTO)
    assert len(dataset) == 5574
    assert dataset.count_labels() == {"ham": 4827, "spam": 747}
    raw = SMS.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    assert [f"{label}\t{text}" for (label,), text in zip(dataset.labels, dataset.texts, strict=True)] == raw
    assert dataset.rows == list(range(1, 5575))


# Encodings and compression ------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_determines_the_encoding(encoding):
    assert table_of("text,label\ncafé,a\n".encode(encoding)) == [("café", "a")]


def test_another_encoding_can_be_named():
    content = "text,label\ncafé “x”,a\n".encode("cp1252")
    assert table_of(content, DataConfig(encoding="cp1252")) == [("café “x”", "a")]
    with pytest.raises(DataError, match=r"data\.csv:2: byte 0xe9 is not utf-8.*--encoding cp1252"):
        table_of(content)
    with pytest.raises(UsageError, match="no such encoding"):
        table_of(content, DataConfig(encoding="klingon"))


def contents() -> dict[str, bytes]:
    frame = pl.DataFrame({"text": ["one", 'two "2"', "three\t,"], "label": ["a", "b", "a"]})
    parquet = io.BytesIO()
    frame.write_parquet(parquet)
    return {
        "data.csv": frame.write_csv().encode(),
        "data.jsonl": frame.write_ndjson().encode(),
        "data.json": json.dumps(frame.to_dicts()).encode(),
        "data.parquet": parquet.getvalue(),
        "data.tsv": written([["text", "label"], *map(list, frame.rows())], delimiter="\t"),
    }


@pytest.mark.parametrize("name", contents())
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("extension", [False, True])
def test_every_format_is_read_gzipped_and_without_extension(tmp_path, name, compressed, extension):
    content = contents()[name]
    path = tmp_path / ((name if extension else "data") + (".gz" if compressed else ""))
    path.write_bytes(gzip.compress(content) if compressed else content)
    frame = read_table(path, AUTO).frame
    assert frame.select("text", "label").rows() == [("one", "a"), ('two "2"', "b"), ("three\t,", "a")]


def test_a_damaged_gzip_file_is_refused():
    content = gzip.compress(b"text,label\n" + b"a,b\n" * 1000)
    with pytest.raises(DataError, match="damaged or cut off"):
        table_of(content[: len(content) // 2])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("data.csv", b"", "the file is empty"),
        ("data.csv", b" \n\n", "the file is empty"),
        ("data.csv", b"\xef\xbb\xbf", "the file is empty"),
        ("data.parquet", b"PAR1 not really", "not a readable Parquet file"),
        ("data.parquet", b"text,label\na,b\n", "not a readable Parquet file"),
        ("data.xlsx", b"PK\x03\x04rest", "zip or spreadsheet"),
        ("data.jsonl", b'{"text": "a"}\n{"text": \n', r"data\.jsonl:2: not valid JSON"),
        ("data.jsonl", b'{"text": "a"}\n\n[1]\n', r"data\.jsonl:3: not a JSON object"),
        ("data.json", b'[{"text": "a"}, 1]', r"data\.json:2: not a JSON object"),
        ("data.json", b'[{"text": "a"}, ', "not valid JSON"),
    ],
)
def test_a_broken_file_is_refused(name, content, message):
    with pytest.raises(DataError, match=message):
        read_table(content, AUTO, name)


# JSON and Parquet ---------------------------------------------------------------------------------


@settings(max_examples=200)
@given(rows=st.lists(st.tuples(cells, st.sampled_from(["a", "b", "", None])), min_size=1, max_size=8))
def test_json_lines_are_read_back(rows):
    content = "\n".join(json.dumps({"text": text, "label": label}) for text, label in rows).encode()
    assert table_of(content, name="data.jsonl") == rows


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([1, 0, 1], [("1",), ("0",), ("1",)]),
        ([1.0, 0, 1], [("1",), ("0",), ("1",)]),
        ([0.5, 1, 0.5], [("0.5",), ("1.0",), ("0.5",)]),
        ([True, False, True], [("true",), ("false",), ("true",)]),
        ([1, "x", 1], [("1",), ("x",), ("1",)]),
        ([["x", "y"], ["x"], []], [("x", "y"), ("x",), ()]),
        ([["x", "y"], "z", []], [("x", "y"), ("z",), ()]),
        ([[1, 2], [2], [1]], [("1", "2"), ("2",), ("1",)]),
    ],
)
def test_labels_of_any_type_become_names(tmp_path, labels, expected):
    from finetext.data import examine

    lines = [json.dumps({"text": f"text {number}", "label": label}) for number, label in enumerate(labels)]
    (tmp_path / "data.jsonl").write_text("\n".join(lines))
    dataset = examine(tmp_path / "data.jsonl", AUTO)
    assert dataset.labels == expected
    assert (dataset.task == "multi-label") == any(isinstance(label, list) for label in labels)


def test_objects_are_refused_as_labels_and_texts(tmp_path):
    from finetext.data import examine

    path = tmp_path / "data.jsonl"
    for column, other in (("label", "text"), ("text", "label")):
        path.write_text(json.dumps({column: {"a": 1}, other: "x"}))
        with pytest.raises(DataError, match=rf"column '{column}' holds objects, not {column}s"):
            examine(path, AUTO)


def test_parquet_numbers_and_nulls_become_labels(tmp_path):
    from finetext.data import examine

    frame = pl.DataFrame(
        {"text": ["a", "b", None, "d", " "], "label": [1.0, float("nan"), 2.0, None, 10.0]}, strict=False
    )
    frame.write_parquet(tmp_path / "data.parquet")
    dataset = examine(tmp_path / "data.parquet", AUTO)
    assert (dataset.texts, dataset.labels) == (["a"], [("1",)])
    assert dataset.findings["missing-texts"].first_rows == (3, 5)
    assert dataset.findings["missing-labels"].first_rows == (2, 4)


# Tables to predict on -----------------------------------------------------------------------------


def rows_of(source) -> tuple[pl.DataFrame, str]:
    rows = open_rows(source, AUTO)
    return pl.concat([batch.frame for batch in rows.batches()]), rows.text_column


def test_a_table_for_prediction_keeps_all_columns_unchanged(tmp_path):
    (tmp_path / "in.csv").write_text("id,text,when\n007,hello,1e5\n,  ,\n")
    frame, column = rows_of(tmp_path / "in.csv")
    assert column == "text"
    assert frame.rows() == [("007", "hello", "1e5"), ("", "  ", "")]


def test_a_file_of_one_text_per_line_has_one_column():
    frame, column = rows_of(io.BytesIO(b'hello, you\n\n"quoted\nlast'))
    assert (column, frame[column].to_list()) == ("text", ["hello, you", "", '"quoted', "last"])


def test_typed_columns_stay_typed():
    frame, _ = rows_of(io.BytesIO(b'{"text": "a", "id": 7, "score": 0.5}\n'))
    assert frame.rows() == [("a", 7, 0.5)]
