"""Explanations: the weight of a word is measured by leaving it out."""

import io
import json
import re

import numpy as np
import pytest

from finetext.cli import main
from finetext.errors import UsageError
from finetext.inference.explanation import find_spans, log_odds, remove_span


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("don't go, now!", ["don't", "go", ",", "now", "!"]),
        ("win £1,000 at www.gold.com...", ["win", "£1,000", "at", "www.gold.com", "..."]),
        ("नमस्ते दुनिया", ["नमस्ते", "दुनिया"]),
        ("免费 tea", ["免", "费", "tea"]),
        ("  ", []),
    ],
)
def test_texts_are_split_into_words_and_punctuation(text, words):
    assert [text[start:end] for start, end in find_spans(text)] == words


def test_a_long_text_is_left_out_in_groups_of_neighbours():
    text = " ".join(f"w{n}" for n in range(1200))
    spans = find_spans(text)
    assert len(spans) == 400
    assert text[slice(*spans[0])] == "w0 w1 w2" and text[slice(*spans[-1])] == "w1197 w1198 w1199"
    assert len(find_spans(text, limit=7)) <= 7


@pytest.mark.parametrize(
    ("place", "left"),
    [((0, 3), "two, three"), ((4, 7), "one, three"), ((7, 8), "one two three"), ((9, 14), "one two,")],
)
def test_removing_a_word_leaves_no_double_space(place, left):
    assert remove_span("one two, three", *place) == left


def test_log_odds_match_the_probabilities_and_stay_finite():
    logits = np.array([[1.0, 2.0, -0.5], [300.0, 0.0, 0.0]], dtype=np.float32)
    probs = np.exp(logits[0].astype(float))
    probs /= probs.sum()
    np.testing.assert_allclose(log_odds(logits, "multi-class")[0], np.log(probs / (1 - probs)), atol=1e-9)
    assert log_odds(logits, "multi-class")[1, 0] == pytest.approx(300 - np.log(2))
    np.testing.assert_array_equal(log_odds(logits, "multi-label"), logits)


@pytest.mark.parametrize("architecture", ["bert", "gpt2"])
def test_a_weight_is_the_drop_in_log_odds(trained, architecture):
    classifier = trained(architecture).classifier()
    text = "win cash now, tea at four"
    explanation = classifier.explain(text)
    assert explanation.label == classifier(text)[0]["label"]
    assert explanation.score == pytest.approx(classifier(text)[0]["score"], abs=1e-6)
    column = classifier.class_names.index(explanation.label)

    def odds(variant):
        p = float(classifier.predict_proba([variant])[0, column])
        return np.log(p / (1 - p))

    variants = [
        "cash now, tea at four",
        "win now, tea at four",
        "win cash, tea at four",
        "win cash now tea at four",
    ]
    expected = [odds(text) - odds(variant) for variant in variants]
    assert [word.weight for word in explanation.words[:4]] == pytest.approx(expected, abs=1e-3)
    assert [text[word.start : word.end] for word in explanation.words] == [
        word.word for word in explanation.words
    ]
    other = classifier.explain(text, {"ham": "spam", "spam": "ham"}[explanation.label])
    assert [word.weight for word in other.words] == pytest.approx(
        [-w.weight for w in explanation.words], abs=1e-4
    )


def test_a_text_without_words_and_an_unknown_label(trained):
    classifier = trained("bert").classifier()
    assert classifier.explain("  ").words == ()
    assert len(classifier.explain("win").words) == 1
    with pytest.raises(UsageError, match="Did you mean 'spam'"):
        classifier.explain("win", "spamm")
    with pytest.raises(TypeError):
        classifier.explain(["win"])


def test_the_command_prints_the_words_and_writes_them_as_json(trained, capsys, monkeypatch):
    folder = trained("bert").folder.path

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main(["explain", str(folder), *arguments])
        return ended.value.code, capsys.readouterr()

    explanation = trained("bert").classifier().explain("win [b]cash[/b]\r\nnow", "spam")
    code, streams = run("win [b]cash[/b]\r\nnow", "--label", "spam", "--json")
    assert code == 0 and json.loads(streams.out) == explanation.to_dict()
    code, streams = run("win [b]cash[/b]\r\nnow", "--label", "spam", "--top", "2")
    assert code == 0 and "win [b]cash[/b]" in streams.out
    listed = [
        line.split()[0]
        for line in map(str.strip, streams.out.splitlines())
        if re.search(r" [+-]\d\.\d{3}$", line)
    ]
    assert listed == [word.word for word in explanation.strongest(2)]
    monkeypatch.setattr("sys.stdin", io.StringIO("win cash\n"))
    code, streams = run("-", "--json")
    assert code == 0 and json.loads(streams.out) == trained("bert").classifier().explain("win cash").to_dict()
    assert run("-5 degrees")[0] == 0
    assert run("  ")[0] == 2
    assert run("win", "--top", "0")[0] == 2
    assert run("win", "--label", "x")[0] == 2
