"""The report in a real browser, on phone and desktop, in light and dark mode."""

import numpy as np
import pytest

from finetext.evaluation import TFIDF, RunMetrics
from finetext.reporting import write_report
from report_folders import HOSTILE, make_folder, random_predictions
from screens import WIDTHS, assert_fits, contrast, luminance

TASKS = ("binary", "multi-class", "many-class", "multi-label", "evaluation")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """The folder and metrics of a report for every task."""
    classes = {"binary": 2, "multi-class": 6, "many-class": 27, "multi-label": 12, "evaluation": 2}
    made = {}
    for task in TASKS:
        folder = tmp_path_factory.mktemp(task)
        names = [f"a rather long class name {n} <b>" for n in range(classes[task])]
        number = 40 * classes[task]
        targets, probs = random_predictions(number, classes[task], multi=task == "multi-label", skill=1.0)
        beside = None if task == "evaluation" else np.roll(probs, 1, axis=0)
        metrics = make_folder(folder, names, targets, probs, baseline=beside, training=beside is not None)
        write_report(folder, RunMetrics.from_dict(metrics), f"finetext train {'/a/long/path' * 12}.csv")
        made[task] = folder, metrics
    return made


@pytest.fixture
def open_page(new_page, reports):
    """A function that opens a report and returns the page, its console errors and its requests."""

    def opened(task, width="desktop", scheme="light"):
        page, complaints, requests = new_page(width, scheme)
        page.goto((reports[task][0] / "report.html").as_uri())
        return page, complaints, requests

    return opened


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("task", TASKS)
def test_a_page_fits_its_screen_and_requests_nothing(open_page, reports, task, width, scheme):
    page, complaints, requests = open_page(task, width, scheme)
    assert complaints == []
    address = (reports[task][0] / "report.html").as_uri()
    assert [url for url in requests if not url.startswith("data:")] == [address]
    assert_fits(page)
    boxes = page.evaluate(
        "[...document.querySelectorAll('svg')].map(s => s.getBoundingClientRect().toJSON())"
    )
    assert len(boxes) >= 3
    for box in boxes:
        assert box["width"] > 200 and box["height"] > 100
        assert 0 <= box["left"] and box["right"] <= WIDTHS[width]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_and_lines_have_enough_contrast(open_page, scheme):
    page, _, _ = open_page("multi-class", "desktop", scheme)
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (luminance(paper) > 0.8) == (scheme == "light")
    words = page.evaluate(
        "[...document.querySelectorAll('main p, td, th, figcaption, dd, small')].map(e => getComputedStyle(e).color)"
    )
    letters = page.evaluate("[...document.querySelectorAll('svg text')].map(e => getComputedStyle(e).fill)")
    lines = page.evaluate(
        "[...document.querySelectorAll('svg path[style*=\"--series\"]')].map(e => getComputedStyle(e).stroke)"
        ".filter(c => c.startsWith('rgb'))"
    )
    assert len(letters) > 50 and len(lines) > 10
    assert min(contrast(colour, paper) for colour in {*words, *letters}) >= 4.5
    assert min(contrast(colour, paper) for colour in set(lines)) >= 3


@pytest.mark.parametrize("task", TASKS)
def test_hostile_texts_are_shown_and_not_executed(open_page, task):
    page, _, _ = open_page(task)
    assert page.title() != "taken"
    assert page.locator("script, img").count() == 0
    shown = page.locator(".quoted").all_inner_texts()
    assert any(text.startswith(HOSTILE) for text in shown)


@pytest.mark.parametrize("task", TASKS)
def test_the_numbers_on_the_page_match_metrics_json(open_page, reports, task):
    page, _, _ = open_page(task)
    written = reports[task][1]
    expected = {"test": written["test"]}
    if "baselines" in written:
        expected[f"baselines.{TFIDF}"] = written["baselines"][TFIDF]
    for prefix, metrics in expected.items():
        for name in ("accuracy", "macro_f1", "mcc", "roc_auc", "log_loss", "calibration_error"):
            cell = page.locator(f'data[data-key="{prefix}.{name}"]')
            assert float(cell.get_attribute("value")) == metrics[name]
            assert cell.inner_text().replace("−", "-") == f"{metrics[name]:.4f}"


def test_every_plot_has_a_name_for_screen_readers(open_page):
    page, _, _ = open_page("binary")
    for plot in page.locator("svg").all():
        assert plot.get_attribute("role") == "img"
        for name in plot.get_attribute("aria-labelledby").split():
            assert page.locator(f"[id='{name}']").count() == 1
            assert page.locator(f"[id='{name}']").text_content()


def test_the_printed_report_is_complete_and_dark_on_white(open_page):
    page, _, _ = open_page("many-class", "desktop", "dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    hidden = "[...document.querySelectorAll('.table')].filter(e => getComputedStyle(e).overflowY != 'visible').length"
    assert page.evaluate(hidden) == 0
    assert page.pdf().startswith(b"%PDF")
