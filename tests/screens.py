"""Screen sizes, and measurements of pages."""

import re
import shutil

import numpy as np

CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WIDTHS = {"phone": 390, "desktop": 1280}


def contrast(one: str, other: str) -> float:
    """Return the WCAG 2 contrast ratio of two colours in the format of `getComputedStyle`."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    parts = np.array([float(part) for part in re.findall(r"[\d.]+", colour)[:3]]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def assert_fits(page) -> None:
    """Fail if the page, or anything in it except a table's box, scrolls horizontally."""
    assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
    wide = page.evaluate(
        "[...document.querySelectorAll('main *:not(svg *)')].filter(e => e.scrollWidth > e.clientWidth + 1 &&"
        " e.clientWidth && getComputedStyle(e).display != 'inline' && !e.closest('.table, pre, .hidden')"
        ").map(e => e.outerHTML)"
    )
    assert wide == []
