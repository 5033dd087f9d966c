"""A real browser that all page tests share, and a real server."""

import re
from urllib.parse import urlsplit

import pytest

import servers
from screens import ARGUMENTS, CHROMIUM, WIDTHS


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium."""
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("needs chromium")
    playwright.expect.set_options(timeout=20_000)  # pages are slow on a busy machine
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield opened
        opened.close()


@pytest.fixture
def new_page(browser):
    """A function that returns an empty page, its console errors and its requests."""
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
    """A server with four models, the last of which is a run with a card and test metrics."""
    card = f"# {servers.TWELVE[1]}\n\n[a link](javascript:{servers.TAKE}) and **{servers.TWELVE[0]}**\n"
    (bundles("twelve") / "README.md").write_text(card)
    models = [f"{name}={bundles(name)}" for name in ("clear", "moods", "twelve")]
    log = tmp_path_factory.mktemp("served") / "log"
    with servers.Server(log, *models, f"run={trained('bert').folder.path}") as running:
        yield running


@pytest.fixture
def visit(new_page, served):
    """A function that opens a server's page.

    At the end of the test, the page must have reported no console error but those `allowed`, requested no other host
    and violated no content security policy.
    """
    visits = []

    def go(to=None, width="desktop", scheme="light", *, allowed="(?!)", ready=True):
        page, complaints, requests = new_page(width, scheme)
        page.add_init_script(
            "window.violations = []; addEventListener('securitypolicyviolation', e => violations.push(e.blockedURI))"
        )
        # Enables interception of file choosers now; otherwise the first key press could come too early.
        page.on("filechooser", lambda _: None)
        origin = f"http://127.0.0.1:{(to or served).port}"
        page.goto(f"{origin}/")
        if ready:
            page.locator("#model-line").wait_for()
        visits.append((page, origin, complaints, requests, allowed))
        return page

    yield go
    for page, origin, complaints, requests, allowed in visits:
        assert [message for message in complaints if not re.fullmatch(allowed, message)] == []
        assert {f"{url.scheme}://{url.netloc}" for url in map(urlsplit, requests) if url.netloc} == {origin}
        assert page.evaluate("violations") == []
        assert page.title() == "finetext"
        assert page.locator("img, script:not([src]), iframe, a[href^='javascript']").count() == 0
