"""The server's responses match the library and the documented schemas, whatever else is in a batch."""

import json
import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import servers
from finetext.serving import schemas

NAMES = ("spam", "careful", "moods", "windows", "fragile")
TEXTS = [
    "win a prize now",
    "tea at four",
    "",
    " ",
    "a\x00b\n\r\t\x7f",
    "[SEP] [CLS] <|endoftext|> </s>",
    "\u202eabc\u200b\ufeff \U0001f4a9 ʻokina ЖЖЖ 日本語",
    "half of a pair \ud83d and the other \udca9",
    "the rain has stopped " * 2000,
    *(f"message number {n} " * (n % 23 + 1) for n in range(40)),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory, bundles):
    models = [f"{name}={bundles(name)}" for name in NAMES]
    log = tmp_path_factory.mktemp("log") / "log"
    with servers.Server(log, *models, "--max-wait-ms", "5") as running:
        yield running


def probs_of(prediction, names):
    scores = {entry["label"]: entry["score"] for entry in prediction["scores"]}
    assert list(scores.values()) == sorted(scores.values(), reverse=True)
    return [scores[name] for name in names]


@pytest.mark.parametrize("name", ["spam", "careful", "moods", "windows"])
def test_probabilities_and_decisions_match_the_library(server, library, name):
    classifier = library(name)
    status, answer = server.post("/classify", {"texts": TEXTS, "model": name})
    assert status == 200 and answer["model"] == name
    expected = classifier.predict_proba(TEXTS)
    probs = [probs_of(prediction, classifier.class_names) for prediction in answer["predictions"]]
    np.testing.assert_allclose(probs, expected, atol=1e-5)
    assert [tuple(prediction["labels"]) for prediction in answer["predictions"]] == classifier.predict(TEXTS)
    for prediction in answer["predictions"]:
        assert prediction["label"] in (prediction["labels"] or [None])
        if prediction["label"] is not None:
            assert prediction["score"] == probs_of(prediction, [prediction["label"]])[0]
    schemas.ClassifyResponse.model_validate(answer, strict=True)


def test_abstention_gives_null(server, library):
    answer = server.post("/classify", {"texts": TEXTS, "model": "careful"})[1]["predictions"]
    labels = [prediction["label"] for prediction in answer]
    assert None in labels and set(labels) != {None}
    assert all((prediction["label"] is None) == (prediction["score"] < 0.6) for prediction in answer)
    assert [prediction["label"] for prediction in library("careful")(TEXTS)] == labels


@pytest.mark.parametrize("name", ["spam", "windows", "careful"])
def test_other_texts_in_a_batch_do_not_change_a_prediction(server, library, name):
    classifier = library(name)
    texts = TEXTS + ["x " * 40_000] * 2
    expected = dict(zip(texts, classifier.predict_proba(texts), strict=True))
    order = texts * 3
    random.Random(0).shuffle(order)

    def ask(text):
        status, answer = server.post("/classify", {"text": text, "model": name})
        assert status == 200
        return probs_of(answer["predictions"][0], classifier.class_names)

    before = server.metrics()
    with ThreadPoolExecutor(16) as pool:
        probs = list(pool.map(ask, order))
    np.testing.assert_allclose(probs, [expected[text] for text in order], atol=1e-5)
    after = server.metrics()
    batches, batched = (
        after[f'finetext_batch_texts_{what}{{model="{name}"}}']
        - before.get(f'finetext_batch_texts_{what}{{model="{name}"}}', 0)
        for what in ("count", "sum")
    )
    assert batched == len(order) > batches  # some requests did share a batch


def test_top_k_limits_the_scores_only(server):
    whole = server.post("/classify", {"text": "tea at four", "model": "moods"})[1]["predictions"][0]
    cut = server.post("/classify", {"text": "tea at four", "model": "moods", "top_k": 2})[1]["predictions"][0]
    assert cut == {**whole, "scores": whole["scores"][:2]} and len(whole["scores"]) == 3
    many = server.post("/classify", {"texts": ["tea"], "model": "moods", "top_k": 10**30})[1]
    assert len(many["predictions"][0]["scores"]) == 3


def test_an_empty_list_has_no_predictions(server):
    assert server.post("/classify", {"texts": []}) == (200, {"model": "spam", "predictions": []})


@pytest.mark.parametrize("name", ["spam", "moods"])
def test_predict_responds_like_text_embeddings_inference(server, library, name):
    classifier = library(name)

    def expected(text):
        ranked = sorted(
            zip(classifier.predict_proba([text])[0], classifier.class_names, strict=True), reverse=True
        )
        return [{"score": pytest.approx(float(score), abs=1e-5), "label": label} for score, label in ranked]

    one, two = TEXTS[:2]
    assert server.post("/predict", {"inputs": one, "model": name}) == (200, expected(one))
    assert server.post("/predict", {"inputs": [one], "model": name}) == (200, expected(one))
    assert server.post("/predict", {"inputs": [[one], [two]], "model": name}) == (
        200,
        [expected(one), expected(two)],
    )
    assert server.post("/predict", {"inputs": one, "model": name, "parameters": {}})[0] == 200
    raw = server.post("/predict", {"inputs": one, "model": name, "raw_scores": True})[1]
    logits = classifier.logits([one])[0]
    assert {entry["label"]: entry["score"] for entry in raw} == pytest.approx(
        dict(zip(classifier.class_names, logits.tolist(), strict=True)), abs=1e-4
    )
    if name == "moods":
        sigmoid = 1 / (1 + np.exp(-logits))
        scores = {
            entry["label"]: entry["score"]
            for entry in server.post("/predict", {"inputs": one, "model": name})[1]
        }
        np.testing.assert_allclose([scores[label] for label in classifier.class_names], sigmoid, atol=1e-5)


@pytest.mark.parametrize(
    "inputs",
    [["a", "b"], ["a", "b", "c"], [], [[]], [["a", "b"]], [["a"], "b"], ["a", ["b"]], 3, None, {"a": 1}],
)
def test_pairs_and_malformed_inputs_are_refused(server, inputs):
    status, answer = server.post("/predict", {"inputs": inputs})
    assert status == 422 and answer["error_type"] == "Validation"


def test_truncate_false_refuses_texts_that_are_too_long(server):
    long = {"inputs": "the rain " * 100, "truncate": False}
    status, answer = server.post("/predict", long)
    assert status == 422 and answer["limit"] == {"name": "max_length", "value": 64}
    assert "202 tokens" in answer["error"]
    assert server.post("/predict", {**long, "truncate": True})[0] == 200
    assert server.post("/predict", {**long, "model": "windows"})[0] == 200  # windows need no truncation
    assert server.post("/predict", {"inputs": "the rain", "truncate": False})[0] == 200


def test_models_are_addressed_by_name_never_by_path(server, bundles):
    assert server.post("/classify", {"text": "a"})[1]["model"] == "spam"
    for name in (str(bundles("spam")), "../spam", "", "SPAM", "\ud83d"):
        status, answer = server.post("/classify", {"text": "a", "model": name})
        assert status == 422 and answer["error"] == f"No such model. Available: {', '.join(NAMES)}."


def test_a_failing_text_fails_no_other_request(server):
    def ask(text):
        return server.post("/classify", {"text": text, "model": "fragile"})

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, ["tea", "zebra", "the rain", "a prize"] * 10))
    assert [status for status, _ in answers] == [200, 500, 200, 200] * 10
    assert answers[1][1] == {"error": "The server failed on this request.", "error_type": "Backend"}
    status, answer = server.post("/classify", {"texts": ["tea", "zebra"], "model": "fragile"})
    assert status == 500 and "zebra" not in json.dumps(answer)


@settings(max_examples=60)
@given(texts=st.lists(st.text(st.characters(exclude_categories=()), max_size=200), min_size=1, max_size=5))
def test_probabilities_of_any_text_match_the_library(server, library, texts):
    status, answer = server.post("/classify", {"texts": texts})
    assert status == 200
    probs = [probs_of(prediction, ("ham", "spam")) for prediction in answer["predictions"]]
    np.testing.assert_allclose(probs, library("spam").predict_proba(texts), atol=1e-5)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
BODY = JSON | st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        ["text", "texts", "inputs", "top_k", "model", "truncate", "raw_scores", "\ud83d"], JSON
    ),
)


@pytest.fixture(scope="module")
def documented(server):
    schema = server.ask("GET", "/openapi.json")[2]
    return {
        (method.upper(), path): {int(status) for status in operation["responses"]}
        for path, operations in schema["paths"].items()
        for method, operation in operations.items()
    }


@settings(max_examples=120)
@given(path=st.sampled_from(["/classify", "/predict"]), body=BODY)
def test_any_json_gets_a_documented_response(server, documented, path, body):
    status, answer = server.post(path, body)
    assert status in documented["POST", path] - {500}
    if status != 200:
        schemas.ErrorResponse.model_validate(answer, strict=True)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"[" * 100_000, 400),
        (b"[" * 100_000 + b"]" * 100_000, 400),
        (b'{"texts":' * 100_000, 400),
        (b'{"text": "a", "top_k": ' + b"9" * 5000 + b"}", 400),
        (b'{"text": "a", "top_k": NaN}', 422),
        (b'{"text": "a", "top_k": true}', 422),
        (b'{"text": "a", "top_k": 1.5}', 422),
        (b'{"text": "a", "top_k": 0}', 422),
        (b'{"text": "a", "texts": ["b"]}', 422),
        (b'{"text": "a", "topk": 1}', 422),
        (b"{}", 422),
        (b"", 422),
        (b"null", 422),
        (b'"text"', 422),
        (b'{"text": "\xff\xfe"}', 400),
        (b'{"text": "a"', 400),
        (b'{"text": "a"} x', 400),
        (b'{"text": "\x00"}', 400),
        (b'{"text": "\\u0000"}', 200),
        (b'{"text": "\\ud800\\u0041\\udfff"}', 200),
        (b'{"text": "b", "text": "a"}', 200),
        (b'{"texts": [' + b"1," * 500_000 + b"1]}", 422),
        (b'{"texts": [' + b'"",' * 300 + b'""]}', 422),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_malformed_bodies_get_an_error_that_reveals_no_internals(server, documented, body, status):
    actual, headers, answer = server.ask("POST", "/classify", body)
    assert actual == status and status in documented["POST", "/classify"]
    assert headers["Content-Type"] == "application/json"
    if status != 200:
        schemas.ErrorResponse.model_validate(answer, strict=True)
        assert not any(
            word in json.dumps(answer) for word in ("Traceback", 'Error"', ".py", "/tmp", "pydantic")
        )


def test_every_route_is_documented_and_responds(server, documented):
    assert set(documented) == {
        *(("POST", path) for path in ("/classify", "/explain", "/predict")),
        *(("GET", path) for path in ("/health", "/ready", "/info", "/card", "/metrics")),
    }
    assert server.ask("GET", "/health")[2] == {"status": "alive"}
    assert server.ask("GET", "/ready")[2] == {"status": "ready"}
    for method, path, status, message in (
        ("GET", "/nothing", 404, "Not found."),
        ("PUT", "/classify", 405, "Method not allowed."),
    ):
        actual, _, answer = server.ask(method, path, None if method == "GET" else {})
        assert (actual, answer["error"]) == (status, message)
    assert server.ask("GET", "/static/page.css")[0] == 200
    assert server.ask("GET", "/static/../app.py")[0] == 404
    assert server.ask("GET", "/static/%2e%2e/app.py")[0] == 404


def test_pages_load_nothing_from_other_hosts_and_every_response_has_the_security_headers(server):
    for method, path in (
        ("GET", "/docs"),
        ("GET", "/openapi.json"),
        ("GET", "/nothing"),
        ("GET", "/metrics"),
        ("POST", "/classify"),
        ("GET", "/static/page.css"),
        ("GET", "/"),
    ):
        status, headers, _ = server.ask(method, path)
        assert status < 500
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'") and "unsafe" not in policy and "http" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "Access-Control-Allow-Origin" not in headers and "Server" not in headers
    page = server.ask("GET", "/docs")[2]
    assert "/classify" in page and "script" not in page and 'src="' not in page


def test_info_lists_labels_limits_and_thresholds(server, documented):
    info = server.ask("GET", "/info")[2]
    schemas.Info.model_validate(info, strict=True)
    assert info["default_model"] == "spam" and [model["name"] for model in info["models"]] == list(NAMES)
    by_name = {model["name"]: model for model in info["models"]}
    assert by_name["moods"]["thresholds"] == [0.4, 0.5, 0.6] and by_name["moods"]["task"] == "multi-label"
    assert by_name["careful"]["abstain_below"] == 0.6 and by_name["careful"]["labels"] == ["x", "y", "z"]
    assert by_name["windows"]["max_length"] == 64 and info["limits"]["max_texts"] == 256
    assert "/" not in json.dumps(info)


def test_the_log_is_json_without_texts(server):
    secret = "XYZZYSECRET"
    asked = server.ask("POST", "/classify", {"text": f"tea {secret}"})
    server.post("/classify", {"text": secret, "model": "fragile"})
    server.post("/classify", {"text": secret, "model": secret})
    server.post("/classify", {secret: secret})
    server.ask("GET", f"/{secret}?text={secret}", headers={"User-Agent": secret, "Origin": secret})
    last = server.ask("POST", "/classify", f'{{"text": "{secret}'.encode())
    line = server.request_line(asked[1])
    server.request_line(last[1])
    assert secret not in server.log.read_text()
    assert server.lines()  # every line is JSON
    assert (line["route"], line["status"], line["model"], line["texts"]) == ("/classify", 200, "spam", 1)
    assert line["characters"] == len(f"tea {secret}") and line["ms"] > 0
