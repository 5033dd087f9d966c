"""A real browser that every test of a page shares."""

import pytest

from screens import ARGUMENTS, CHROMIUM, WIDTHS


@pytest.fixture(scope="module")
def browser():
    """Chromium without a window."""
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("needs chromium")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield opened
        opened.close()


@pytest.fixture
def new_page(browser):
    """A function that returns an empty page, and lists of what it complains of and of what it asks for."""
    contexts = []

    def make(width="desktop", scheme="light"):
        size = {"width": WIDTHS[width], "height": 800}
        context = browser.new_context(viewport=size, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        complaints, requests = [], []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        return page, complaints, requests

    yield make
    for context in contexts:
        context.close()
