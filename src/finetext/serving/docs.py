"""The page at `/docs`: the OpenAPI schema as plain HTML without scripts or other hosts."""

import json
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
    operations = [
        {"path": path, "method": method.upper(), "example": _example(operation, schema), **operation}
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    ]
    template = environment.get_template("docs.html")
    return template.render(info=schema["info"], operations=operations, models=schema["components"]["schemas"])


def _example(operation: dict[str, Any], schema: dict[str, Any]) -> str | None:
    if "requestBody" not in operation:
        return None
    reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    examples = schema["components"]["schemas"][reference.rpartition("/")[2]].get("examples", [])
    return json.dumps(examples[0]) if examples else None
