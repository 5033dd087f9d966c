"""`finetext baseline`: the splits of `train`, every baseline with its figures and its cost."""

import json

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from finetext.cli.app import main
from finetext.errors import UsageError
from finetext.evaluation import MAJORITY, TFIDF
from finetext.experiments import measure_baselines
from finetext.models import mean_vectors
from finetext.training import TrainConfig, override
from finetext.training.baselines import FROZEN, ZERO_SHOT, frozen_features_baseline
from finetext.training.inputs import cache_frozen_layers
from finetext.training.setup import prepare


def run(*words):
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return ended.value.code or 0


def test_a_causal_model_gives_every_baseline(tmp_path, checkpoint, messages, capfd):
    path = tmp_path / "baselines.json"
    words = ["baseline", messages, "--model", checkpoint("gpt2"), "--generate", "2", "--json", path]
    assert run(*words) == 0
    printed = capfd.readouterr().out
    for line in (MAJORITY, TFIDF, FROZEN, ZERO_SHOT, "1,000 texts, s", "What the model writes"):
        assert line in printed
    found = json.loads(path.read_text())
    assert list(found["baselines"]) == [MAJORITY, TFIDF, FROZEN, ZERO_SHOT]
    assert found["baselines"][ZERO_SHOT]["train_seconds"] == 0
    assert all(own["seconds_per_1000_texts"] > 0 for own in found["baselines"].values())
    low, high = found["baselines"][FROZEN]["intervals"]["log_loss"]
    assert low <= found["baselines"][FROZEN]["log_loss"] <= high
    assert "'spam'" in found["questions"][0]["template"] and len(found["written"]) == 2


def test_an_encoder_is_told_of_and_the_rest_still_runs(checkpoint, messages, capfd):
    assert run("baseline", messages, "--model", checkpoint("bert"), "--model", checkpoint("llama")) == 0
    out, err = capfd.readouterr()
    assert "needs a causal language model" in err
    assert out.count(FROZEN) == 4 and out.count(ZERO_SHOT) == 2  # in two tables


def test_the_figures_are_those_of_train(trained, checkpoint, messages):
    found = measure_baselines(messages, models=[str(checkpoint("bert"))])
    beside = trained("bert").metrics.baselines
    for own in found.results[:2]:
        assert own.metrics.confusion == beside[own.name].confusion
        assert own.metrics.accuracy == beside[own.name].accuracy


def test_a_run_stands_beside_what_its_own_model_answers_when_asked(tmp_path, checkpoint, messages, capfd):
    words = ["--model", checkpoint("gpt2"), "--epochs", "1"]
    assert run("train", messages, *words, "--zero-shot", "--output", tmp_path / "run") == 0
    assert f"Against {ZERO_SHOT}: " in capfd.readouterr().out
    own = json.loads((tmp_path / "run" / "metrics.json").read_text())["baselines"]
    assert run("baseline", messages, *words[:2], "--json", tmp_path / "alone.json") == 0
    alone = json.loads((tmp_path / "alone.json").read_text())["baselines"]
    assert own[ZERO_SHOT]["confusion"] == alone[ZERO_SHOT]["confusion"]
    assert own[ZERO_SHOT]["log_loss"] == pytest.approx(alone[ZERO_SHOT]["log_loss"], rel=1e-4)
    assert ZERO_SHOT in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


def test_an_encoder_that_should_be_asked_is_refused_before_any_work(tmp_path, checkpoint, messages, capfd):
    words = ["--model", checkpoint("bert"), "--zero-shot", "--output", tmp_path / "run"]
    assert run("train", messages, *words) == 2
    assert "needs a causal language model" in capfd.readouterr().err and not (tmp_path / "run").exists()


def test_mistakes_in_the_prompt_are_usage_errors(checkpoint, messages, capfd):
    words = ["baseline", messages, "--model", checkpoint("gpt2")]
    assert run(*words, "--prompt", "without a place") == 2
    assert "{text}" in capfd.readouterr().err
    assert run(*words, "--label-words.spam", "yes") == 2
    assert "no word for 'ham'" in capfd.readouterr().err


def test_own_words_and_prompt_are_asked(checkpoint, messages):
    words = {"ham": "fine", "spam": "junk"}
    found = measure_baselines(
        messages, models=[str(checkpoint("gpt2"))], prompt="{text} =>", label_words=words
    )
    assert found.questions[0].template == "{text} =>" and found.questions[0].words == ("fine", "junk")


def test_several_labels_are_asked_one_by_one(tmp_path, checkpoint):
    lines = [f"message number {n},{['a', 'b', 'a|b', ''][n % 4]}" for n in range(80)]
    path = tmp_path / "data.csv"
    path.write_text("\n".join(["text,label", *lines]))
    found = measure_baselines(path, models=[str(checkpoint("llama"))])
    assert found.task == "multi-label" and len(found.questions) == 2
    assert found.results[-1].name == ZERO_SHOT and found.results[-1].metrics.hamming_loss is not None


def test_no_model_is_refused(messages):
    with pytest.raises(UsageError, match="--model"):
        measure_baselines(messages, models=[])


@pytest.mark.parametrize("trainable", ["last-block", "head", "all"])
def test_frozen_features_are_about_as_good_as_scikit_learns(checkpoint, tmp_path, trainable):
    random = np.random.default_rng(0)
    words = {"a": "win prize gold cash now".split(), "b": "tea rain home later day".split()}
    rows = [
        " ".join(random.choice(words["ab"[n % 2]] + words["ba"[n % 2]][:3], 6)) + f" {n},{'ab'[n % 2]}"
        for n in range(300)
    ]
    path = tmp_path / "data.csv"
    path.write_text("\n".join(["text,label", *rows]))
    options = {
        "source": str(path),
        "model": str(checkpoint("bert")),
        "trainable": trainable,
        "precision": "fp32",
    }
    job = prepare(override(TrainConfig(), options))
    found = frozen_features_baseline(job)
    if trainable == "all":
        parts = [
            mean_vectors(job.model, e, 1).numpy()
            for e in (job.encoded, job.model.encode(job.splits.test.texts))
        ]
        scaler = StandardScaler().fit(parts[0])
        reference = LogisticRegression(max_iter=1000).fit(scaler.transform(parts[0]), job.targets(job.train))
        accuracy = reference.score(scaler.transform(parts[1]), job.targets(job.splits.test))
        assert 0.55 < accuracy and found.metrics.accuracy == pytest.approx(accuracy, abs=0.05)
        return
    inputs = cache_frozen_layers(job)
    assert inputs.stored == "fp32"
    stored = frozen_features_baseline(job, inputs)
    assert stored.metrics.log_loss == pytest.approx(found.metrics.log_loss, rel=1e-3)
    assert stored.metrics.accuracy == pytest.approx(found.metrics.accuracy, abs=0.02)
