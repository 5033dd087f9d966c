"""A real browser that the tests of all pages share, and a real server for its page."""

import re
from urllib.parse import urlsplit

import pytest

import servers
from screens import ARGUMENTS, CHROMIUM, WIDTHS


@pytest.fixture(scope="module")
def browser():
    """Chromium without a window."""
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("needs chromium")
    playwright.expect.set_options(timeout=20_000)  # a busy machine makes a page slow, not wrong
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
        context = browser.new_context(viewport=size, color_scheme=scheme, reduced_motion="reduce")
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


@pytest.fixture(scope="session")
def served(tmp_path_factory, bundles, trained):
    """A server of four models: the last of them a run with a card and test figures."""
    card = f"# {servers.TWELVE[1]}\n\n[a link](javascript:{servers.TAKE}) and **{servers.TWELVE[0]}**\n"
    (bundles("twelve") / "README.md").write_text(card)
    models = [f"{name}={bundles(name)}" for name in ("clear", "moods", "twelve")]
    log = tmp_path_factory.mktemp("served") / "log"
    with servers.Server(log, *models, f"run={trained('bert').folder.path}") as running:
        yield running


@pytest.fixture
def visit(new_page, served):
    """A function that opens a server's page; in the end it must have complained of nothing but what is `allowed`.

    Neither may it have asked another host, nor have been stopped by its own policy.
    """
    visits = []

    def go(to=None, width="desktop", scheme="light", *, allowed="(?!)", ready=True):
        page, complaints, requests = new_page(width, scheme)
        page.add_init_script(
            "window.violations = []; addEventListener('securitypolicyviolation', e => violations.push(e.blockedURI))"
        )
        page.on(
            "filechooser", lambda _: None
        )  # from now on, or the first key would be quicker than the watch
        origin = f"http://127.0.0.1:{(to or served).port}"
        page.goto(f"{origin}/")
        if ready:
            page.locator("#model-line").wait_for()
        visits.append((page, origin, complaints, requests, allowed))
        return page

    yield go
    for page, origin, complaints, requests, allowed in visits:
        assert [message for message in complaints if not re.fullmatch(allowed, message)] == []
        assert {
            f"{message.scheme}://{message.netloc}" for message in map(urlsplit, requests) if message.netloc
        } == {origin}
        assert page.evaluate("violations") == []
        assert page.title() == "finetext"
        assert page.locator("img, script:not([src]), iframe, a[href^='javascript']").count() == 0
