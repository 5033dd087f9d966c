"""The server's page on phone and desktop, in light and dark, by keyboard alone, and for screen readers."""

from itertools import pairwise

import pytest

from pages import answer_line, cells, choose_file, csv_bytes, downloaded, percent
from report_folders import HOSTILE
from screens import WIDTHS, assert_fits, contrast

expect = pytest.importorskip("playwright.sync_api").expect
pytestmark = pytest.mark.slow

LOOKS = [(width, scheme) for width in WIDTHS for scheme in ("light", "dark")]
TEXT = "win a prize, text gold now: are we still on for tea at four? The rain has stopped, see you at home"
ROWS = [
    ["number", "a column with quite a long name, for the width of a phone", "text"],
    *([str(n), "x" * 40, f"{text} number {n}"] for n in range(30) for text in ("win a prize", "tea at four")),
    ["60", HOSTILE, HOSTILE],
    ["61", "", "anunbrokenword" * 30],
    ["62", "", ""],
]
# The colour, background and beginning of every text on the page. No background of the page is translucent.
TEXT_COLOURS = """() => {
  const colours = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
    if (element.closest('.hidden, script, noscript')) continue;
    let ground = element;
    while (ground && getComputedStyle(ground).backgroundColor === 'rgba(0, 0, 0, 0)') ground = ground.parentElement;
    const paper = getComputedStyle(ground ?? document.body).backgroundColor;
    colours.push([getComputedStyle(element).color, paper, walker.currentNode.data.trim().slice(0, 40)]);
  }
  return colours;
}"""
CONTROLS = {
    "button",
    "textbox",
    "combobox",
    "spinbutton",
    "checkbox",
    "link",
    "progressbar",
    "DisclosureTriangle",
}


def fill(page) -> None:
    """Fill the page so that all its parts are shown."""
    page.locator("#model").select_option("run")
    page.locator("#text").fill(TEXT)
    expect(page.locator("#words-found")).to_be_visible()
    choose_file(page, csv_bytes(ROWS), "a file with a rather long name, as files of messages have them.csv")
    page.locator("#start").click()
    expect(page.locator("#file-state")).to_contain_text("Done: 62 rows labelled")
    for summary in page.locator("summary").all():
        summary.click()


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_the_page_fits_the_screen_with_enough_contrast(visit, width, scheme):
    page = visit(width=width, scheme=scheme)
    assert_fits(page)
    fill(page)
    assert_fits(page)
    heights = "[...document.querySelectorAll('#figures tbody th')].map(e => e.clientHeight)"
    assert (
        0 < min(page.evaluate(heights)) and max(page.evaluate(heights)) < 95
    )  # not broken after every letter
    assert (
        page.locator("#rows td:nth-child(2) span").first.bounding_box()["height"] < 30
    )  # "spam" on one line
    page.locator("#text").fill(HOSTILE + "anunbrokenword" * 60)
    page.locator("#model").select_option("twelve")
    expect(page.locator("#scores tr")).to_have_count(9)  # including the header
    assert page.locator("#scores th span").last.bounding_box()["height"] < 30  # "label 9" on one line
    expect(page.locator("#words-found")).not_to_have_class("stale")
    page.locator("#trouble").evaluate(
        "e => { e.hidden = false; document.getElementById('token-form').hidden = false }"
    )
    page.locator("#trouble-text").evaluate(
        "(e, text) => e.textContent = text", "The server does not answer. " * 5
    )
    page.locator("#file-problem").evaluate("e => e.textContent = 'a.csv is not a table of texts.'")
    assert_fits(page)
    colours = page.evaluate(TEXT_COLOURS)
    assert len(colours) > 200
    faint = [colour for colour in colours if contrast(colour[0], colour[1]) < 4.5]
    assert faint == []
    papers = {colour[1] for colour in colours}
    assert ("rgb(255, 255, 255)" in papers) == (scheme == "light")


def test_the_content_security_policy_allows_only_files_of_the_page(visit, served):
    headers = served.ask("GET", "/")[1]
    policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
    assert policy.pop("default-src") == "'none'"
    assert set(policy.values()) == {"'self'", "'none'"}  # nothing inline, no other host
    page = visit(allowed="Executing inline script violates .* The action has been blocked.")
    page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {text: 'document.title = 1'}))"
    )
    assert page.title() == "finetext"
    page.wait_for_function("violations.length")  # so that every test would notice a violation
    page.evaluate("violations.length = 0")
    page.evaluate("document.body.lastElementChild.remove()")


@pytest.mark.parametrize("width", WIDTHS)
def test_every_control_has_an_accessible_name_and_headings_are_in_order(visit, width):
    page = visit(width=width)
    fill(page)
    page.locator("#trouble").evaluate("e => e.hidden = document.getElementById('token-form').hidden = false")
    tree = page.context.new_cdp_session(page).send("Accessibility.getFullAXTree")["nodes"]
    nodes = [node for node in tree if not node["ignored"]]
    named = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes]
    controls = [element for element in named if element[0] in CONTROLS]
    assert len(controls) > 80 and CONTROLS <= {element[0] for element in controls}
    assert [
        element for element in named if element[0] in {*CONTROLS, "region"} and not element[1].strip()
    ] == []
    roles = [element[0] for element in named]
    assert roles.count("main") == 1 and roles.count("status") == 6 and roles.count("alert") == 2
    levels = page.evaluate(
        "[...document.querySelectorAll('h1, h2, h3, h4, h5, h6')].filter(e => e.checkVisibility())"
        ".map(e => Number(e.tagName[1]))"
    )
    assert levels[0] == 1 and levels.count(1) == 1 and len(levels) > 6
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert page.locator("html").get_attribute("lang") == "en"


def tab_to(page, place: str) -> None:
    """Press Tab until an element has the focus, and check that the focus is visible at every step."""
    for _ in range(80):
        page.keyboard.press("Tab")
        focus = page.evaluate(
            "place => { const element = document.activeElement, box = element.getBoundingClientRect();"
            " return [element.matches(place), element.outerHTML.slice(0, 80), getComputedStyle(element).outlineStyle,"
            " parseFloat(getComputedStyle(element).outlineWidth),"
            " box.width > 0 && box.bottom > 0 && box.top < innerHeight] }",
            place,
        )
        if focus[1].startswith("<body"):  # after the last element, the page itself gets the focus
            continue
        assert focus[2] == "solid" and focus[3] >= 2 and focus[4], focus
        if focus[0]:
            return
    raise AssertionError(f"{place} is not reached")


def test_everything_can_be_done_by_keyboard(visit, library):
    page, texts = visit(), [row[2] for row in ROWS[1:]]
    press = page.keyboard.press
    tab_to(page, "#model")
    press("ArrowDown")
    expect(page.locator("#model-facts")).to_have_text("multi-label, 3 labels")
    press("ArrowUp")
    tab_to(page, "#text")
    page.keyboard.type("win a prize now")
    expect(page.locator("#answer")).to_have_text(answer_line(library("clear"), "win a prize now"))
    expect(page.locator("#words-found")).to_be_visible()
    tab_to(page, "#explained-label")
    press("ArrowDown")
    expect(page.locator("#words-state")).to_contain_text("for ham, ")
    tab_to(page, "#file")
    with page.expect_file_chooser() as chooser:
        press("Enter")
    chooser.value.set_files({"name": "a.csv", "mimeType": "text/csv", "buffer": csv_bytes(ROWS)})
    expect(page.locator("#file-loaded")).to_be_visible()
    tab_to(page, "#column")
    press("ArrowUp")
    expect(page.locator("#first-text")).to_contain_text("x" * 40)
    press("ArrowDown")
    tab_to(page, "#start")
    press("Enter")
    expect(page.locator("#file-state")).to_contain_text("Done")
    assert page.evaluate("document.activeElement.id") == "start"  # the focus is kept

    expected = [
        prediction if text else None for prediction, text in zip(library("clear")(texts), texts, strict=True)
    ]
    tab_to(page, "#by-label")
    press("ArrowDown")
    ham = [n for n, prediction in enumerate(expected) if prediction and prediction["label"] == "ham"]
    assert [row[0] for row in cells(page, "#rows tr")] == [str(n + 1) for n in ham]
    press("Home")
    tab_to(page, "#least")
    press("Control+a")
    page.keyboard.type("75")
    tab_to(page, "#order")
    press("End")
    sure = sorted((p["score"] for p in expected if p and p["score"] >= 0.75), reverse=True)
    assert 0 < len(sure) < 60
    assert [row[2] for row in cells(page, "#rows tr")] == [percent(score) for score in sure]
    tab_to(page, "#rows button")
    tab_to(page, "#download")
    _, records = downloaded(page, lambda: press("Enter"))
    assert len(records) == 1 + len(sure)
    tab_to(page, "#model")
    press("End")
    expect(page.locator("#card-part")).to_be_visible()
    tab_to(page, "#card-part summary")
    press("Enter")
    expect(page.locator("#card")).to_be_visible()
