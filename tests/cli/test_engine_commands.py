"""`cache`, `probe`, and what `train` reports about frozen layers and depth."""

import dataclasses
import json

import pytest

import finetext
from finetext.cli.app import main
from finetext.training import TrainConfig, override, prepare, score_depths


def run(*words):
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return ended.value.code or 0


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("FINETEXT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_a_second_run_reuses_the_cached_activations(tmp_path, home, checkpoint, messages, capfd):
    command = ["train", messages, "--model", checkpoint("gpt2"), "--trainable", "last-block", "--epochs", "1"]
    assert run(*command, "--output", tmp_path / "a") == 0
    first = capfd.readouterr().err
    assert "layers 1 to 1 of 2 frozen: ran once for" in first and "probe init" in first
    assert run(*command, "--output", tmp_path / "b", "--seed", "7") == 0
    assert "found in the cache" in capfd.readouterr().err
    environment = json.loads((tmp_path / "b" / "environment.json").read_text())
    assert environment["features"]["computed_tokens"] == 0 and environment["features"]["cut"] == 1


def test_the_cache_is_listed_and_cleared(tmp_path, home, checkpoint, messages, capfd):
    assert run("cache") == 0
    assert "0.00 GB of at most" in capfd.readouterr().err
    finetext.train(
        messages, output=tmp_path / "run", model=str(checkpoint("gpt2")), epochs=1, trainable="last-block"
    )
    capfd.readouterr()
    assert run("cache") == 0
    listed = capfd.readouterr().out
    assert "GPT2ForSequenceClassification" in listed and " 60 " in listed
    assert run("cache", "clear", "nothing") == 2
    assert "nothing is cached under 'nothing'" in capfd.readouterr().err
    assert run("cache", "clear") == 0
    assert "MB freed" in capfd.readouterr().err
    assert not list((home / "features").glob("*/*.bin"))


@pytest.mark.parametrize("architecture", ["gpt2", "roberta", "llama"])
def test_probe_prints_and_plots_every_depth(tmp_path, home, checkpoint, messages, capfd, architecture):
    words = ["probe", messages, "--model", checkpoint(architecture)]
    assert run(*words, "--plot", tmp_path / "depths.svg", "--json", tmp_path / "depths.json") == 0
    printed = capfd.readouterr().out
    assert "Linear probe by depth" in printed and "--depth" in printed
    depths = json.loads((tmp_path / "depths.json").read_text())["depths"]
    assert [score["depth"] for score in depths] == [1, 2]
    assert depths[0]["parameters"] < depths[1]["parameters"]
    assert "<svg" in (tmp_path / "depths.svg").read_text()


def test_probe_refuses_unknown_image_formats_and_models_without_depths(checkpoint, messages, capfd):
    assert run("probe", messages, "--plot", "depths.txt") == 2
    assert ".svg" in capfd.readouterr().err
    assert run("probe", messages, "--model", checkpoint("albert")) != 0
    assert "no separate layer" in capfd.readouterr().err


@pytest.mark.parametrize("architecture", ["gpt2", "bert", "gemma3_text", "modernbert", "distilbert"])
def test_transformers_loads_a_model_of_reduced_depth(tmp_path, checkpoint, messages, architecture):
    from transformers import AutoModelForSequenceClassification, pipeline

    options = {"model": str(checkpoint(architecture)), "depth": 1, "epochs": 1, "precision": "fp32"}
    run = finetext.train(messages, output=tmp_path / "run", **options)
    plain = AutoModelForSequenceClassification.from_pretrained(run.folder.model)
    assert plain.config.get_text_config().num_hidden_layers == 1
    answer = pipeline("text-classification", model=str(run.folder.model), device="cpu")("win a prize")[0]
    # The tiny models' wide weights magnify float32's rounding; another layer would change the first digit.
    assert answer["score"] == pytest.approx(run.classifier()("win a prize")[0]["score"], abs=1e-4)


def test_depth_auto_is_recorded_as_the_chosen_depth(tmp_path, checkpoint, messages):
    run = finetext.train(
        messages, output=tmp_path / "run", model=str(checkpoint("bert")), depth="auto", epochs=1
    )
    assert run.config.model.depth in (1, 2)
    assert f"depth = {run.config.model.depth}" in run.folder.config.read_text()


def test_depth_auto_does_not_read_the_test_split(checkpoint, messages, monkeypatch):
    setup = prepare(override(TrainConfig(), {"source": str(messages), "model": str(checkpoint("bert"))}))
    unlabelled = dataclasses.replace(setup.splits, test=None)
    encoded = []
    monkeypatch.setattr(setup.model, "encode", lambda texts: encoded.extend(texts) or [])
    scores = score_depths(dataclasses.replace(setup, splits=unlabelled))
    assert [list(score.metrics) for score in scores] == [["validation"], ["validation"]]
    assert encoded == []


def test_a_depth_that_the_model_does_not_have_is_refused(tmp_path, checkpoint, messages, capfd):
    words = ["train", messages, "--model", checkpoint("bert"), "--output", tmp_path / "run"]
    assert run(*words, "--depth", "9") == 2
    assert "the model has 2 layers" in capfd.readouterr().err
    assert run(*words, "--depth", "deep") == 2


def test_an_invalid_cache_limit_is_refused(tmp_path, messages, capfd):
    assert run("train", messages, "--cache-limit", "much", "--output", tmp_path / "run") == 2
    assert "20GB" in capfd.readouterr().err


@pytest.mark.parametrize("architecture", ["bert", "roberta", "distilbert", "gpt2", "llama", "modernbert"])
def test_the_linear_probe_initialisation_is_kept_if_no_step_is_better(
    tmp_path, checkpoint, messages, architecture
):
    options = {"model": str(checkpoint(architecture)), "trainable": "last-block", "precision": "fp32"}
    probed = finetext.train(messages, output=tmp_path / "run", epochs=1, learning_rate=1e-9, **options)
    fresh = finetext.train(
        messages, output=tmp_path / "fresh", epochs=1, learning_rate=1e-9, head_start="none", **options
    )
    assert probed.metrics.best.step == 0
    assert probed.metrics.validation.log_loss < fresh.metrics.validation.log_loss
