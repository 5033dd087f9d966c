"""Library, command line, transformers, server and a served export give the same predictions for a text."""

import json
import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import finetext
import servers
from finetext.cli import main
from finetext.inference import export_onnx
from odd_texts import ODD_TEXTS, varied_texts

pytestmark = pytest.mark.slow

COUNT = 1000
LONG = ["tea at four, the rain has stopped. " * 3000, "x " * 45_000]
NAMES = ("ham", "spam")


@pytest.fixture(scope="module")
def exported(bundles, messages, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "onnx"
    export_onnx(bundles("clear"), folder, str(messages))
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory, bundles, exported):
    log = tmp_path_factory.mktemp("log") / "log"
    models = [f"clear={bundles('clear')}", f"onnx={exported}"]
    flags = ["--max-characters=1200000", "--max-body=20000000", "--max-texts=1000"]
    with servers.Server(log, *models, *flags) as running:
        yield running


@pytest.fixture(scope="module")
def texts():
    return varied_texts(COUNT)


def table(predictions):
    """Return the probabilities `(N, C)` and the labels."""
    scores = [
        {entry["label"]: entry["score"] for entry in prediction["scores"]} for prediction in predictions
    ]
    probs = np.array([[by_label[name] for name in NAMES] for by_label in scores])
    return probs, [prediction["label"] for prediction in predictions]


def ask(server, texts, model="clear", **one):
    body = {"texts": texts} if isinstance(texts, list) else {"text": texts}
    status, answer = server.post("/classify", {**body, "model": model}, **one)
    assert status == 200
    return answer["predictions"]


def singly(server, texts, model="clear", clients=8):
    with ThreadPoolExecutor(clients) as pool:
        return [answer[0] for answer in pool.map(lambda text: ask(server, text, model), texts)]


def test_a_thousand_texts_get_the_same_predictions_everywhere(server, bundles, library, texts, tmp_path):
    classifier = library("clear")
    expected = classifier.predict_proba(texts)
    labels = [names[0] for names in classifier.predict(texts)]
    assert len(texts) == COUNT and set(labels) == set(NAMES) and np.ptp(expected[:, 0]) > 0.3

    def check(predictions, order=None):
        probs, predicted = table(predictions)
        order = range(COUNT) if order is None else order
        np.testing.assert_allclose(probs, expected[order], atol=1e-5)
        assert predicted == [labels[n] for n in order]

    check(ask(server, texts))
    alone = [ask(server, text)[0] for text in texts[:100]]  # sequential, so every text is a batch
    check(alone, range(100))
    check(singly(server, texts))
    order = list(range(COUNT))
    random.Random(1).shuffle(order)
    check(ask(server, [texts[n] for n in order]), order)
    check(singly(server, [texts[n] for n in order], clients=16), order)
    beside = [text for short in texts[:100] for text in (short, LONG[len(short) % 2])]
    check(singly(server, beside, clients=16)[::2], range(100))

    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(f"{json.dumps({'text': text})}\n" for text in texts), encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        main(
            ["predict", str(bundles("clear")), "--file", str(source), "--output", str(target), "--all-scores"]
        )
    assert ended.value.code == 0
    rows = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
    read = [n for n in range(COUNT) if texts[n].strip()]  # rows of a file without text have no prediction
    assert [row["predicted"] for row in rows if row["predicted"]] == [labels[n] for n in read]


def test_the_transformers_pipeline_gives_the_same_predictions(server, bundles, texts):
    from transformers import pipeline

    classify = pipeline("text-classification", model=str(bundles("clear")), top_k=None, truncation=True)
    some = [text for text in texts if text][:300]  # transformers cannot batch texts without tokens
    for text, prediction in zip(some, singly(server, some), strict=True):
        theirs = {entry["label"]: entry["score"] for entry in classify([text])[0]}
        ours = {entry["label"]: entry["score"] for entry in prediction["scores"]}
        assert ours == pytest.approx(theirs, abs=1e-5)
        assert prediction["label"] == max(theirs, key=theirs.get)


def test_a_served_export_matches_the_library_and_the_original(server, exported, library, texts):
    served_export = finetext.load(exported)
    expected = served_export.predict_proba(texts)
    np.testing.assert_allclose(expected, library("clear").predict_proba(texts), atol=1e-4)
    for predictions in (ask(server, texts, "onnx"), singly(server, texts, "onnx")):
        probs, labels = table(predictions)
        np.testing.assert_allclose(probs, expected, atol=1e-5)
        assert labels == [names[0] for names in served_export.predict(texts)]
    np.testing.assert_allclose(table(ask(server, texts))[0], expected, atol=1e-4)
    model = {known["name"]: known for known in server.ask("GET", "/info")[2]["models"]}["onnx"]
    assert model["device"] == "cpu" and model["labels"] == list(NAMES)


@settings(max_examples=150)
@given(texts=st.lists(ODD_TEXTS, min_size=1, max_size=4), escape=st.booleans())
def test_unusual_texts_match_the_library(server, library, texts, escape):
    content = json.dumps({"texts": texts}, ensure_ascii=True).encode()
    if not escape and not any("\ud800" <= character <= "\udfff" for text in texts for character in text):
        content = json.dumps({"texts": texts}, ensure_ascii=False).encode()
    status, answer = server.post("/classify", content)
    assert status == 200
    np.testing.assert_allclose(
        table(answer["predictions"])[0], library("clear").predict_proba(texts), atol=1e-5
    )


@pytest.mark.parametrize("unit", ["tea at four ", "\x00", "👩‍👧", "שלום", "\ud83d", "x"], ids=ascii)
def test_a_text_of_a_megabyte_matches_the_library(server, library, unit):
    text = unit * (1_000_000 // len(unit))
    probs = table(ask(server, [text, "tea"]))[0]
    np.testing.assert_allclose(probs, library("clear").predict_proba([text, "tea"]), atol=1e-5)
