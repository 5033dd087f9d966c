"""Bulk prediction: windows, the thread that reads ahead, what is written, and the journal."""

import csv
import gzip
import io
import json
import threading

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetext.data import DataConfig, RowBatch, open_rows
from finetext.data.readers import decode
from finetext.decision import Decision
from finetext.errors import DataError, UsageError
from finetext.inference import (
    Job,
    Labelled,
    Writing,
    output_writing,
    predict_file,
    predict_rows,
    predict_stream,
    predict_table,
    rows_kept,
)
from finetext.inference import row_batches as windows_module
from finetext.inference.prefetch import ahead
from finetext.inference.resumable_output import partial_output
from finetext.inference.row_batches import windows
from finetext.inference.writing import spreadsheet_safe

TEXTS = ["win cash now", "tea at four", "", "claim your gold prize today, reply yes", "the rain has stopped"]


@pytest.fixture
def small_windows(monkeypatch):
    """Windows of seven rows."""
    monkeypatch.setattr(windows_module, "WINDOW_ROWS", 7)


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "in.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerow(["id", "text", "score"])
        csv.writer(file).writerows([f"00{n}", TEXTS[n % 5], f"{n}.50"] for n in range(40))
    return path


# Windows ------------------------------------------------------------------------------------------


@settings(max_examples=200)
@given(
    sizes=st.lists(st.integers(0, 30), max_size=40),
    borders=st.lists(st.integers(1, 9), max_size=20),
    rows=st.integers(1, 9),
    limit=st.integers(1, 40),
)
def test_windows_depend_on_the_rows_alone(sizes, borders, rows, limit):
    whole = pl.DataFrame({"text": ["x" * size for size in sizes]}, schema={"text": pl.String})
    blocks, start = [], 0
    for border in borders:
        blocks.append(RowBatch(whole.slice(start, border)))
        start += border
    blocks.append(RowBatch(whole.slice(start)))
    before = windows_module.WINDOW_ROWS, windows_module.WINDOW_BYTES
    windows_module.WINDOW_ROWS, windows_module.WINDOW_BYTES = rows, limit
    try:
        found = [window.frame["text"].to_list() for window in windows(iter(blocks))]
        at_once = [window.frame["text"].to_list() for window in windows(iter([RowBatch(whole)]))]
        later = [window.frame["text"].to_list() for window in windows(iter(blocks), skip=len(found[0]))]
    finally:
        windows_module.WINDOW_ROWS, windows_module.WINDOW_BYTES = before
    assert [text for window in found for text in window] == whole["text"].to_list()
    assert found == at_once
    assert later == (found[1:] or [[]])
    for window, following in zip(found, [*found[1:], None], strict=True):
        size = sum(map(len, window))
        assert len(window) <= rows and (size <= limit or len(window) == 1)
        if following:  # as large as may be
            assert len(window) == rows or size + len(following[0]) > limit


# Reading ahead ------------------------------------------------------------------------------------


def test_the_next_item_is_made_while_the_current_one_is_worked_on():
    second_is_made = threading.Event()

    def items():
        yield 1
        second_is_made.set()
        yield 2

    found = ahead(items())
    assert next(found) == 1
    assert second_is_made.wait(10)
    assert list(found) == [2]


def test_an_error_ahead_comes_in_its_turn_and_no_thread_stays():
    def items():
        yield 1
        raise DataError("row 2")

    before = threading.active_count()
    found = ahead(items())
    assert next(found) == 1
    with pytest.raises(DataError, match="row 2"):
        next(found)
    endless = ahead(iter(range(10**9)))
    assert [next(endless) for _ in range(3)] == [0, 1, 2]
    endless.close()
    assert threading.active_count() == before


# Labels -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("all_scores", [False, True])
def test_windows_give_what_the_whole_table_gives(trained, table, small_windows, all_scores):
    classifier = trained("bert").classifier()
    rows = open_rows(table, DataConfig())
    seen = []
    parts = list(predict_rows(classifier, rows, all_scores=all_scores, progress=seen.append))
    assert [part.block.frame.height for part in parts] == [7, 7, 7, 7, 7, 5]
    assert sum(seen) == 40 and sum(part.empty for part in parts) == 8
    found = pl.concat([part.table for part in parts])
    whole, empty, abstained = predict_table(
        classifier,
        pl.read_csv(table, infer_schema=False).with_columns(pl.col("text").fill_null("")),
        "text",
        all_scores=all_scores,
    )
    assert (empty, abstained) == (8, 0)
    assert found.columns == whole.columns
    assert found.columns[:5] == ["id", "text", "score", "predicted", "score_2"]
    assert found[:, :4].equals(whole[:, :4])
    for name in found.columns[4:]:
        assert found[name].to_list() == pytest.approx(whole[name].to_list(), abs=1e-6)


def test_rows_on_which_the_classifier_abstains_have_a_score_and_are_counted(trained, table, small_windows):
    classifier = trained("bert").classifier()
    scores = np.sort(classifier.predict_proba([text for text in TEXTS if text]).max(axis=1))
    limit = float(scores[1] + scores[2]) / 2
    object.__setattr__(classifier.model.settings, "decision", Decision(abstain_below=limit))
    parts = list(predict_rows(classifier, open_rows(table, DataConfig())))
    frame = pl.concat([part.table for part in parts])
    assert sum(part.abstained for part in parts) == 16
    without = frame.filter(pl.col("predicted").is_null() & pl.col("score_2").is_not_null())
    assert without.height == 16 and (without["score_2"] < limit).all()


# What is written ----------------------------------------------------------------------------------


def test_only_what_a_spreadsheet_would_run_is_neutralised():
    cells = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "＝1", "a=b", "", None, "'=1", "1-1"]
    frame = pl.DataFrame({"=text": cells, "plain": cells, "n": range(-6, 6)})
    safe = spreadsheet_safe(frame)
    assert safe.columns == ["'=text", "plain", "n"]
    expected = ["'" + cell for cell in cells[:7]] + cells[7:]
    assert safe["plain"].to_list() == safe["'=text"].to_list() == expected
    assert safe["n"].to_list() == frame["n"].to_list()


def test_output_stays_exact_unless_it_is_to_be_safe(trained, tmp_path):
    path = tmp_path / "in.csv"
    path.write_text('@id,text\n=1+1,=cmd|x\n" 007",+tea\n')
    classifier = trained("bert").classifier()
    for safe, cells in ((False, ["@id", "=1+1", " 007"]), (True, ["'@id", "'=1+1", " 007"])):
        out = tmp_path / f"{safe}.csv"
        predict_file(Job(classifier, open_rows(path, DataConfig()), spreadsheet_safe=safe), out)
        with out.open(newline="") as file:
            rows = list(csv.reader(file))
        assert [row[0] for row in rows] == cells
        assert rows[1][1] == ("'=cmd|x" if safe else "=cmd|x")
    with pytest.raises(UsageError, match="for CSV and TSV, not for jsonl"):
        output_writing(tmp_path / "out.jsonl", spreadsheet_safe=True)


def test_lines_of_json_come_out_as_they_went_in(trained, tmp_path, small_windows):
    lines = [
        '{"text": "win cash", "n": 1.50, "k": 12345678901234567890}',
        '{ "predicted":null,"text":"tea \\u00e9" , "l":[1, 2.0] }',
        '{"n": "", "text": ""}',
        "{}",
    ] * 5
    path, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    path.write_text("\n".join(lines))
    done = predict_file(Job(trained("bert").classifier(), open_rows(path, DataConfig())), out)
    assert (done.rows, done.empty) == (20, 10)
    written = out.read_text().splitlines()
    for before, after in zip(lines, written, strict=True):
        assert after.startswith(before[:-1].rstrip("}"))
        assert list(json.loads(after)) == [*json.loads(before), "predicted_2", "score"]
        assert {key: json.loads(after)[key] for key in json.loads(before)} == json.loads(before)


def test_numbers_of_json_lines_keep_their_digits_in_csv(trained, tmp_path):
    path, out = tmp_path / "in.jsonl", tmp_path / "out.csv"
    path.write_text(
        '{"text": "win cash", "n": 1.50, "b": true, "l": ["a", "b"]}\n{"text": "tea", "n": 1e3}\n'
    )
    predict_file(Job(trained("bert").classifier(), open_rows(path, DataConfig())), out)
    with out.open(newline="") as file:
        rows = list(csv.reader(file))
    assert [row[:4] for row in rows[1:]] == [["win cash", "1.50", "true", "a|b"], ["tea", "1e3", "", ""]]


def test_lists_of_parquet_become_json_in_csv_and_bytes_are_refused(trained, tmp_path):
    path = tmp_path / "in.parquet"
    pl.DataFrame({"text": ["win"], "l": [["a", "b"]], "s": [{"x": 1}]}).write_parquet(path)
    classifier = trained("bert").classifier()
    predict_file(Job(classifier, open_rows(path, DataConfig())), tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="") as file:
        assert list(csv.reader(file))[1][1:3] == ['["a", "b"]', '{"x": 1}']
    pl.DataFrame({"text": ["win"], "raw": [b"\x00"]}).write_parquet(path)
    with pytest.raises(DataError, match="'raw' holds bytes"):
        predict_file(Job(classifier, open_rows(path, DataConfig())), tmp_path / "bytes.csv")
    assert not (tmp_path / "bytes.csv").exists()


@pytest.mark.parametrize("name", ["out.csv", "out.tsv.gz", "out.jsonl", "out.parquet"])
@pytest.mark.parametrize("rows", [0, 14, 40])
def test_windows_join_to_one_file(trained, tmp_path, small_windows, name, rows):
    path, out = tmp_path / "in.csv", tmp_path / name
    path.write_text("text,id\n" + "".join(f"{TEXTS[n % 5]!r},{n}\n".replace("'", '"') for n in range(rows)))
    done = predict_file(Job(trained("bert").classifier(), open_rows(path, DataConfig())), out)
    assert done.rows == rows
    content = gzip.decompress(out.read_bytes()) if name.endswith(".gz") else out.read_bytes()
    if name == "out.parquet":
        frame = pl.read_parquet(io.BytesIO(content))
    elif name == "out.jsonl":
        assert [json.loads(line)["id"] for line in content.splitlines()] == [str(n) for n in range(rows)]
        return
    else:
        separator = "\t" if "tsv" in name else ","
        frame = pl.read_csv(io.BytesIO(content), separator=separator, infer_schema=False)
    assert frame.columns == ["text", "id", "predicted", "score"]
    assert frame["id"].to_list() == [str(n) for n in range(rows)]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["in.csv", name])


def test_a_stream_gets_each_window_when_it_is_done(trained, table, small_windows):
    class Out(io.BytesIO):
        written: list[int]

        def flush(self) -> None:
            sizes.append(len(self.getvalue()))

    sizes: list[int] = []
    out = Out()
    job = Job(trained("bert").classifier(), open_rows(table, DataConfig()))
    done = predict_stream(job, out, Writing("csv"))
    assert done.rows == 40 and len(sizes) == 6 and sizes == sorted(set(sizes))
    assert len(list(csv.reader(io.StringIO(out.getvalue().decode())))) == 41


# Going on -----------------------------------------------------------------------------------------


class Stops(Exception):
    """Ends a prediction in the middle."""


def stopping_after(rows):
    done = 0

    def progress(count):
        nonlocal done
        done += count
        if done > rows:
            raise Stops

    return progress


@pytest.mark.parametrize("name", ["out.csv", "out.csv.gz", "out.jsonl", "out.parquet"])
def test_what_was_stopped_goes_on_to_the_same_bytes(trained, table, tmp_path, small_windows, name):
    def job():
        return Job(trained("bert").classifier(), open_rows(table, DataConfig()), "digest")

    predict_file(job(), tmp_path / f"whole-{name}")
    out = tmp_path / name
    for kept in (14, 28):
        with pytest.raises(Stops):
            predict_file(job(), out, resume=True, progress=stopping_after(14))
        assert rows_kept(out) == kept and not out.exists()
        with (tmp_path / f".{name}.partial").open("ab") as file:
            file.write(b"what was on its way when the power went")
    with pytest.raises(UsageError, match=r"left 28 rows\. Pass --resume"):
        predict_file(job(), out)
    done = predict_file(job(), out, resume=True)
    assert (done.rows, done.empty) == (40, 8)
    assert out.read_bytes() == (tmp_path / f"whole-{name}").read_bytes()
    assert not list(tmp_path.glob(".*"))


def test_nothing_goes_on_from_another_input_model_or_options(trained, table, tmp_path, small_windows):
    classifier = trained("bert").classifier()
    out = tmp_path / "out.csv"

    def job(**changed):
        return Job(classifier, open_rows(table, DataConfig()), **{"model_digest": "one", **changed})

    with pytest.raises(Stops):
        predict_file(job(), out, progress=stopping_after(14))
    for changed, what in (
        ({"model_digest": "two"}, "model"),
        ({"all_scores": True, "spreadsheet_safe": True}, "--all-scores, --spreadsheet-safe"),
    ):
        with pytest.raises(UsageError, match=f"changed since it was begun: {what}"):
            predict_file(job(**changed), out, resume=True)
    table.write_text(table.read_text() + "more,tea,1\n")
    with pytest.raises(UsageError, match="changed since it was begun: input"):
        predict_file(job(), out, resume=True)
    assert rows_kept(out) == 14
    assert predict_file(job(), out, overwrite=True).rows == 41
    assert rows_kept(out) == 0


def test_a_stream_leaves_nothing_to_go_on_from(trained, tmp_path, small_windows):
    rows = open_rows(io.BytesIO(b"text\n" + b"tea\n" * 40), DataConfig(text_column="text"))
    with pytest.raises(Stops):
        predict_file(
            Job(trained("bert").classifier(), rows), tmp_path / "out.csv", progress=stopping_after(14)
        )
    assert not list(tmp_path.iterdir())


def test_two_predictions_do_not_write_the_same_file(tmp_path):
    out = tmp_path / "out.csv"
    with (
        partial_output(out, None, overwrite=False, resume=False),
        pytest.raises(UsageError, match="another process"),
        partial_output(out, None, overwrite=False, resume=False),
    ):
        pass


def test_a_file_that_changes_under_way_is_told(trained, table, tmp_path, monkeypatch):
    monkeypatch.setattr(decode, "CHUNK_BYTES", 64)
    rows = open_rows(table, DataConfig())
    table.write_text(table.read_text() + "more,tea,1\n")
    with pytest.raises(DataError, match="changed while it was read"):
        predict_file(Job(trained("bert").classifier(), rows), tmp_path / "out.csv")


def test_the_empty_object_takes_no_comma():
    added = pl.DataFrame({"predicted": [None, "ham"], "score": [None, 0.5]})
    block = RowBatch(pl.DataFrame({"text": [None, "a"]}), [b"{ }", b'{"text": "a"}'])
    lines = Writing("jsonl").encode(Labelled(block, added, 1, 0), first=True).splitlines()
    assert [json.loads(line) for line in lines] == [
        {"predicted": None, "score": None},
        {"text": "a", "predicted": "ham", "score": 0.5},
    ]
