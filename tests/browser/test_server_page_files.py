"""The server's page in a real browser: files are labelled, filtered, sorted, paged through and downloaded."""

import base64
import socket

import numpy as np
import pytest

import servers
from odd_texts import varied_texts
from pages import answer_line, cells, choose_file, csv_bytes, downloaded, percent

expect = pytest.importorskip("playwright.sync_api").expect
pytestmark = pytest.mark.slow

COUNT = 1000
LONG = ["tea at four, the rain has stopped. " * 2800, "x " * 45_000, "😀" * 99_000]
FORMULAS = ["=1+1", "+49 30 1", "-2", "@SUM(A1)", "\tx", "＝1"]
COLUMNS = ["id", "text", "=cmd|' /C calc'!A0", "score"]


@pytest.fixture(scope="module")
def texts():
    """A thousand texts that a CSV file can hold, some of them very long."""
    texts = [text for text in varied_texts(COUNT) if text.strip() and "\0" not in text]
    texts += ["=win a prize", '<img src=x onerror="document.title=1">', "two\nlines", 'a "quoted" prize']
    for place, text in zip((3, 300, 700), LONG, strict=True):
        texts.insert(place, text)
    return (texts + [f"prize {n}" for n in range(COUNT - len(texts))])[:COUNT]


@pytest.fixture(scope="module")
def table(texts):
    """The records of a file with the texts and other columns, one of which contains formulas."""
    rows = [[str(n), text, FORMULAS[n % 6], f"old, {n}"] for n, text in enumerate(texts)]
    return [COLUMNS, *rows]


@pytest.fixture
def labelled(visit, table):
    """The page after the file has been labelled."""
    page = visit()
    choose_file(page, csv_bytes(table), "my texts.csv")
    page.locator("#start").click()
    expect(page.locator("#file-state")).to_have_text(
        f"Done: {COUNT:,} rows labelled by clear.", timeout=20_000
    )
    return page


def safe(cell: str) -> str:
    return f"'{cell}" if cell[:1] in tuple("=+-@\t\r\n＝＋－＠") else cell


def drop_file(page, content: bytes, name: str) -> None:
    data = page.evaluate_handle(
        "([content, name]) => { const data = new DataTransfer();"
        " const bytes = Uint8Array.from(atob(content), c => c.charCodeAt(0));"
        " data.items.add(new File([bytes], name)); return data }",
        [base64.b64encode(content).decode(), name],
    )
    for kind in ("dragover", "drop"):
        page.dispatch_event("#drop", kind, {"dataTransfer": data})


def test_the_download_matches_the_library(labelled, library, table, texts):
    name, records = downloaded(labelled, labelled.locator("#download").click)
    assert name == "my texts-labelled.csv"
    assert records[0] == ["id", "text", "'" + COLUMNS[2], "score", "predicted", "score_2"]
    assert len(texts) == COUNT and len(records) == COUNT + 1
    assert [record[:4] for record in records[1:]] == [[safe(cell) for cell in row] for row in table[1:]]
    expected = library("clear")(texts)
    assert [record[4] for record in records[1:]] == [prediction["label"] for prediction in expected]
    scores = [prediction["score"] for prediction in expected]
    np.testing.assert_allclose([float(record[5]) for record in records[1:]], scores, atol=1e-5)
    assert len({prediction["label"] for prediction in expected}) == 2 and np.ptp(scores) > 0.3


def test_a_file_can_be_chosen_or_dropped(visit, library):
    page = visit()
    with page.expect_file_chooser() as chooser:
        page.locator("#file").click()
    chooser.value.set_files(
        {"name": "a.csv", "mimeType": "text/csv", "buffer": b"text,id\nwin a prize,1\ntea,2\n"}
    )
    expect(page.locator("#file-facts")).to_have_text("a.csv: 2 rows, 2 columns with commas between them.")
    expect(page.locator("#first-text")).to_have_text("The first text: win a prize")
    name = "document.getElementById('file').files[0]?.name"
    assert page.evaluate(name) == "a.csv"
    drop_file(page, "\ufeffbody;kind\r\nwin é prize;x\r\n\r\n;y\r\n".encode(), "b.csv")
    expect(page.locator("#file-facts")).to_have_text("b.csv: 2 rows, 2 columns with semicolons between them.")
    assert page.evaluate(name) == "b.csv"
    page.locator("#start").click()
    expect(page.locator("#file-state")).to_have_text(
        "Done: 1 row labelled by clear. 1 row without: no text, too long, or the server failed on it."
    )
    label = library("clear")("win é prize")[0]
    assert cells(page, "#rows tr") == [
        ["1", label["label"], percent(label["score"]), "win é prize"],
        ["2", "(no text)", "", ""],
    ]
    with page.expect_download() as waiting:
        page.locator("#download").click()
    lines = (
        waiting.value.path().read_bytes().decode().split("\r\n")
    )  # byte order mark, separator and line ends are preserved
    assert lines[0] == "\ufeffbody;kind;predicted;score" and lines[1].startswith("win é prize;x;")
    assert lines[2:] == [";y;;", ""]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "bad.csv is not a table of texts."),
        (b"text\na\x00b\n", "bad.csv is not a table of texts."),
        (bytes(range(256)) * 9, "bad.csv is not a table of texts."),
    ],
)
def test_a_file_that_is_not_a_table_is_refused_and_the_previous_one_kept(visit, content, said):
    page = visit()
    choose_file(page, b"text\nwin a prize\n", "good.csv")
    drop_file(page, content, "bad.csv")
    expect(page.locator("#file-problem")).to_have_text(f"{said} good.csv is kept.")
    expect(page.locator("#file-facts")).to_contain_text("good.csv")
    drop_file(page, b"text\ntea\n", "third.csv")
    expect(page.locator("#file-facts")).to_contain_text("third.csv")
    expect(page.locator("#file-problem")).to_have_text("")


def test_rows_are_filtered_ordered_and_paged(labelled, library, texts):
    page, expected = labelled, library("clear")(texts)
    assert page.locator("#progress").evaluate("e => [e.value, e.max]") == [COUNT, COUNT]
    expect(page.locator("#page")).to_have_text("Page 1 of 10")
    expect(page.locator("#previous")).to_be_disabled()
    page.locator("#next").focus()
    for _ in range(9):
        page.keyboard.press("Enter")
    expect(page.locator("#page")).to_have_text("Page 10 of 10")
    expect(page.locator("#next")).to_be_disabled()
    expect(page.locator("#previous")).to_be_focused()
    assert [row[0] for row in cells(page, "#rows tr")] == [f"{n:,}" for n in range(901, 1001)]

    spam = [n for n, prediction in enumerate(expected) if prediction["label"] == "spam"]
    page.locator("#by-label").select_option("=spam")
    expect(page.locator("#page")).to_contain_text("Page 1 of ")
    expect(page.locator("#shown")).to_have_text(f"{len(spam):,} of 1,000 rows pass the filter")
    assert [row[0] for row in cells(page, "#rows tr")] == [f"{n + 1:,}" for n in spam[:100]]

    page.locator("#by-label").select_option("all")
    page.locator("#least").fill("60")
    page.locator("#most").fill("80")
    between = [n for n, prediction in enumerate(expected) if 0.6 <= prediction["score"] <= 0.8]
    assert 20 < len(between) < 900
    expect(page.locator("#download")).to_have_text(f"Download the {len(between)} rows shown")
    page.locator("#order").select_option("unsure")
    by_score = sorted(between, key=lambda n: expected[n]["score"])
    shown = cells(page, "#rows tr")
    assert [row[2] for row in shown] == [percent(expected[n]["score"]) for n in by_score[:100]]
    page.locator("#order").select_option("sure")
    shown = cells(page, "#rows tr")
    assert [row[2] for row in shown] == [percent(expected[n]["score"]) for n in by_score[::-1][:100]]
    _, records = downloaded(page, page.locator("#download").click)
    assert [record[0] for record in records[1:]] == [str(n) for n in between]  # in file order
    page.locator("#least").fill("101")
    expect(page.locator("#download")).to_be_disabled()


def test_a_row_can_be_explained(labelled, library, texts):
    labelled.locator("#rows button").nth(9).click()
    expect(labelled.locator("#text")).to_be_focused()
    shown = labelled.locator("#text").input_value()
    assert shown == texts[9].replace("\r\n", "\n")
    expect(labelled.locator("#answer")).to_have_text(answer_line(library("clear"), shown))


def test_labelling_can_be_cancelled_and_resumed(visit, library):
    page, rows = visit(), [f"{servers.WORDS.split()[n % 15]} prize {n}" for n in range(300)]
    choose_file(page, csv_bytes([["text"], *([text] for text in rows)]))
    held = []

    def hold_the_second(route):
        held.append(route)
        if len(held) != 2:
            route.continue_()

    page.route("**/classify", hold_the_second)
    page.locator("#start").click()
    expect(page.locator("#done")).to_contain_text("128 of 300 rows")
    expect(page.locator("#shown")).to_have_text("128 rows so far")
    page.locator("#cancel").click()
    expect(page.locator("#file-state")).to_contain_text("Cancelled after 128 rows.")
    expect(page.locator("#start")).to_be_focused()
    page.locator("#start").click()
    expect(page.locator("#file-state")).to_contain_text("Done: 300 rows labelled by clear.")
    _, records = downloaded(page, page.locator("#download").click)
    assert [record[:2] for record in records[1:]] == [
        [text, prediction["label"]] for text, prediction in zip(rows, library("clear")(rows), strict=True)
    ]


def test_texts_over_the_limit_are_skipped_and_counted(visit, library):
    page = visit()
    choose_file(page, csv_bytes([["text"], ["x" * 1_000_000], ["win a prize"], ["é" * 100_001]]))
    page.locator("#start").click()
    expect(page.locator("#file-state")).to_have_text(
        "Done: 1 row labelled by clear. 2 rows without: no text, too long, or the server failed on it."
    )
    assert [row[1] for row in cells(page, "#rows tr")] == [
        "(too long)",
        library("clear")("win a prize")[0]["label"],
        "(too long)",
    ]
    page.locator("#by-label").select_option("skipped")
    _, records = downloaded(page, page.locator("#download").click)
    assert [record[1:] for record in records[1:]] == [["", ""], ["", ""]]


def test_multi_label_rows_and_a_change_of_model(visit, library):
    page, rows = visit(), ["win a prize now", "tea at four", "the rain has stopped"]
    page.locator("#model").select_option("moods")
    choose_file(page, csv_bytes([["text"], *([text] for text in rows)]))
    page.locator("#start").click()
    expect(page.locator("#file-state")).to_contain_text("labelled by moods")
    labels = [", ".join(names) or "(no label)" for names in library("moods").predict(rows)]
    assert [row[1] for row in cells(page, "#rows tr")] == labels
    _, records = downloaded(page, page.locator("#download").click)
    assert [record[1] for record in records[1:]] == [
        "|".join(names) for names in library("moods").predict(rows)
    ]
    page.locator("#model").select_option("clear")
    page.locator("#start").click()
    expect(page.locator("#file-state")).to_contain_text("labelled by clear")
    assert [row[1] for row in cells(page, "#rows tr")] == [
        prediction["label"] for prediction in library("clear")(rows)
    ]


def test_a_busy_server_is_retried(visit, bundles, library, tmp_path):
    busy = "Failed to load resource: the server responded with a status of 429 .*"
    rows = ["win a prize", "tea at four"]
    with servers.Server(tmp_path / "log", bundles("clear"), "--max-requests", "1") as server:
        page = visit(server, allowed=busy)
        choose_file(page, csv_bytes([["text"], *([text] for text in rows)]))
        with socket.create_connection(("127.0.0.1", server.port)) as other:  # takes the only slot
            other.sendall(
                b"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                b'Content-Length: 100\r\n\r\n{"text": '
            )
            server.settle("finetext_in_flight_requests", 1)
            page.locator("#start").click()
            expect(page.locator("#file-state")).to_have_text("The server is busy; the page retries in 1 s.")
            expect(page.locator("#cancel")).to_be_visible()
        expect(page.locator("#file-state")).to_have_text("Done: 2 rows labelled by clear.")
        assert [row[1] for row in cells(page, "#rows tr")] == [
            prediction["label"] for prediction in library("clear")(rows)
        ]


def test_a_row_on_which_the_server_fails_is_isolated_and_skipped(visit, library):
    page = visit(allowed="Failed to load resource: the server responded with a status of 500 .*")
    rows = [f"{servers.WORDS.split()[n % 15]} prize {n}" for n in range(200)]
    rows[77] = "poison"
    choose_file(page, csv_bytes([["text"], *([text] for text in rows)]))
    sizes = []

    def fail_on_one(route):
        texts = route.request.post_data_json["texts"]
        sizes.append(len(texts))
        if "poison" in texts:
            route.fulfill(status=500, content_type="application/json", body='{"error": "The server failed."}')
        else:
            route.continue_()

    page.route("**/classify", fail_on_one)
    page.locator("#start").click()
    expect(page.locator("#file-state")).to_have_text(
        "Done: 199 rows labelled by clear. 1 row without: no text, too long, or the server failed on it."
    )
    assert sizes.count(1) >= 1 and len(sizes) <= 25, sizes  # by bisection, not row by row
    page.unroute("**/classify")
    _, records = downloaded(page, page.locator("#download").click)
    labels = {text: label for text, label, *_ in records[1:]}
    good = [text for text in rows if text != "poison"]
    assert {text: labels[text] for text in good} == dict(
        zip(good, [prediction["label"] for prediction in library("clear")(good)], strict=True)
    )
    assert labels["poison"] == ""
