"""`render()`: the templates of this package, filled in."""

import re
from typing import Any

from finetext.reporting.svg import inline


def render(template: str, **values: Any) -> str:
    """Return a template of this package, filled in; HTML templates escape what they show.

    Args:
        template: Its file name.
        **values: What it shows.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("finetext.reporting"),
        autoescape=jinja2.select_autoescape(["html"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"inline": inline, "markdown": escape_markdown}
    return environment.get_template(template).render(values)


def escape_markdown(text: str) -> str:
    """Return a name so that Markdown shows it literally, on one line."""
    return re.sub(r"([\\`*_|\[\]#~$])", r"\\\1", " ".join(text.split())).replace("<", "&lt;")
