"""`finetext baseline` prints the metrics and cost of every baseline, on the same splits as `train`."""

import json

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from finetext.cli.app import main
from finetext.errors import UsageError
from finetext.evaluation import MAJORITY, TFIDF
from finetext.experiments import evaluate_baselines
from finetext.models import mean_vectors
from finetext.training import (
    ZERO_SHOT,
    TrainConfig,
    cache_frozen_layers,
    frozen_features_baseline,
    override,
    prepare,
)
from finetext.training.baselines import FROZEN


def run(*words):
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return ended.value.code or 0


def test_a_causal_model_is_evaluated_by_every_baseline(tmp_path, checkpoint, messages, capfd):
    path = tmp_path / "baselines.json"
    words = ["baseline", messages, "--model", checkpoint("gpt2"), "--generate", "2", "--json", path]
    assert run(*words) == 0
    printed = capfd.readouterr().out
    for line in (MAJORITY, TFIDF, FROZEN, ZERO_SHOT, "1,000 texts, s", "What the model writes"):
        assert line in printed
    report = json.loads(path.read_text())
    baselines = report["baselines"]
    assert list(baselines) == [MAJORITY, TFIDF, FROZEN, ZERO_SHOT]
    assert baselines[ZERO_SHOT]["train_seconds"] == 0
    assert all(baseline["seconds_per_1000_texts"] > 0 for baseline in baselines.values())
    low, high = baselines[FROZEN]["intervals"]["log_loss"]
    assert low <= baselines[FROZEN]["log_loss"] <= high
    assert "'spam'" in report["questions"][0]["template"] and len(report["written"]) == 2


def test_zero_shot_is_skipped_for_an_encoder_with_a_note(checkpoint, messages, capfd):
    assert run("baseline", messages, "--model", checkpoint("bert"), "--model", checkpoint("llama")) == 0
    out, err = capfd.readouterr()
    assert "needs a causal language model" in err
    assert out.count(FROZEN) == 4 and out.count(ZERO_SHOT) == 2  # in two tables


def test_simple_baselines_match_those_of_train(trained, checkpoint, messages):
    result = evaluate_baselines(messages, models=[str(checkpoint("bert"))])
    of_run = trained("bert").metrics.baselines
    for baseline in result.results[:2]:
        assert baseline.metrics.confusion == of_run[baseline.name].confusion
        assert baseline.metrics.accuracy == of_run[baseline.name].accuracy


def test_train_compares_with_zero_shot_prompting_of_its_model(tmp_path, checkpoint, messages, capfd):
    words = ["--model", checkpoint("gpt2"), "--epochs", "1"]
    assert run("train", messages, *words, "--zero-shot", "--output", tmp_path / "run") == 0
    assert f"Against {ZERO_SHOT}: " in capfd.readouterr().out
    of_run = json.loads((tmp_path / "run" / "metrics.json").read_text())["baselines"]
    assert run("baseline", messages, *words[:2], "--json", tmp_path / "alone.json") == 0
    alone = json.loads((tmp_path / "alone.json").read_text())["baselines"]
    assert of_run[ZERO_SHOT]["confusion"] == alone[ZERO_SHOT]["confusion"]
    assert of_run[ZERO_SHOT]["log_loss"] == pytest.approx(alone[ZERO_SHOT]["log_loss"], rel=1e-4)
    assert ZERO_SHOT in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


def test_train_refuses_zero_shot_of_an_encoder_before_any_work(tmp_path, checkpoint, messages, capfd):
    words = ["--model", checkpoint("bert"), "--zero-shot", "--output", tmp_path / "run"]
    assert run("train", messages, *words) == 2
    assert "needs a causal language model" in capfd.readouterr().err and not (tmp_path / "run").exists()


def test_prompt_mistakes_are_usage_errors(checkpoint, messages, capfd):
    words = ["baseline", messages, "--model", checkpoint("gpt2")]
    assert run(*words, "--prompt", "without a place") == 2
    assert "{text}" in capfd.readouterr().err
    assert run(*words, "--label-words.spam", "yes") == 2
    assert "no word for 'ham'" in capfd.readouterr().err


def test_a_custom_prompt_and_label_words_are_used(checkpoint, messages):
    words = {"ham": "fine", "spam": "junk"}
    result = evaluate_baselines(
        messages, models=[str(checkpoint("gpt2"))], prompt="{text} =>", label_words=words
    )
    question = result.questions[0]
    assert question.template == "{text} =>" and question.words == ("fine", "junk")


def test_multi_label_asks_one_question_per_label(tmp_path, checkpoint):
    lines = [f"message number {n},{['a', 'b', 'a|b', ''][n % 4]}" for n in range(80)]
    path = tmp_path / "data.csv"
    path.write_text("\n".join(["text,label", *lines]))
    result = evaluate_baselines(path, models=[str(checkpoint("llama"))])
    assert result.dataset.task == "multi-label" and len(result.questions) == 2
    assert result.results[-1].name == ZERO_SHOT and result.results[-1].metrics.hamming_loss is not None


def test_a_missing_model_is_refused(messages):
    with pytest.raises(UsageError, match="--model"):
        evaluate_baselines(messages, models=[])


@pytest.mark.parametrize("trainable", ["last-block", "head", "all"])
def test_the_frozen_features_baseline_is_close_to_scikit_learn(checkpoint, tmp_path, trainable):
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
    setup = prepare(override(TrainConfig(), options))
    baseline = frozen_features_baseline(setup)
    if trainable == "all":
        parts = [
            mean_vectors(setup.model, e, 1).numpy()
            for e in (setup.encoded, setup.model.encode(setup.splits.test.texts))
        ]
        scaler = StandardScaler().fit(parts[0])
        reference = LogisticRegression(max_iter=1000).fit(
            scaler.transform(parts[0]), setup.targets(setup.train)
        )
        accuracy = reference.score(scaler.transform(parts[1]), setup.targets(setup.splits.test))
        assert 0.55 < accuracy and baseline.metrics.accuracy == pytest.approx(accuracy, abs=0.05)
        return
    inputs = cache_frozen_layers(setup)
    assert inputs.stored == "fp32"
    stored = frozen_features_baseline(setup, inputs)
    assert stored.metrics.log_loss == pytest.approx(baseline.metrics.log_loss, rel=1e-3)
    assert stored.metrics.accuracy == pytest.approx(baseline.metrics.accuracy, abs=0.02)
