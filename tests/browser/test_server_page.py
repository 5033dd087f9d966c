"""The server's page in a real browser: labels while typing, explanations, models, and a server that is down."""

import re

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings

import servers
from finetext.models import well_formed
from odd_texts import ODD_TEXTS
from pages import (
    answer_line,
    cells,
    choose_file,
    csv_bytes,
    downloaded,
    marked_words,
    put_text,
    strongest_words,
)

expect = pytest.importorskip("playwright.sync_api").expect
pytestmark = pytest.mark.slow

TEXTS = (
    "win a prize, text gold now",
    "are we still on for tea at four? 👩‍👩‍👧‍👦 the rain has stopped",
    "שלום עולם, win مرحبا cash",
    '<script>document.title="taken"</script> <img src=x onerror="document.title=1"> prize',
)


@pytest.mark.parametrize("name", ["clear", "moods"])
def test_labels_and_bars_appear_while_typing(visit, library, name):
    page, classifier = visit(), library(name)
    page.locator("#model").select_option(name)
    asked = []
    page.on("request", lambda request: asked.append(request.url.rpartition("/")[2]))
    for text in ("win a prize", "win a prize now, tea at four"):
        typed = page.locator("#text").input_value()
        page.locator("#text").press_sequentially(text[len(typed) :])
        expect(page.locator("#answer")).to_have_text(answer_line(classifier, text))
        probs = classifier.predict_proba([text])[0]
        rows = page.evaluate(
            "[...document.querySelectorAll('#scores tbody tr')].map(r => [r.className, r.cells[0].textContent,"
            " parseFloat(r.querySelector('.fill').style.width) / 100, r.querySelector('.fill').clientWidth])"
        )
        assigned = classifier.decide(probs)
        assert [(row[0] == "given", row[1]) for row in rows] == [
            (label in assigned, label) for label in classifier.class_names
        ]
        np.testing.assert_allclose([row[2] for row in rows], probs, atol=1e-5)
        whole = page.locator(".bar").first.bounding_box()["width"]
        widths = page.evaluate("[...document.querySelectorAll('.fill')].map(e => e.clientWidth)")
        np.testing.assert_allclose(widths, np.maximum(probs * whole, 1), atol=1)
    assert (
        2 <= asked.count("classify") < 20
    )  # fewer than the 28 letters: the page waits for a pause in typing
    page.locator("#text").fill("  \n")
    expect(page.locator("#answer")).to_have_text("")
    expect(page.locator("#scores")).to_be_hidden()


@pytest.mark.parametrize("text", TEXTS)
def test_explanations_match_the_library(visit, library, text):
    page = visit()
    explanation = library("clear").explain(text)
    put_text(page, text)
    _expect_words(page, explanation)
    other = "ham" if explanation.label == "spam" else "spam"
    page.locator("#explained-label").select_option(f"={other}")
    _expect_words(page, library("clear").explain(text, other))


def test_the_explanation_of_the_label_chosen_last_is_shown(visit, library):
    page, text = visit(), "win a prize, text gold now"
    page.locator("#text").fill(text)
    expect(page.locator("#words-found")).to_be_visible()
    held = []
    page.route("**/explain", lambda route: route.continue_() if held else held.append(route))
    page.locator("#explained-label").select_option("=ham")
    page.locator("#explained-label").select_option("=spam")
    _expect_words(page, library("clear").explain(text, "spam"))
    held[0].continue_()
    page.wait_for_timeout(300)
    _expect_words(page, library("clear").explain(text, "spam"))


def _expect_words(page, explanation):
    expect(page.locator("#words-state")).to_contain_text(f"for {explanation.label}, ")
    marks = "[...document.querySelectorAll('#highlighted mark')].map(m => [m.textContent, m.className])"
    assert page.evaluate(marks) == marked_words(explanation)
    assert page.locator("#highlighted").text_content() == explanation.text
    assert cells(page, "#weights tr") == strongest_words(explanation)


def test_a_long_text_is_explained_on_demand(visit, library):
    page, text = visit(), "win a prize, tea at four " * 50
    put_text(page, text)
    expect(page.locator("#answer")).to_have_text(answer_line(library("clear"), text))
    page.wait_for_timeout(700)
    expect(page.locator("#words-found")).to_be_hidden()
    page.locator("#explain").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#words-found")).to_be_visible()
    expect(page.locator("#explain")).to_be_focused()
    marked = page.evaluate("[...document.querySelectorAll('#highlighted mark')].map(m => m.textContent)")
    assert marked and page.locator("#highlighted").text_content() == text


def test_another_model_can_be_chosen(visit, library):
    page, text = visit(), "win a prize now"
    assert page.locator("#model option").all_text_contents() == ["clear", "moods", "twelve", "run"]
    page.locator("#text").fill(text)
    for name, facts in {"moods": "multi-label, 3 labels", "twelve": "multi-class, 12 labels"}.items():
        page.locator("#model").select_option(name)
        expect(page.locator("#model-facts")).to_have_text(facts)
        expect(page.locator("#answer")).to_have_text(answer_line(library(name), text))
    expect(page.locator("#scores tbody tr")).to_have_count(8)
    page.get_by_text("Show all 12 labels").click()
    probs = library("twelve").predict_proba([text])[0]
    names = [row[0] for row in cells(page, "#scores tbody tr")]
    assert names == [servers.TWELVE[n] for n in np.argsort(-probs, kind="stable")]


def test_markup_in_texts_labels_and_cards_is_shown_as_text(visit, library):
    page, text = visit(), TEXTS[3]
    page.locator("#model").select_option("twelve")
    page.locator("#text").fill(text)
    expect(page.locator("#answer")).to_have_text(answer_line(library("twelve"), text))
    page.locator("#explained-label").select_option(f"={servers.TWELVE[1]}")
    _expect_words(page, library("twelve").explain(text, servers.TWELVE[1]))
    page.locator("#card-part summary").click()
    expect(page.locator("#card h3")).to_have_text(servers.TWELVE[1])
    expect(page.locator("#card p")).to_have_text(
        f"[a link](javascript:{servers.TAKE}) and {servers.TWELVE[0]}"
    )
    name = servers.TWELVE[1]
    choose_file(page, csv_bytes([(name, "<b>&amp;"), (text, servers.TWELVE[0])]), f"{name}.csv")
    page.locator("#named").check()
    page.locator("#start").click()
    expect(page.locator("#file-state")).to_contain_text("Done")
    assert page.locator("#column option").all_text_contents() == [name, "<b>&amp;"]
    expect(page.locator("#file-facts")).to_contain_text(f"{name}.csv: 1 row")
    assert cells(page, "#rows tr")[0][3] == text
    # The fixture `visit` checks at the end that no markup was executed.


def test_unusual_texts_match_the_library(visit, library):
    page, classifier = visit(), library("clear")

    @settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])
    @given(text=ODD_TEXTS)
    @example("n\u0303 ñ ﬁ ½ Å Å \ufeff")
    @example("a\x00b \ud83d x \udc00\r\ny")
    def check(text):
        put_text(page, "")
        expect(page.locator("#answer")).to_have_text("")
        put_text(page, text)
        kept = re.sub(r"\r\n?", "\n", well_formed(text))  # as a text area normalises line ends
        blank = page.evaluate("document.getElementById('text').value.trim() === ''")
        expect(page.locator("#answer")).to_have_text("" if blank else answer_line(classifier, kept))

    check()


def test_a_text_over_the_limit_is_not_sent_and_the_limit_is_shown(visit, library):
    page = visit()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    put_text(page, "x" * 1_000_000)
    expect(page.locator("#text-note")).to_have_text(
        "The text has more than 100,000 characters, which is the server's limit."
    )
    page.wait_for_timeout(300)
    assert not any(url.endswith("/classify") for url in asked)
    put_text(page, "😀" * 100_000)  # exactly the limit, as the server counts characters
    expect(page.locator("#answer")).to_have_text(answer_line(library("clear"), "😀" * 100_000))
    expect(page.locator("#text-note")).to_have_text("")


def test_the_card_and_the_test_metrics_are_shown(visit, trained):
    page, run = visit(), trained("bert")
    page.locator("#model").select_option("run")
    metrics = run.metrics
    rows = {row[0]: row[1:] for row in cells(page, "#figures tbody tr")}
    expect(page.locator("#figures caption").first).to_contain_text("12 test texts")
    rows = {row[0]: row[1:] for row in cells(page, "#figures tbody tr")}
    for name, shown in {"accuracy": "Accuracy", "macro_f1": "Macro-F1", "log_loss": "Log loss"}.items():
        columns = [metrics.test, *metrics.baselines.values()]
        assert [float(cell[:5]) for cell in rows[shown]] == pytest.approx(
            [column.value(name) for column in columns], abs=5.1e-4
        )
    low, high = metrics.test.interval("accuracy")
    assert rows["Accuracy"][0].endswith(f"{low:.3f} to {high:.3f}")
    page.locator("#card-part summary").click()
    card = (run.folder.path / "model" / "README.md").read_text()
    title = re.search(r"^# (.*)$", card, re.MULTILINE).group(1)
    expect(page.locator("#card h3").first).to_have_text(title)
    page.locator("#model").select_option("moods")
    expect(page.locator("#figures table")).to_have_count(0)


def test_a_token_is_asked_for_and_not_stored(visit, bundles, library, tmp_path):
    refused = "Failed to load resource: the server responded with a status of 401 .*"
    with servers.Server(tmp_path / "log", bundles("clear"), token="open-sesame") as server:
        page = visit(server, allowed=refused, ready=False)
        expect(page.locator("#token")).to_be_focused()
        page.locator("#text").fill("win a prize")
        page.locator("#token").fill("шесам")  # not valid in a header
        page.keyboard.press("Enter")
        expect(page.locator("#token-text")).to_contain_text("does not accept this token")
        page.locator("#token").fill("close-sesame")
        with page.expect_response("**/info") as answer:
            page.keyboard.press("Enter")
        assert answer.value.status == 401
        expect(page.locator("#token-text")).to_contain_text("does not accept this token")
        expect(page.locator("#token")).to_be_focused()
        page.locator("#token").fill("open-sesame")
        page.locator("#token-form button").click()
        expect(page.locator("#answer")).to_have_text(answer_line(library("clear"), "win a prize"))
        expect(page.locator("#token-form")).to_be_hidden()
        expect(page.locator("#text")).to_be_focused()
        assert page.locator("#token").input_value() == ""
        assert page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]
        assert "sesame" not in page.url


def test_nothing_is_lost_while_the_server_is_down(visit, bundles, library, tmp_path):
    classifier, model = library("clear"), bundles("clear")
    gone = r"Failed to load resource: (net::ERR_\w+|.* status of 503 .*)"
    texts = [f"{servers.WORDS.split()[n % 15]} prize {n}" for n in range(500)]
    with servers.Server(tmp_path / "first", model) as first:
        page = visit(first, allowed=gone)
        page.locator("#text").fill("win a prize")
        expect(page.locator("#answer")).to_have_text(answer_line(classifier, "win a prize"))
        page.locator("#explained-label").select_option("=ham")
        choose_file(page, csv_bytes([("text",), *((text,) for text in texts)]))
        asked = []

        def die_at_the_third(route):
            asked.append(route)
            if len(asked) == 3:
                first.process.kill()
                first.process.wait()
            route.continue_()

        page.route("**/classify", die_at_the_third)
        page.locator("#start").click()
        expect(page.locator("#file-state")).to_contain_text("Stopped at row 257; the labelled rows are kept.")
        expect(page.locator("#trouble")).to_contain_text(
            "The server does not answer. Nothing you entered is lost"
        )
        expect(page.locator("#shown")).to_have_text("256 rows so far")
        page.unroute("**/classify")
        page.locator("#text").press_sequentially(" now")
        expect(page.locator("#answer")).to_have_text("")  # the label of the previous text would mislead
        expect(page.locator("#text")).to_have_value("win a prize now")
        page.locator("#retry").click()
        expect(page.locator("#trouble")).to_be_visible()
        with servers.Server(tmp_path / "second", model, port=first.port):
            expect(page.locator("#trouble")).to_be_hidden()
            expect(page.locator("#file-state")).to_contain_text("Done: 500 rows labelled by clear.")
            expect(page.locator("#answer")).to_have_text(answer_line(classifier, "win a prize now"))
            expect(page.locator("#explained-label")).to_have_value("=ham")
            _, records = downloaded(page, page.locator("#download").click)
            assert [record[0] for record in records[1:]] == texts
            assert [record[1] for record in records[1:]] == [
                prediction["label"] for prediction in classifier(texts)
            ]
