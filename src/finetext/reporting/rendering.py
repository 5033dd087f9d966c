"""The templates of this package, filled in: pages and cards, and the sentences that stand in them."""

import functools
import re
from typing import TYPE_CHECKING, Any

from finetext.reporting import phrases
from finetext.reporting.svg import inline

if TYPE_CHECKING:
    from jinja2 import Environment


def render(template: str, **values: Any) -> str:
    """Return a template of this package, filled in; HTML templates escape what they show.

    Args:
        template: Its file name.
        **values: What it shows.
    """
    return _environment().get_template(template).render(values)


def paragraphs(name: str, **values: Any) -> list[str]:
    """Return the paragraphs of a macro of `sentences.txt`, each in one line of plain text."""
    text: str = getattr(_environment().get_template("sentences.txt").module, name)(**values)
    return [" ".join(paragraph.split()) for paragraph in text.split("\n\n") if paragraph.strip()]


def sentences(name: str, **values: Any) -> str:
    """Return what a macro of `sentences.txt` says, in one line of plain text."""
    return " ".join(paragraphs(name, **values))


@functools.cache
def _environment() -> "Environment":
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("finetext.reporting"),
        autoescape=jinja2.select_autoescape(["html"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"inline": inline, "markdown": escape_markdown}
    environment.filters |= {phrase.__name__: phrase for phrase in phrases.FILTERS}
    return environment


def escape_markdown(text: str) -> str:
    """Return a name so that Markdown shows it literally, on one line."""
    return re.sub(r"([\\`*_|\[\]#~$])", r"\\\1", " ".join(text.split())).replace("<", "&lt;")
