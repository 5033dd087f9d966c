"""Matplotlib for the report: one style, colours that follow the page's scheme, reproducible bytes."""

import contextlib
import io
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from finetext.reporting.elements import Plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TEXT = "#1b1f25"
MUTED = "#5c6773"
GRID = "#d6dbe1"
CELL = "#0b62ae"
SERIES = (
    "#0b62af",
    "#c4500b",
    "#16794c",
    "#8b3fa8",
    "#a3720a",
    "#b3265e",
    "#0e7c86",
    "#6b5b4d",
    "#4b57c9",
    "#5f7d1f",
)
"""The first three can be told apart with every common kind of colour vision; lines also differ in their dashes."""
DASHES = ("solid", "dashed", "dotted", "dashdot")

_VARIABLES = {TEXT: "currentColor", MUTED: "var(--muted)", GRID: "var(--grid)", CELL: "var(--cell)"} | {
    colour: f"var(--series-{number})" for number, colour in enumerate(SERIES, 1)
}
_COLOURS = {
    "text.color": TEXT,
    "axes.labelcolor": TEXT,
    "axes.edgecolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": TEXT,
    "ytick.labelcolor": TEXT,
    "grid.color": GRID,
}
PNG_DOTS_PER_INCH = 150


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Draw in the report's style while the block runs."""
    import matplotlib

    path = Path(__file__).with_name("templates") / "plots.mplstyle"
    settings = matplotlib.rc_params_from_file(path, use_default_template=False)
    with matplotlib.rc_context({**settings, **_COLOURS}), warnings.catch_warnings():
        # A script that matplotlib's font lacks: the SVG keeps its letters, the PNG shows boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def subplots(width: float = 4.8, height: float = 3.5, **layout: Any) -> "tuple[Figure, Any]":
    """Return an empty figure and its plots.

    Args:
        width: In inches.
        height: Likewise.
        **layout: Of `Figure.subplots`, by default a single plot.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(**layout)


def legend(ax: "Axes", below: int = 0, **where: Any) -> None:
    """Put a legend of everything that has a `shown_as` into the plot, or with `below` columns under its axis label."""
    handles = [part for part in (*ax.get_lines(), *ax.patches) if getattr(part, "shown_as", None)]
    labels = [part.shown_as for part in handles]
    if below:
        ax.figure.legend(handles, labels, ncols=below, loc="outside lower center", handlelength=2.4)
    else:
        ax.legend(handles, labels, **where)


def save(figure: "Figure", name: str, title: str, finding: str) -> Plot:
    """Return a figure as the files of a plot.

    Args:
        figure: What was drawn, in `style()`.
        name: Of its files, letters and hyphens.
        title: What it shows.
        finding: What it tells, in words: the text alternative.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    svg, png = io.StringIO(), io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(
        png, format="png", dpi=PNG_DOTS_PER_INCH, facecolor="white", metadata={"Software": "finetext"}
    )
    figure.set_layout_engine("none")  # the SVG keeps the layout of the PNG
    FigureCanvasSVG(figure)
    figure.savefig(svg, format="svg", transparent=True, metadata={"Date": None, "Creator": "finetext"})
    return Plot(name, title, finding, _describe(svg.getvalue(), title, finding), png.getvalue())


def _describe(svg: str, title: str, finding: str) -> str:
    """Give an SVG file a title, a description and shorter numbers."""
    start = svg.index(">", svg.index("<svg")) + 1
    # XML knows no control characters.
    description = "".join(sign if sign.isprintable() else " " for sign in finding)
    labels = f'\n <title id="title">{escape(title)}</title>\n <desc id="desc">{escape(description)}</desc>'
    head = svg[: start - 1] + ' role="img" aria-labelledby="title desc">'
    body = re.sub(r'(<g) id="[^"]*"', r"\1", svg[start:])
    shorter = re.compile(r"(\.\d\d)\d+")
    body = re.sub(r' (?:d|x|y|transform)="[^"]*"', lambda place: shorter.sub(r"\1", place[0]), body)
    return head + labels + body


def inline(svg: str, name: str) -> Markup:
    """Return an SVG file for use inside a page.

    Its colours become the page's variables, its ids begin with `name`, and what would affect the rest of the page (its
    style sheet, its declarations) is left out.
    """
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>\s*", "", body, flags=re.DOTALL)
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>\s*", "", body, flags=re.DOTALL)
    head, _, rest = body.partition(">")
    head = re.sub(r' (?:width|height|version|xmlns(?::\w+)?)="[^"]*"', "", head)
    head = head.replace('"title desc"', f'"{name}-title {name}-desc"')
    rest = re.sub(r' id="([^"]*)"', rf' id="{name}-\1"', rest)
    rest = re.sub(r"url\(#", f"url(#{name}-", rest)
    rest = re.sub(r'xlink:href="#', f'href="#{name}-', rest)
    rest = re.sub("#[0-9a-f]{6}", lambda colour: _VARIABLES.get(colour[0], colour[0]), rest)
    return Markup(f"{head}>{rest.strip()}")
