"""The classifier returns the same shapes, labels and scores as transformers' text-classification pipeline."""

import numpy as np
import pytest
from transformers import pipeline

import finetext
from finetext.errors import UsageError
from finetext.models import find_model, load_model, save_bundle
from finetext.models.config import ModelConfig

TEXTS = ["win a prize now", "tea at four", "a much longer text about the rain " * 3, "[SEP] <|endoftext|>"]
TASKS = {"binary": ("ham", "spam"), "multi-class": ("a", "b", "c"), "multi-label": ("x", "y", "z")}


@pytest.fixture(scope="module", params=TASKS)
def bundle(request, tmp_path_factory, checkpoint):
    folder = tmp_path_factory.mktemp(request.param) / "bundle"
    source = find_model(str(checkpoint("gpt2")))
    save_bundle(load_model(source, TASKS[request.param], request.param, ModelConfig(), seed=2), folder, {})
    return folder


def same(ours, theirs):
    if isinstance(theirs, dict):
        assert ours["label"] == theirs["label"]
        assert ours["score"] == pytest.approx(theirs["score"], abs=1e-5)
        return
    assert isinstance(ours, list) and len(ours) == len(theirs)
    for our_answer, their_answer in zip(ours, theirs, strict=True):
        same(our_answer, their_answer)


@pytest.mark.parametrize("top_k", [1, 2, None])
@pytest.mark.parametrize("texts", [TEXTS[0], TEXTS[:1], TEXTS], ids=["one", "list of one", "list"])
def test_predictions_match_the_pipeline(bundle, texts, top_k):
    plain = pipeline("text-classification", model=str(bundle), device="cpu")
    classifier = finetext.load(bundle, device="cpu")
    theirs = plain(texts) if top_k == 1 else plain(texts, top_k=top_k)
    same(classifier(texts) if top_k == 1 else classifier(texts, top_k=top_k), theirs)


def test_probabilities_are_an_array(bundle):
    classifier = finetext.load(bundle, device="cpu")
    probs = classifier.predict_proba(TEXTS)
    assert probs.shape == (4, len(classifier.class_names)) and probs.dtype == np.float32
    if classifier.task != "multi-label":
        assert probs.sum(1) == pytest.approx(np.ones(4), abs=1e-6)
        assert classifier.predict(TEXTS) == [(classifier.class_names[i],) for i in probs.argmax(1)]
    else:
        assert [len(labels) for labels in classifier.predict(TEXTS)] == (probs >= 0.5).sum(1).tolist()
    assert classifier([]) == [] and classifier.predict_proba([]).shape == (0, len(classifier.class_names))


@pytest.mark.parametrize("wrong", [None, 3, ["a", 3], [None], b"bytes", {"text": "a"}])
def test_anything_but_text_is_refused(bundle, wrong):
    with pytest.raises(UsageError) as caught:
        finetext.load(bundle, device="cpu")(wrong)
    assert isinstance(caught.value, TypeError)


def test_top_k_below_one_is_refused(bundle):
    with pytest.raises(UsageError, match="top_k"):
        finetext.load(bundle, device="cpu")("a", top_k=0)
