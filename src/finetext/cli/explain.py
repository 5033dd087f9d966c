"""`finetext explain`."""

import sys
from typing import Annotated

from rich.text import Text

from finetext import inference
from finetext.cli.arguments import ClassifierPath, TextArgument, refuse_options
from finetext.cli.console import stdout, write, write_json
from finetext.cli.tables import plain_table
from finetext.errors import UsageError
from finetext.options import Flat, RuntimeOptions

MIN_SHARE = 0.05
"""A word with less than this share of the largest weight is not coloured."""


def explain(
    model: ClassifierPath,
    text: TextArgument,
    /,
    *,
    label: str | None = None,
    top: int = 10,
    json: bool = False,
    runtime: Annotated[RuntimeOptions, Flat] = RuntimeOptions(),
) -> None:
    """Show which words of a text speak for a label and which against it, by leaving out each word once.

    Args:
        text: The text; - reads it from stdin.
        label: The label to explain; by default the predicted one.
        top: How many words of the largest weight the table lists.
        json: Print all words with their positions and weights as JSON.
    """
    refuse_options(text)
    if top < 1:
        raise UsageError(f"--top must be at least 1, not {top}.")
    if text == "-":
        text = sys.stdin.read().removesuffix("\n")
    if not text.strip():
        raise UsageError("nothing to explain: the text is empty.")
    classifier = inference.load(model, device=runtime.device, precision=runtime.precision)
    explanation = classifier.explain(text, label)
    if json:
        write_json(explanation.to_dict())
        return
    label = explanation.label
    write(f"{label}  {explanation.score:.4f}  (log-odds {explanation.log_odds:+.2f})\n")
    stdout().print(_coloured(explanation), soft_wrap=True)
    table = plain_table("", "word", f"for {label}")
    for word in explanation.strongest(top):
        shown = word.word if len(word.word) <= 60 else f"{word.word[:59]}…"
        table.add_row(" ".join(shown.split()), f"{word.weight:+.3f}")
    write(table)


def _coloured(explanation: "inference.Explanation") -> Text:
    """Return the text with words for the label in green and words against it in red, by their weight."""
    shown, end = Text(), 0
    largest = max((abs(word.weight) for word in explanation.words), default=0.0) or 1.0
    for word in explanation.words:
        shown.append(explanation.text[end : word.start])
        shown.append(explanation.text[word.start : word.end], style=_colour(word.weight / largest))
        end = word.end
    return shown.append(explanation.text[end:])


def _colour(share: float) -> str:
    if abs(share) < MIN_SHARE:
        return ""
    pale = round(225 * (1 - abs(share)) ** 0.7)
    rgb = f"{pale},225,{pale}" if share > 0 else f"240,{pale},{pale}"
    return f"rgb(0,0,0) on rgb({rgb})"
