"""`finetext explain`."""

import sys
from typing import TYPE_CHECKING, Annotated

from finetext.cli.arguments import ClassifierPath, Text, refuse_options
from finetext.errors import UsageError
from finetext.options import Flat, RuntimeOptions

if TYPE_CHECKING:
    from rich.text import Text as RichText

    from finetext.inference import Explanation

MIN_SHARE = 0.05
"""A word with less than this share of the largest weight is not coloured."""


def explain(
    model: ClassifierPath,
    text: Text,
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
    from finetext.cli.console import data, write, write_json
    from finetext.cli.tables import plain_table
    from finetext.inference import load

    refuse_options(text)
    if top < 1:
        raise UsageError(f"--top must be at least 1, not {top}.")
    if text == "-":
        text = sys.stdin.read().removesuffix("\n")
    if not text.strip():
        raise UsageError("nothing to explain: the text is empty.")
    explanation = load(model, device=runtime.device, precision=runtime.precision).explain(text, label)
    if json:
        write_json(explanation.to_dict())
        return
    label = explanation.label
    write(f"{label}  {explanation.score:.4f}  (log-odds {explanation.log_odds:+.2f})\n")
    data().print(_coloured(explanation), soft_wrap=True)
    table = plain_table("", "word", f"for {label}")
    for word in explanation.strongest(top):
        shown = word.word if len(word.word) <= 60 else f"{word.word[:59]}…"
        table.add_row(" ".join(shown.split()), f"{word.weight:+.3f}")
    data().print(table, markup=False)


def _coloured(explanation: "Explanation") -> "RichText":
    """Return the text with words for the label in green and words against it in red, by their weight."""
    from rich.text import Text

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
