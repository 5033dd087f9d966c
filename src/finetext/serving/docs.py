"""The page at `/docs`: the OpenAPI schema as plain HTML without scripts or other hosts."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def docs_page(schema: dict[str, Any]) -> str:
    """Return the page.

    Args:
        schema: The OpenAPI schema.
    """
    environment = Environment(
        loader=PackageLoader("finetext.serving"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("docs.html").render(schema)
