"""Predicting files: row batches, prefetching, output formats, and resuming."""

import csv
import gzip
import io
import json
import threading
from dataclasses import replace

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
    LabelledRows,
    OutputFormat,
    Prediction,
    output_format,
    predict_into_file,
    predict_into_stream,
    predict_rows,
    resumable_rows,
)
from finetext.inference import prediction as prediction_module
from finetext.inference import row_batches as batches_module
from finetext.inference.prefetch import prefetch
from finetext.inference.resumable_output import resumable_output
from finetext.inference.row_batches import row_batches
from finetext.inference.writing import spreadsheet_safe

TEXTS = ["win cash now", "tea at four", "", "claim your gold prize today, reply yes", "the rain has stopped"]


@pytest.fixture
def small_batches(monkeypatch):
    """Batches of seven rows."""
    monkeypatch.setattr(batches_module, "BATCH_ROWS", 7)


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "in.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerow(["id", "text", "score"])
        csv.writer(file).writerows([f"00{n}", TEXTS[n % 5], f"{n}.50"] for n in range(40))
    return path


# Row batches ------------------------------------------------------------------------------------------


@settings(max_examples=200)
@given(
    sizes=st.lists(st.integers(0, 30), max_size=40),
    borders=st.lists(st.integers(1, 9), max_size=20),
    rows=st.integers(1, 9),
    limit=st.integers(1, 40),
)
def test_row_batches_depend_on_the_rows_alone(sizes, borders, rows, limit):
    whole = pl.DataFrame({"text": ["x" * size for size in sizes]}, schema={"text": pl.String})
    blocks, start = [], 0
    for border in borders:
        blocks.append(RowBatch(whole.slice(start, border)))
        start += border
    blocks.append(RowBatch(whole.slice(start)))
    before = batches_module.BATCH_ROWS, batches_module.BATCH_BYTES
    batches_module.BATCH_ROWS, batches_module.BATCH_BYTES = rows, limit
    try:
        batches = [batch.frame["text"].to_list() for batch in row_batches(iter(blocks))]
        at_once = [batch.frame["text"].to_list() for batch in row_batches(iter([RowBatch(whole)]))]
        later = [batch.frame["text"].to_list() for batch in row_batches(iter(blocks), skip=len(batches[0]))]
    finally:
        batches_module.BATCH_ROWS, batches_module.BATCH_BYTES = before
    assert [text for batch in batches for text in batch] == whole["text"].to_list()
    assert batches == at_once
    assert later == (batches[1:] or [[]])
    for batch, following in zip(batches, [*batches[1:], None], strict=True):
        size = sum(map(len, batch))
        assert len(batch) <= rows and (size <= limit or len(batch) == 1)
        if following:  # as large as allowed
            assert len(batch) == rows or size + len(following[0]) > limit


# Prefetching -------------------------------------------------------------------------------------


def test_the_next_item_is_prepared_while_the_current_one_is_processed():
    second_is_prepared = threading.Event()

    def items():
        yield 1
        second_is_prepared.set()
        yield 2

    prefetched = prefetch(items())
    assert next(prefetched) == 1
    assert second_is_prepared.wait(10)
    assert list(prefetched) == [2]


def test_prefetch_raises_errors_in_order_and_leaves_no_thread():
    def items():
        yield 1
        raise DataError("row 2")

    before = threading.active_count()
    prefetched = prefetch(items())
    assert next(prefetched) == 1
    with pytest.raises(DataError, match="row 2"):
        next(prefetched)
    endless = prefetch(iter(range(10**9)))
    assert [next(endless) for _ in range(3)] == [0, 1, 2]
    endless.close()
    assert threading.active_count() == before


# Labels -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("all_scores", [False, True])
def test_row_batches_give_the_predictions_of_the_whole_table(trained, table, small_batches, all_scores):
    classifier = trained("bert").classifier()
    rows = open_rows(table, DataConfig())
    seen = []
    parts = list(
        predict_rows(classifier, rows, all_scores=all_scores, progress=lambda *done: seen.append(done))
    )
    assert [part.block.frame.height for part in parts] == [7, 7, 7, 7, 7, 5]
    assert seen[-1] == (40, 40) and sum(part.empty for part in parts) == 8
    labelled = pl.concat([part.table for part in parts])
    scores = [f"prob_{name}" for name in classifier.class_names] if all_scores else []
    assert labelled.columns == ["id", "text", "score", "predicted", "score_2", *scores]
    assert labelled["id"].to_list() == [f"00{n}" for n in range(40)]
    assert labelled["score"].to_list() == [f"{n}.50" for n in range(40)]
    texts = [TEXTS[n % 5] for n in range(40)]
    assert [text or "" for text in labelled["text"].to_list()] == texts
    present = [n for n, text in enumerate(texts) if text]
    probs = classifier.predict_proba([texts[n] for n in present])
    predicted = labelled["predicted"].to_list()
    assert [predicted[n] for n in present] == [label for (label,) in classifier.decide_all(probs)]
    for column, expected in zip(["score_2", *scores], [probs.max(axis=1), *probs.T], strict=False):
        actual = labelled[column].to_list()
        assert [actual[n] for n in present] == pytest.approx(expected.tolist(), abs=1e-6)
    empty = labelled.filter(~pl.Series([bool(text) for text in texts]))
    assert empty[:, 3:].null_count().row(0) == (8,) * (2 + len(scores))


def test_rows_on_which_the_classifier_abstains_have_a_score_and_are_counted(trained, table, small_batches):
    classifier = trained("bert").classifier()
    scores = np.sort(classifier.predict_proba([text for text in TEXTS if text]).max(axis=1))
    limit = float(scores[1] + scores[2]) / 2
    object.__setattr__(classifier.model.settings, "decision", Decision(abstain_below=limit))
    parts = list(predict_rows(classifier, open_rows(table, DataConfig())))
    frame = pl.concat([part.table for part in parts])
    assert sum(part.abstained for part in parts) == 16
    without = frame.filter(pl.col("predicted").is_null() & pl.col("score_2").is_not_null())
    assert without.height == 16 and (without["score_2"] < limit).all()


# Output formats ----------------------------------------------------------------------------------


def test_spreadsheet_safe_escapes_formulas_and_nothing_else():
    cells = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "＝1", "a=b", "", None, "'=1", "1-1"]
    frame = pl.DataFrame({"=text": cells, "plain": cells, "n": range(-6, 6)})
    safe = spreadsheet_safe(frame)
    assert safe.columns == ["'=text", "plain", "n"]
    expected = ["'" + cell for cell in cells[:7]] + cells[7:]
    assert safe["plain"].to_list() == safe["'=text"].to_list() == expected
    assert safe["n"].to_list() == frame["n"].to_list()


def test_output_is_exact_unless_spreadsheet_safe(trained, tmp_path):
    path = tmp_path / "in.csv"
    path.write_text('@id,text\n=1+1,=cmd|x\n" 007",+tea\n')
    classifier = trained("bert").classifier()
    for safe, cells in ((False, ["@id", "=1+1", " 007"]), (True, ["'@id", "'=1+1", " 007"])):
        out = tmp_path / f"{safe}.csv"
        predict_into_file(Prediction(classifier, path, spreadsheet_safe=safe), out)
        with out.open(newline="") as file:
            rows = list(csv.reader(file))
        assert [row[0] for row in rows] == cells
        assert rows[1][1] == ("'=cmd|x" if safe else "=cmd|x")
    with pytest.raises(UsageError, match="for CSV and TSV, not for jsonl"):
        output_format(tmp_path / "out.jsonl", spreadsheet_safe=True)


def test_json_lines_are_written_as_they_were_read(trained, tmp_path, small_batches):
    lines = [
        '{"text": "win cash", "n": 1.50, "k": 12345678901234567890}',
        '{ "predicted":null,"text":"tea \\u00e9" , "l":[1, 2.0] }',
        '{"n": "", "text": ""}',
        "{}",
    ] * 5
    path, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    path.write_text("\n".join(lines))
    done = predict_into_file(Prediction(trained("bert").folder.path, path), out)
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
    predict_into_file(Prediction(trained("bert").folder.path, path), out)
    with out.open(newline="") as file:
        rows = list(csv.reader(file))
    assert [row[:4] for row in rows[1:]] == [["win cash", "1.50", "true", "a|b"], ["tea", "1e3", "", ""]]


def test_lists_of_parquet_become_json_in_csv_and_bytes_are_refused(trained, tmp_path):
    path = tmp_path / "in.parquet"
    pl.DataFrame({"text": ["win"], "l": [["a", "b"]], "s": [{"x": 1}]}).write_parquet(path)
    classifier = trained("bert").classifier()
    predict_into_file(Prediction(classifier, path), tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="") as file:
        assert list(csv.reader(file))[1][1:3] == ['["a", "b"]', '{"x": 1}']
    pl.DataFrame({"text": ["win"], "raw": [b"\x00"]}).write_parquet(path)
    with pytest.raises(DataError, match="'raw' holds bytes"):
        predict_into_file(Prediction(classifier, path), tmp_path / "bytes.csv")
    assert not (tmp_path / "bytes.csv").exists()


@pytest.mark.parametrize("name", ["out.csv", "out.tsv.gz", "out.jsonl", "out.parquet"])
@pytest.mark.parametrize("rows", [0, 14, 40])
def test_row_batches_join_to_one_file(trained, tmp_path, small_batches, name, rows):
    path, out = tmp_path / "in.csv", tmp_path / name
    path.write_text("text,id\n" + "".join(f"{TEXTS[n % 5]!r},{n}\n".replace("'", '"') for n in range(rows)))
    done = predict_into_file(Prediction(trained("bert").folder.path, path), out)
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


def test_each_batch_is_streamed_as_soon_as_it_is_done(trained, table, small_batches):
    class Out(io.BytesIO):
        written: list[int]

        def flush(self) -> None:
            sizes.append(len(self.getvalue()))

    sizes: list[int] = []
    out = Out()
    prediction = Prediction(trained("bert").folder.path, table)
    done = predict_into_stream(prediction, out, "csv")
    assert done.rows == 40 and len(sizes) == 6 and sizes == sorted(set(sizes))
    assert len(list(csv.reader(io.StringIO(out.getvalue().decode())))) == 41


# Resuming -----------------------------------------------------------------------------------------


class Stops(Exception):
    """Raises an interrupt during prediction."""


def stopping_after(rows):
    def progress(done, total):
        if done > rows:
            raise Stops

    return progress


@pytest.mark.parametrize("name", ["out.csv", "out.csv.gz", "out.jsonl", "out.parquet"])
def test_a_resumed_prediction_writes_the_same_bytes(trained, table, tmp_path, small_batches, name):
    def prediction():
        return Prediction(trained("bert").folder.path, table)

    predict_into_file(prediction(), tmp_path / f"whole-{name}")
    out = tmp_path / name
    for kept in (14, 28):
        with pytest.raises(Stops):
            predict_into_file(prediction(), out, resume=True, progress=stopping_after(kept))
        assert resumable_rows(out) == kept and not out.exists()
        with (tmp_path / f".{name}.partial").open("ab") as file:
            file.write(b"written but not synced at a power cut")
    with pytest.raises(UsageError, match=r"left 28 rows\. Pass --resume"):
        predict_into_file(prediction(), out)
    done = predict_into_file(prediction(), out, resume=True)
    assert (done.rows, done.empty) == (40, 8)
    assert out.read_bytes() == (tmp_path / f"whole-{name}").read_bytes()
    assert not list(tmp_path.glob(".*"))


def test_a_prediction_with_another_input_model_or_options_is_not_resumed(
    trained, bundles, table, tmp_path, small_batches
):
    prediction = Prediction(trained("bert").folder.path, table)
    out = tmp_path / "out.csv"
    with pytest.raises(Stops):
        predict_into_file(prediction, out, progress=stopping_after(14))
    for changed, what in (
        ({"model": bundles("spam")}, "model"),
        ({"all_scores": True, "spreadsheet_safe": True}, "--all-scores, --spreadsheet-safe"),
    ):
        with pytest.raises(UsageError, match=f"changed since the start: {what}"):
            predict_into_file(replace(prediction, **changed), out, resume=True)
    table.write_text(table.read_text() + "more,tea,1\n")
    with pytest.raises(UsageError, match="changed since the start: input"):
        predict_into_file(prediction, out, resume=True)
    assert resumable_rows(out) == 14
    assert predict_into_file(prediction, out, overwrite=True).rows == 41
    assert resumable_rows(out) == 0


def test_an_interrupted_stream_leaves_no_output(trained, tmp_path, small_batches):
    stream = io.BytesIO(b"text\n" + b"tea\n" * 40)
    prediction = Prediction(trained("bert").folder.path, stream, DataConfig(text_column="text"))
    with pytest.raises(Stops):
        predict_into_file(prediction, tmp_path / "out.csv", progress=stopping_after(14))
    assert not list(tmp_path.iterdir())


def test_two_predictions_cannot_write_the_same_file(tmp_path):
    out = tmp_path / "out.csv"
    with (
        resumable_output(out, None, overwrite=False, resume=False),
        pytest.raises(UsageError, match="another process"),
        resumable_output(out, None, overwrite=False, resume=False),
    ):
        pass


def test_a_file_that_changes_during_prediction_is_reported(trained, table, tmp_path, monkeypatch):
    monkeypatch.setattr(decode, "CHUNK_BYTES", 64)

    def load_while_the_file_grows(*arguments, **options):
        table.write_text(table.read_text() + "more,tea,1\n")
        return trained("bert").classifier()

    monkeypatch.setattr(prediction_module, "load", load_while_the_file_grows)
    with pytest.raises(DataError, match="changed while it was read"):
        predict_into_file(Prediction(trained("bert").folder.path, table), tmp_path / "out.csv")


def test_an_empty_json_object_gets_no_leading_comma():
    added = pl.DataFrame({"predicted": [None, "ham"], "score": [None, 0.5]})
    block = RowBatch(pl.DataFrame({"text": [None, "a"]}), [b"{ }", b'{"text": "a"}'])
    lines = OutputFormat("jsonl").encode(LabelledRows(block, added, 1, 0), first=True).splitlines()
    assert [json.loads(line) for line in lines] == [
        {"predicted": None, "score": None},
        {"text": "a", "predicted": "ham", "score": 0.5},
    ]
