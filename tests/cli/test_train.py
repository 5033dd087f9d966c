"""`finetext train`, from the command to the run folder."""

import csv
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import finetext
from finetext.cli import main

FAST = ["--epochs", "2", "--batch-size", "8", "--trainable", "all", "--learning-rate", "0.003"]
SHARED = Path(__file__).parents[3] / "shared"
EXAMPLES = Path(__file__).parents[2] / "examples"
ARCHITECTURES = ["gpt2", "llama", "phi3", "bert", "roberta", "distilbert", "modernbert"]


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def finetext_main(*arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code


def test_a_run_writes_its_folder_and_prints_its_metrics(tmp_path, checkpoint, messages, capsys):
    run = tmp_path / "run"
    assert finetext_main("train", messages, "--model", checkpoint("bert"), "--output", run, *FAST) == 0
    shown = capsys.readouterr()
    for word in ("accuracy", "MCC", "majority", "TF-IDF"):
        assert word in shown.out
    for word in ("epoch", "val loss", "trainable", "pad token", "column"):
        assert word.lower() in shown.err.lower()
    assert {path.name for path in run.iterdir() if not path.name.startswith(".")} == {
        "model",
        "metrics.json",
        "history.csv",
        "predictions.csv",
        "splits",
        "config.toml",
        "environment.json",
        "report.html",
        "plots",
    }
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["test"]["accuracy"] >= 0
    assert {"majority class", "TF-IDF + logistic regression"} <= set(metrics["baselines"])
    splits = {name: rows_of(run / "splits" / f"{name}.csv") for name in ("train", "validation", "test")}
    assert sum(map(len, splits.values())) == 60
    predictions = rows_of(run / "predictions.csv")
    assert [row["text"] for row in predictions] == [row["text"] for row in splits["test"]]
    environment = json.loads((run / "environment.json").read_text())
    assert environment["seed"] == 42
    assert environment["versions"]["torch"]


def test_a_run_repeated_from_its_configuration_is_byte_identical(tmp_path, checkpoint, messages):
    first, second = tmp_path / "first", tmp_path / "second"
    finetext_main(
        "train", messages, "--model", checkpoint("gpt2"), "--output", first, *FAST, "--dropout", "0.2"
    )
    finetext_main("train", "--config", first / "config.toml", "--output", second)
    assert (first / "metrics.json").read_bytes() == (second / "metrics.json").read_bytes()
    assert (first / "config.toml").read_bytes() == (second / "config.toml").read_bytes()
    files = sorted(path.relative_to(first) for path in (first / "model").rglob("*") if path.is_file())
    assert files == sorted(
        path.relative_to(second) for path in (second / "model").rglob("*") if path.is_file()
    )
    for name in files:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_trains_and_loads_in_plain_transformers(tmp_path, trained, architecture):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

    run = trained(architecture)
    classifier = run.classifier()
    texts = [row["text"] for row in rows_of(run.folder.predictions)]
    texts += [
        "one",
        "a much longer text " * 5,
        "with the literal <|endoftext|> and [SEP] and </s> in it",
        "<|endoftext|>",
    ]
    plain = pipeline(
        "text-classification",
        model=AutoModelForSequenceClassification.from_pretrained(run.folder.model),
        tokenizer=AutoTokenizer.from_pretrained(run.folder.model),
        device="cpu",
    )
    for theirs in (plain(texts, top_k=None, batch_size=8), plain(texts, top_k=None, batch_size=1)):
        for ours, other in zip(classifier(texts, top_k=None), theirs, strict=True):
            assert {x["label"]: x["score"] for x in ours} == pytest.approx(
                {x["label"]: x["score"] for x in other}, abs=1e-5
            )


def test_the_saved_predictions_match_the_classifier(trained):
    run = trained("llama")
    rows = rows_of(run.folder.predictions)
    probs = run.classifier().predict_proba([row["text"] for row in rows])
    written = np.array([[float(row["prob_ham"]), float(row["prob_spam"])] for row in rows])
    assert written == pytest.approx(probs, abs=1e-5)


@pytest.mark.parametrize("trainable", ["head", "last-block", "last-2-blocks", "lora", "gradual"])
def test_every_trainable_part_trains_and_saves(tmp_path, checkpoint, messages, trainable):
    options = {"model": str(checkpoint("gpt2")), "trainable": trainable, "epochs": 2, "learning_rate": 0.01}
    if trainable == "lora":
        options["keep_adapter"] = True
    run = finetext.train(messages, output=tmp_path / "run", **options)
    assert run.classifier()("a text")[0]["label"] in ("ham", "spam")
    assert (run.folder.adapter / "adapter_config.json").is_file() == (trainable == "lora")


@pytest.mark.parametrize("pooling", ["last", "first", "mean"])
def test_every_pooling_trains_and_is_saved_with_the_bundle(tmp_path, checkpoint, messages, pooling):
    run = finetext.train(
        messages, output=tmp_path / "run", model=str(checkpoint("bert")), pooling=pooling, epochs=1
    )
    assert run.classifier().model.settings.pooling == pooling


@pytest.mark.parametrize("long_texts", ["truncate", "head-tail", "windows"])
def test_every_long_text_policy_matches_between_training_and_prediction(
    tmp_path, checkpoint, messages, long_texts
):
    run = finetext.train(
        messages,
        output=tmp_path / "run",
        model=str(checkpoint("gpt2")),
        long_texts=long_texts,
        max_length=6,
        epochs=1,
        precision="fp32",
    )
    rows = rows_of(run.folder.predictions)
    probs = run.classifier().predict_proba([row["text"] for row in rows])
    assert [float(row["prob_spam"]) for row in rows] == pytest.approx(probs[:, 1].tolist(), abs=1e-5)


@pytest.mark.parametrize("balance", ["undersample", "oversample", "weights"])
def test_every_balance_trains(tmp_path, checkpoint, messages, balance):
    run = finetext.train(
        messages, output=tmp_path / "run", model=str(checkpoint("bert")), balance=balance, epochs=1
    )
    examples = run.metrics.examples
    assert (examples["train"] != examples["train_after_balancing"]) == (balance != "weights")


def test_multi_label_data_trains(tmp_path, checkpoint):
    rows = [
        (
            f"text {n} of {'gold' if n % 2 else 'tea'} {'rain' if n % 3 else 'sun'}",
            "|".join(w for w, k in (("gold", n % 2), ("rain", n % 3)) if k) or "none",
        )
        for n in range(60)
    ]
    data = tmp_path / "data.csv"
    with data.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "labels"), *rows])
    run = finetext.train(data, output=tmp_path / "run", model=str(checkpoint("distilbert")), epochs=1)
    assert run.metrics.task == "multi-label"
    answer = run.classifier()("gold and rain", top_k=None)
    assert {entry["label"] for entry in answer} == {"gold", "rain", "none"}
    config = json.loads((run.folder.model / "config.json").read_text())
    assert config["problem_type"] == "multi_label_classification"


def test_two_runs_cannot_use_the_same_folder(tmp_path, checkpoint, messages):
    from finetext.errors import UsageError
    from finetext.runs import RunFolder
    from finetext.training import create_folder

    folder, config = RunFolder(tmp_path / "run"), finetext.TrainConfig()
    create_folder(folder, config)
    with pytest.raises(UsageError, match="--resume"):
        create_folder(folder, config)
    assert folder.config.is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_patience_stops_early(tmp_path, checkpoint, messages):
    run = finetext.train(
        messages,
        output=tmp_path / "run",
        model=str(checkpoint("bert")),
        epochs=30,
        patience=2,
        learning_rate=1e-9,
        metric="log_loss",
        trainable="head",
    )
    steps = len(run.folder.history.read_text().splitlines()) - 1
    per_epoch = -(-run.metrics.examples["train"] // 8)
    assert steps < 30 * per_epoch


def test_trackers_write_what_their_tools_read(tmp_path, checkpoint, messages, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    run = finetext.train(
        messages,
        output=tmp_path / "run",
        model=str(checkpoint("bert")),
        epochs=1,
        track=("tensorboard", "mlflow"),
    )
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = next(run.folder.tracking.rglob("events.out.tfevents.*")).parent
    events = EventAccumulator(str(folder))
    events.Reload()
    history = rows_of(run.folder.history)
    logged = [event.value for event in events.Scalars("train/loss")]
    assert logged == pytest.approx([float(row["loss"]) for row in history], rel=1e-6)
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{run.folder.tracking / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("finetext")
    (stored,) = client.search_runs([experiment.experiment_id])
    losses = client.get_metric_history(stored.info.run_id, "train/loss")
    assert [metric.value for metric in losses] == pytest.approx([float(row["loss"]) for row in history])
    assert stored.data.params["train.epochs"] == "1"


RECIPES = {
    "gpt2-sms-spam": ("gpt2", []),
    "llama-sms-spam": ("llama", []),
    "phi3-mbti": ("phi3", ["--text-column", "text", "--label-column", "label", "--limit", "400"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_the_shipped_recipes_run(tmp_path, checkpoint, recipe):
    if not SHARED.is_dir():
        pytest.skip("needs the shared data sets")
    data = SHARED / "data" / ("mbti_reddit/all.csv" if "mbti" in recipe else "sms_spam/SMSSpamCollection")
    model, extra = RECIPES[recipe]
    path = EXAMPLES / f"{recipe}.toml"
    limit = extra or ["--limit", "300"]
    code = finetext_main(
        "train", data, "--config", path, "--model", checkpoint(model), "--output", tmp_path / "run", *limit
    )
    assert code == 0
    written = tomllib.loads((tmp_path / "run" / "config.toml").read_text())
    recipe_options = tomllib.loads(path.read_text())
    for option in ("epochs", "learning_rate", "optimizer", "metric"):
        assert written["train"][option] == recipe_options["train"][option]


def test_the_installed_command_runs(tmp_path, checkpoint, messages):
    command = [sys.executable, "-m", "finetext", "train", str(messages), "--model", str(checkpoint("bert"))]
    answer = subprocess.run(
        [*command, "--epochs", "1"], cwd=tmp_path, capture_output=True, encoding="utf-8", check=False
    )
    assert answer.returncode == 0, answer.stderr
    (run,) = (tmp_path / "runs").iterdir()
    assert run.name == f"{messages.stem}-bert-1"
    assert "runs/" in answer.stderr
    assert "warning" not in answer.stderr.lower()
