"""The documentation's links, line numbers and files exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "docs" / "decisions").glob("*.md"),
    ]
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_resolve(page):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_line_references_of_the_architecture_page_are_correct():
    content = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"`([\w.]+)(?:\([^`]*)?`[^`]{0,3}`(src/[\w/.]+):(\d+)`", content)
    assert len(rows) > 10
    for name, path, line in rows:
        text = (ROOT / path).read_text(encoding="utf-8").splitlines()[int(line) - 1]
        assert name.rpartition(".")[2] in text, (name, path, line, text)


def test_files_named_on_the_architecture_page_exist():
    content = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for path in re.findall(r"`((?:\w+/)+\w+\.py)(?::\d+)?`", content):
        assert (ROOT / path).exists() or (ROOT / "src" / "finetext" / path).exists(), path
