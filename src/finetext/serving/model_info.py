"""What is known of a served model: its card, and its figures on the test split if a run's folder is served."""

import json
import math
from pathlib import Path
from typing import Any

from finetext.metric_names import METRICS
from finetext.runs import RunFolder, model_folder

MOST_BYTES = 4_194_304
"""Of a card or of the figures; a larger file is none that finetext wrote."""


def read_about(folder: Path) -> dict[str, Any]:
    """Return `{"card", "test"}`; what is missing or cannot be read is None.

    Args:
        folder: A run's folder, or a model's.
    """
    model = model_folder(folder)
    run = model.resolve().parent if model.name == "model" else folder
    return {"card": _read_card(model / "README.md"), "test": _read_test(RunFolder(run).metrics)}


def _read(path: Path) -> str | None:
    try:
        if path.stat().st_size > MOST_BYTES:
            return None
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _read_card(path: Path) -> str | None:
    """Return a card's Markdown without the metadata at its head."""
    text = _read(path)
    if text is None or not text.startswith("---\n"):
        return text
    _, end, body = text[4:].partition("\n---\n")
    return body.strip() if end else text


def _read_test(path: Path) -> dict[str, Any] | None:
    try:
        metrics = json.loads(_read(path) or "null")
    except (ValueError, RecursionError):
        return None
    if not isinstance(metrics, dict) or not isinstance(metrics.get("test"), dict):
        return None
    test = metrics["test"]
    comparisons = _dict(metrics.get("comparisons"))
    return {
        "examples": _whole(test.get("examples")),
        "synthetic_data": metrics.get("synthetic_data") is True,
        "figures": _figures(test),
        "classes": [_class(own) for own in _list(test.get("classes")) if isinstance(own, dict)],
        "baselines": [
            {
                "name": name,
                "verdict": _text(_dict(comparisons.get(name)).get("verdict")),
                "figures": _figures(own),
            }
            for name, own in _dict(metrics.get("baselines")).items()
            if isinstance(own, dict)
        ],
    }


def _figures(own: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"name": name, "value": value, **_interval(own, name)}
        for name in METRICS
        if (value := _number(own.get(name))) is not None
    ]


def _interval(own: dict[str, Any], name: str) -> dict[str, float | None]:
    ends = _list(_dict(own.get("intervals")).get(name))
    if name == "accuracy":  # Wilson's, the one that the report gives
        ends = [own.get("accuracy_low"), own.get("accuracy_high")]
    low, high = (_number(end) for end in ends) if len(ends) == 2 else (None, None)
    return {"low": low, "high": high} if low is not None and high is not None else {"low": None, "high": None}


def _class(own: dict[str, Any]) -> dict[str, Any]:
    shares = {name: _number(own.get(name)) for name in ("precision", "recall", "f1")}
    return {"name": str(own.get("name", "")), **shares, "support": _whole(own.get("support"))}


def _number(value: Any) -> float | None:
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if good else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
