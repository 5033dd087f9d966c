"""`finetext predict`, `evaluate` and `models`, through the entry point of the command line."""

import csv
import gzip
import io
import json
import os
import sys
import threading

import polars as pl
import pytest

from finetext.cli import main

ROWS = [
    ("1", "win cash now", "x"),
    ("2", "", "y"),
    ("3", 'a "quoted", text\nin two lines', "z"),
    ("4", "tea at four", ""),
]


def run(*arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "in.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("id", "text", "score"), *ROWS])
    return path


def check(frame, classifier):
    assert frame["id"].cast(pl.String).to_list() == ["1", "2", "3", "4"]
    assert frame["text"].to_list()[0::2] == [ROWS[0][1], ROWS[2][1]]
    assert [bool(label) for label in frame["predicted"].to_list()] == [True, False, True, True]
    texts = [ROWS[0][1], ROWS[2][1], ROWS[3][1]]
    expected = [answer["score"] for answer in classifier(texts)]
    scores = [score for score in frame["score_2"].cast(pl.Float64).to_list() if score is not None]
    assert scores == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    "name", ["out.csv", "out.tsv", "out.jsonl", "out.parquet", "out.csv.gz", "out.jsonl.gz"]
)
def test_a_table_keeps_its_columns_rows_and_order(tmp_path, trained, table, name, capsys):
    fitted = trained("bert")
    out = tmp_path / name
    assert run("predict", fitted.folder.path, "--file", table, "--output", out) == 0
    assert "1 row has no text" in capsys.readouterr().err
    content = gzip.decompress(out.read_bytes()) if name.endswith(".gz") else out.read_bytes()
    read = {"csv": pl.read_csv, "jsonl": pl.read_ndjson, "parquet": pl.read_parquet}
    kind = name.split(".")[1]
    if kind == "tsv":
        frame = pl.read_csv(io.BytesIO(content), separator="\t", infer_schema=False)
    else:
        frame = read[kind](io.BytesIO(content), **({"infer_schema": False} if kind == "csv" else {}))
    assert frame.columns == ["id", "text", "score", "predicted", "score_2"]
    check(frame, fitted.classifier())


def test_texts_on_the_command_line_are_labelled(trained, capsys):
    fitted = trained("bert")
    assert (
        run("predict", fitted.folder.path, "win cash now", "tea at four", "--format", "json", "--all-scores")
        == 0
    )
    rows = json.loads(capsys.readouterr().out)
    assert [row["text"] for row in rows] == ["win cash now", "tea at four"]
    expected = [answer["label"] for answer in fitted.classifier()(["win cash now", "tea at four"])]
    assert [row["predicted"] for row in rows] == expected
    for row in rows:
        assert row["prob_ham"] + row["prob_spam"] == pytest.approx(1, abs=1e-6)
        assert row["score"] == max(row["prob_ham"], row["prob_spam"])


@pytest.mark.parametrize("dash", [[], ["-"], ["--file", "-"]])
def test_a_dash_reads_from_stdin(trained, capsys, monkeypatch, dash):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"win cash now\n"), encoding="utf-8"))
    assert run("predict", trained("bert").folder.path, *dash, "--format", "json") == 0
    assert [row["text"] for row in json.loads(capsys.readouterr().out)] == ["win cash now"]


def test_texts_may_begin_with_a_dash_but_options_are_not_taken_for_texts(trained, capsys):
    model = trained("bert").folder.path
    assert run("predict", model, "-5 degrees", "- tea", "-", "-_-", "--format", "json") == 0
    texts = [row["text"] for row in json.loads(capsys.readouterr().out)]
    assert texts == ["-5 degrees", "- tea", "-", "-_-"]
    for wrong in ("--epoch", "-x", "--labl=x"):
        assert run("predict", model, "tea", wrong) == run("explain", model, wrong) == 2
        said = capsys.readouterr().err.splitlines()
        assert len(said) == 2 and all(
            "Unknown option" in line and wrong.split("=")[0] in line for line in said
        )


@pytest.mark.parametrize("format", ["csv", "jsonl", "table"])
def test_stdin_is_read_line_by_line(trained, capsysbinary, monkeypatch, format):
    stdin = io.TextIOWrapper(io.BytesIO("win cash now\ntea [b]at[/b] four ☕\n".encode()), encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", stdin)
    assert run("predict", trained("bert").folder.path, "--format", format) == 0
    shown = capsysbinary.readouterr().out.decode()
    assert "win cash now" in shown and "tea [b]at[/b] four ☕" in shown


def test_an_existing_output_is_kept_unless_overwriting_is_requested(tmp_path, trained, table):
    out = tmp_path / "out.csv"
    out.write_text("mine")
    assert run("predict", trained("bert").folder.path, "--file", table, "--output", out) == 2
    assert out.read_text() == "mine"
    assert run("predict", trained("bert").folder.path, "--file", table, "--output", out, "--overwrite") == 0
    assert "predicted" in out.read_text()


def test_a_table_is_piped_through(trained, table, capsysbinary, monkeypatch, tmp_path):
    fitted = trained("bert")
    out = tmp_path / "out.csv"
    assert run("predict", fitted.folder.path, "--file", table, "--output", out) == 0
    stdin = io.TextIOWrapper(io.BytesIO(table.read_bytes()), encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", stdin)
    assert run("predict", fitted.folder.path, "--file", "-", "--format", "csv") == 0
    shown = capsysbinary.readouterr()
    assert shown.out == out.read_bytes()
    assert b"1 row has no text" in shown.err


def test_parquet_is_written_to_stdout_in_one_piece(trained, table, capsysbinary):
    assert run("predict", trained("bert").folder.path, "--file", table, "--format", "parquet") == 0
    frame = pl.read_parquet(io.BytesIO(capsysbinary.readouterr().out))
    check(frame, trained("bert").classifier())


def test_a_fifo_is_read_as_a_stream(tmp_path, trained, table):
    out, fifo = tmp_path / "out.csv", tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = threading.Thread(target=lambda: fifo.write_bytes(table.read_bytes()))
    writer.start()
    assert run("predict", trained("bert").folder.path, "--file", fifo, "--output", out) == 0
    writer.join()
    assert len(pl.read_csv(out)) == 4


def test_spreadsheet_formulas_are_escaped_on_request(tmp_path, trained, capsys):
    path, out = tmp_path / "in.csv", tmp_path / "out.csv"
    path.write_text("id,text\n-1,=cmd\n")
    arguments = ("predict", trained("bert").folder.path, "--file", path)
    assert run(*arguments, "--output", out, "--spreadsheet-safe") == 0
    assert out.read_text().splitlines()[1].startswith("'-1,'=cmd,")
    assert run(*arguments, "--format", "csv") == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("-1,=cmd,")
    assert run(*arguments, "--format", "jsonl", "--spreadsheet-safe") == 2
    assert run(*arguments, "--output", tmp_path / "out.parquet", "--spreadsheet-safe") == 2
    assert capsys.readouterr().err.count("is for CSV and TSV") == 2


def test_resuming_needs_a_file_and_an_output(trained, table, capsys, tmp_path):
    run_folder = trained("bert").folder.path
    assert run("predict", run_folder, "--file", table, "--resume") == 2
    assert run("predict", run_folder, "a text", "--output", tmp_path / "out.csv", "--resume") == 2
    assert capsys.readouterr().err.count("--resume needs --file and --output") == 2
    # Without an interrupted prediction it starts from the beginning, so that scripts can always pass --resume.
    assert run("predict", run_folder, "--file", table, "--output", tmp_path / "out.csv", "--resume") == 0
    capsys.readouterr()
    assert run("predict", run_folder, "--file", table, "--output", tmp_path / "out.csv", "--resume") == 2
    assert "out.csv: is already complete" in capsys.readouterr().err
    assert len(pl.read_csv(tmp_path / "out.csv")) == 4


def test_evaluating_a_file_prints_and_writes_the_metrics(tmp_path, trained, messages, capsys):
    fitted = trained("bert")
    folder = tmp_path / "evaluation"
    assert run("evaluate", fitted.folder.path, messages, "--output", folder) == 0
    said = capsys.readouterr()
    shown = " ".join(said.out.split())
    for word in ("accuracy", "MCC", "ham", "spam", "60 texts"):
        assert word in shown
    assert "seen-texts: 48 (rows" in said.err  # all but the run's test split
    assert "seen texts" in (folder / "report.html").read_text()
    written = json.loads((folder / "metrics.json").read_text())["test"]
    with (folder / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    right = sum(row["label"] == row["predicted"] for row in rows)
    assert written["accuracy"] == pytest.approx(right / 60)
    assert written["examples"] == len(rows) == 60
    assert "60 texts" in (folder / "report.html").read_text()
    before = (folder / "metrics.json").read_bytes()
    assert run("evaluate", fitted.folder.path, messages, "--output", folder) == 2
    assert "already exists" in capsys.readouterr().err
    assert (folder / "metrics.json").read_bytes() == before


def test_evaluating_the_test_split_of_a_run_repeats_its_metrics(tmp_path, trained, capsys):
    fitted = trained("bert")
    folder = tmp_path / "evaluation"
    assert run("evaluate", fitted.folder.path, fitted.folder.splits, "--output", folder) == 0
    assert "seen-texts" not in capsys.readouterr().err
    assert "seen texts" in (folder / "report.html").read_text().split("Looked for and not found", 1)[1]
    written = json.loads((folder / "metrics.json").read_text())["test"]
    for name in ("accuracy", "mcc", "log_loss", "roc_auc"):
        assert written[name] == pytest.approx(fitted.metrics.test.value(name), abs=1e-6)


def test_evaluation_counts_truncated_texts_and_shows_only_the_threshold(
    tmp_path, checkpoint, messages, capsys
):
    from finetext.training import train

    options = {"model": str(checkpoint("bert")), "epochs": 1, "max_length": 4, "threshold": "f1"}
    fitted = train(messages, output=tmp_path / "run", **options)
    one = tmp_path / "one.csv"
    one.write_text("text,label\nwin a prize now and claim your cash today,spam\n")
    capsys.readouterr()
    assert run("evaluate", fitted.folder.model, one, "--output", tmp_path / "evaluation") == 0
    said = capsys.readouterr()
    assert "long-texts: 1 (rows 2). Longer than 4 tokens" in said.err
    assert "1 text" in said.out and "1 texts" not in said.out
    assert "labelled “spam” from a probability of" in said.out
    findings = json.loads((tmp_path / "evaluation" / "metrics.json").read_text())["data"]["findings"]
    assert {
        finding["name"]: finding["count"]
        for finding in findings
        if finding["name"] in ("seen-texts", "long-texts")
    } == {
        "seen-texts": 0,
        "long-texts": 1,
    }


def test_models_are_listed_with_their_memory(capsys):
    from finetext.models.catalogue import ALIASES

    assert run("models") == 0
    shown = capsys.readouterr().out
    assert all(alias in shown for alias in ALIASES)
    assert "context" in shown and "lora" in shown


def test_models_check_continues_a_text_only_with_a_causal_model(checkpoint, capsys):
    assert run("models", "check", checkpoint("gpt2"), "--prompt", "win a prize", "--tokens", "5") == 0
    shown = capsys.readouterr().out
    assert shown.startswith("win a prize") and len(shown) > len("win a prize\n")
    assert run("models", "check", checkpoint("bert")) == 0
    assert "Fast paths" in capsys.readouterr().out


def test_models_check_reports_which_fast_paths_are_off_and_why(checkpoint, capsys):
    assert run("models", "check", checkpoint("mpnet")) == 0
    (line,) = [
        line for line in capsys.readouterr().out.splitlines() if line.strip().startswith("packed batches")
    ]
    assert line.split()[2] == "no" and "attention" in line
