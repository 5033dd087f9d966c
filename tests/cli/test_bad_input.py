"""Bad input gives an error of one or two lines that says what to do, the right exit code, and no files."""

import gzip
import json
import os
import shutil
from pathlib import Path

import polars
import pytest

from finetext.cli import main

ROWS = [
    (f"{word} {number} of the day", label)
    for word, label in (("news", "a"), ("offer", "b"))
    for number in range(20)
]


def write_csv(path: Path, rows=ROWS, header="text,label") -> Path:
    path.write_text("\n".join([header, *(f"{text},{label}" for text, label in rows)]) + "\n")
    return path


def snapshot(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def refused(capsys, folder: Path, arguments: list[str], exit_code: int, *fragments: str) -> None:
    before = snapshot(folder)
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    error = capsys.readouterr().err
    message = error[error.index("finetext: error:") :].strip()
    assert ended.value.code == exit_code, error
    assert "Traceback" not in error and "unexpected" not in message, error
    assert len(message.splitlines()) <= 2, error
    for fragment in fragments:
        assert fragment.lower() in message.lower(), error
    assert snapshot(folder) == before


# Data --------------------------------------------------------------------------------------------------------


def empty(folder):
    (folder / "data.csv").write_bytes(b"")


def header_only(folder):
    (folder / "data.csv").write_text("text,label\n")


def latin1(folder):
    (folder / "data.csv").write_bytes("text,label\ncafé au lait,a\nthé,b\n".encode("latin-1"))


def zeros(folder):
    (folder / "data.csv").write_bytes(os.urandom(4096))


def one_class(folder):
    write_csv(folder / "data.csv", [(text, "a") for text, _ in ROWS])


def other_columns(folder):
    write_csv(folder / "data.csv", header="foo,bar")


def no_labels(folder):
    write_csv(folder / "data.csv", [(text, "") for text, _ in ROWS])


def no_texts(folder):
    write_csv(folder / "data.csv", [("", label) for _, label in ROWS])


def small_class(folder):
    write_csv(folder / "data.csv", [*ROWS, ("alone here", "c")])


def ragged(folder):
    write_csv(folder / "data.csv", [*ROWS, ("one, two", "three, four")])


def nan_labels(folder):
    frame = polars.DataFrame({"text": [t for t, _ in ROWS], "label": [float("nan")] * len(ROWS)})
    frame.write_parquet(folder / "data.parquet")


def torn_parquet(folder):
    polars.DataFrame({"text": ["a"], "label": ["b"]}).write_parquet(folder / "data.parquet")
    content = (folder / "data.parquet").read_bytes()
    (folder / "data.parquet").write_bytes(content[: len(content) // 2])


def bad_json(folder):
    (folder / "data.jsonl").write_text('{"text": "a", "label": "x"}\n{"text": "b", \n')


def json_scalars(folder):
    (folder / "data.jsonl").write_text('"a"\n"b"\n')


def torn_gzip(folder):
    content = gzip.compress(write_csv(folder / "plain.csv").read_bytes())
    (folder / "data.csv.gz").write_bytes(content[: len(content) // 2])


def folder_without_train(folder):
    (folder / "data").mkdir()
    write_csv(folder / "data" / "test.csv")


def empty_folder(folder):
    (folder / "data").mkdir()


def split_column(folder):
    rows = [(text, f"{label},{'training' if n % 2 else 'dev?'}") for n, (text, label) in enumerate(ROWS)]
    write_csv(folder / "data.csv", rows, header="text,label,part")


def unknown_test_label(folder):
    write_csv(folder / "data.csv")
    write_csv(folder / "test.csv", [*ROWS[:3], ("something new", "zebra")])


def multi_label(folder):
    write_csv(folder / "data.csv", [(text, "a|b" if n % 3 else "a") for n, (text, _) in enumerate(ROWS)])


@pytest.mark.parametrize(
    ("make", "arguments", "fragments"),
    [
        (None, [], ["no data"]),
        (None, ["nowhere.csv"], ["nowhere.csv"]),
        (None, ["smaple"], ["smaple", "sample"]),
        (None, ["hf:not an id"], ["hf:"]),
        (empty, ["data.csv"], ["empty"]),
        (header_only, ["data.csv"], ["data.csv"]),
        (latin1, ["data.csv"], ["--encoding"]),
        (latin1, ["data.csv", "--encoding", "klingon"], ["klingon"]),
        (zeros, ["data.csv"], ["data.csv"]),
        (one_class, ["data.csv"], ["one class", "'a'"]),
        (other_columns, ["data.csv"], ["foo", "bar", "--text-column"]),
        (write_csv, ["data.csv", "--text-column", "txt"], ["txt", "text"]),
        (write_csv, ["data.csv", "--label-column", "lable"], ["lable", "label"]),
        (no_labels, ["data.csv"], ["label"]),
        (no_texts, ["data.csv"], ["text"]),
        (small_class, ["data.csv"], ["'c'"]),
        (ragged, ["data.csv"], ["row 42"]),
        (nan_labels, ["data.parquet"], ["label"]),
        (torn_parquet, ["data.parquet"], ["data.parquet"]),
        (bad_json, ["data.jsonl"], ["2"]),
        (json_scalars, ["data.jsonl"], ["1"]),
        (torn_gzip, ["data.csv.gz"], ["data.csv.gz"]),
        (folder_without_train, ["data"], ["train"]),
        (empty_folder, ["data"], ["data"]),
        (split_column, ["data.csv", "--split-column", "part"], ["part", "dev?"]),
        (split_column, ["data.csv", "--split-column", "parts"], ["parts"]),
        (unknown_test_label, ["data.csv", "--test-data", "test.csv"], ["zebra"]),
        (multi_label, ["data.csv", "--balance", "undersample"], ["multi-label"]),
        (
            write_csv,
            ["data.csv", "--balance", "weights", "--class-weights.aa", "2"],
            ["aa", "did you mean 'a'"],
        ),
        (write_csv, ["data.csv", "--limit", "3"], ["limit"]),
    ],
    ids=lambda value: (
        getattr(value, "__name__", None) or (" ".join(value) if isinstance(value, list) else "none")
    ),
)
def test_bad_data_is_refused(capsys, tmp_path, monkeypatch, make, arguments, fragments):
    monkeypatch.chdir(tmp_path)
    if make is write_csv:
        write_csv(tmp_path / "data.csv")
    elif make is not None:
        make(tmp_path)
    refused(capsys, tmp_path, ["train", *arguments], 2, *fragments)
    if arguments and make is not None and len(arguments) == 1 and make is not small_class:
        refused(capsys, tmp_path, ["inspect", *arguments], 2, *fragments)


# Options -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        (["--epohcs", "3"], "--epochs"),
        (["--balance", "wieghts"], "weights"),
        (["--epochs", "three"], "three"),
        (["--epochs", "0"], "epochs"),
        (["--learning-rate", "-1"], "learning_rate"),
        (["--validation", "0.5", "--test", "0.5"], "validation"),
        (["--class-weights.a", "2"], "--balance weights"),
        (["--keep-adapter"], "--trainable lora"),
        (["--device", "cuda"], "cuda"),
        (["--trainable", "last-blok"], "last-block"),
        (["--trainable", "last-9-blocks"], "2"),
        (["--max-length", "2"], "max_length"),
        (["--max-length", "100000"], "max_length"),
        (["--config", "missing.toml"], "missing.toml"),
        (["--track", "wandb"], "wandb"),
        (["--output", "data.csv"], "data.csv"),
        (["--output", "."], "not empty"),
        (["--output", "/proc/finetext/run"], "/proc/finetext"),
        (["--resume", "nowhere"], "nowhere"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_options_are_refused(capsys, tmp_path, monkeypatch, checkpoint, arguments, fragment):
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "data.csv")
    source = [] if "--resume" in arguments else ["data.csv", "--model", checkpoint("bert")]
    refused(capsys, tmp_path, ["train", *source, *arguments], 2, fragment)


def test_an_unknown_command_is_refused(capsys, tmp_path):
    refused(capsys, tmp_path, ["trian"], 2, "trian")


# Models ------------------------------------------------------------------------------------------------------


def without_config(model):
    (model / "config.json").unlink()


def torn_config(model):
    (model / "config.json").write_text('{"model_type": "bert", ')


def without_weights(model):
    (model / "model.safetensors").unlink()


def torn_weights(model):
    content = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(content[: len(content) // 2])


def only_pickle(model):
    (model / "model.safetensors").unlink()
    (model / "pytorch_model.bin").write_bytes(b"\x80\x04.")


def foreign_code(model):
    config = json.loads((model / "config.json").read_text())
    config["auto_map"] = {"AutoModel": "evil.Model"}
    (model / "config.json").write_text(json.dumps(config))


def unknown_architecture(model):
    config = json.loads((model / "config.json").read_text())
    config["model_type"] = "frobnicator"
    (model / "config.json").write_text(json.dumps(config))


def without_tokenizer(model):
    for path in model.glob("*token*"):
        path.unlink()
    for path in model.glob("vocab*"):
        path.unlink()


@pytest.mark.parametrize(
    ("damage", "fragment"),
    [
        (without_config, "config.json"),
        (torn_config, "config.json"),
        (without_weights, "safetensors"),
        (torn_weights, "safetensors"),
        (only_pickle, "--allow-pickle"),
        (foreign_code, "auto_map"),
        (unknown_architecture, "frobnicator"),
        (without_tokenizer, "tokenizer"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_bad_model_is_refused_in_training_and_prediction(
    capsys, tmp_path, monkeypatch, checkpoint, damage, fragment
):
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "data.csv")
    shutil.copytree(checkpoint("bert"), tmp_path / "model")
    damage(tmp_path / "model")
    refused(capsys, tmp_path, ["train", "data.csv", "--model", "./model"], 1, fragment)
    refused(capsys, tmp_path, ["predict", "./model", "a text"], 1, fragment)


def test_an_unknown_model_name_is_answered_with_a_suggestion(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "data.csv")
    refused(capsys, tmp_path, ["train", "data.csv", "--model", "minilmm"], 2, "minilm")


def test_a_run_without_a_model_is_refused(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.toml").write_text("")
    refused(capsys, tmp_path, ["predict", "run", "a text"], 1, "run")
    refused(capsys, tmp_path, ["predict", "nowhere", "a text"], 2, "nowhere")


# Prediction and evaluation -----------------------------------------------------------------------------------


def test_bad_prediction_input_is_refused(capsys, tmp_path, monkeypatch, trained):
    monkeypatch.chdir(tmp_path)
    run = str(trained("bert").folder.path)
    write_csv(tmp_path / "data.csv")
    (tmp_path / "out.csv").write_text("mine")
    (tmp_path / "empty.csv").write_bytes(b"")
    write_csv(tmp_path / "foreign.csv", [(text, "zebra") for text, _ in ROWS])
    refused(capsys, tmp_path, ["predict", run, "--file", "nowhere.csv"], 2, "nowhere.csv")
    refused(capsys, tmp_path, ["predict", run, "--file", "empty.csv"], 2, "empty")
    refused(capsys, tmp_path, ["predict", run, "--file", "data.csv", "--output", "out.csv"], 2, "out.csv")
    refused(capsys, tmp_path, ["predict", run, "--file", "data.csv", "--output", "data.csv"], 2, "data.csv")
    refused(capsys, tmp_path, ["predict", run, "--file", "data.csv", "--text-column", "txt"], 2, "txt")
    refused(capsys, tmp_path, ["predict", run, "a text", "--format", "xml"], 2, "xml")
    refused(capsys, tmp_path, ["evaluate", run, "foreign.csv"], 2, "zebra")
    refused(capsys, tmp_path, ["evaluate", run, "nowhere.csv"], 2, "nowhere.csv")


def test_label_ids_out_of_range_in_a_bundle_are_refused(capsys, tmp_path, monkeypatch, trained):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained("bert").folder.model, tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    config["id2label"] = {"0": "a", "7": "b"}
    config["label2id"] = {"a": 0, "b": 7}
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    refused(capsys, tmp_path, ["predict", "./model", "a text"], 1, "label")


# Resuming ----------------------------------------------------------------------------------------------------


def test_resuming_with_other_options_is_refused(capsys, tmp_path, trained):
    run = trained("bert").folder.path
    refused(capsys, run, ["train", "--resume", run, "--epochs", "99"], 1, "--epochs")
    refused(capsys, run, ["train", "--resume", run, "--seed", "99"], 1, "--seed")
    refused(capsys, run, ["train", "--resume", run, "--output", tmp_path / "x"], 2, "--output")


def test_debug_shows_the_traceback():
    with pytest.raises(ValueError, match="no data"):
        main(["train", "--debug"])
