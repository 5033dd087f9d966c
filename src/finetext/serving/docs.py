"""The page at `/docs`: the OpenAPI schema as plain HTML that needs no script and nothing from elsewhere."""

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
        for path, own in schema["paths"].items()
        for method, operation in own.items()
    ]
    shapes = {
        name: [_field(field, own, shape) for field, own in shape["properties"].items()]
        for name, shape in schema["components"]["schemas"].items()
    }
    template = environment.get_template("docs.html")
    return template.render(info=schema["info"], operations=operations, shapes=shapes)


def _example(operation: dict[str, Any], schema: dict[str, Any]) -> str | None:
    if "requestBody" not in operation:
        return None
    reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    examples = schema["components"]["schemas"][reference.rpartition("/")[2]].get("examples", [])
    return json.dumps(examples[0]) if examples else None


def _field(name: str, own: dict[str, Any], shape: dict[str, Any]) -> dict[str, str]:
    needed = "required" if name in shape.get("required", ()) else "optional"
    return {"name": name, "type": _type(own), "needed": needed, "says": own.get("description", "")}


def _type(own: dict[str, Any]) -> str:
    if "$ref" in own:
        return str(own["$ref"]).rpartition("/")[2]
    if "anyOf" in own:
        return " or ".join(_type(one) for one in own["anyOf"])
    if own.get("type") == "array":
        return f"list of {_type(own.get('items', {}))}"
    return str(own.get("type", "any"))
