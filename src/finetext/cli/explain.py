"""`finetext explain`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from finetext.cli.texts import refuse_unknown
from finetext.options import Parameter

if TYPE_CHECKING:
    from rich.text import Text

    from finetext.inference import Explanation

MIN_SHARE = 0.05
"""Words with less than this share of the largest weight are not coloured."""


def explain(
    model: Path,
    text: Annotated[str, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    label: str | None = None,
    top: int = 10,
    json: bool = False,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    precision: Literal["auto", "fp32", "bf16", "fp16", "tf32"] = "fp32",
) -> None:
    """Show which words of a text speak for its label and which against it, by leaving out each in turn.

    Args:
        model: A run folder, a saved model, or any Hugging Face folder with a sequence classifier.
        text: The text; - reads it from stdin.
        label: The label to explain; by default the predicted one.
        top: Number of words in the table, those with the largest weights.
        json: Write all words with their positions and weights as JSON.
        device: Where the model runs.
        precision: Numerical precision.
    """
    import json as json_writer

    from finetext.cli.console import data
    from finetext.cli.tables import plain_table
    from finetext.engine import prepare_cpu
    from finetext.errors import UsageError
    from finetext.inference import load

    refuse_unknown(text)
    if top < 1:
        raise UsageError(f"--top must be at least 1, not {top}.")
    if text == "-":
        text = sys.stdin.read().removesuffix("\n")
    if not text.strip():
        raise UsageError("nothing to explain: the text is empty.")
    prepare_cpu()
    explanation = load(model, device=device, precision=precision).explain(text, label)
    if json:
        json_writer.dump(explanation.to_dict(), sys.stdout, ensure_ascii=False, indent=2)
        sys.stdout.write("\n")
        return
    console = data()
    console.print(
        f"{explanation.label}  {explanation.score:.4f}  (log-odds {explanation.log_odds:+.2f})\n",
        markup=False,
    )
    console.print(_coloured(explanation), soft_wrap=True)
    table = plain_table("", "word", f"for {explanation.label}")
    for word in explanation.strongest(top):
        shown = word.word if len(word.word) <= 60 else f"{word.word[:59]}…"
        table.add_row(" ".join(shown.split()), f"{word.weight:+.3f}")
    console.print(table, markup=False)


def _coloured(explanation: "Explanation") -> "Text":
    """Return the text, words for the label on green, those against it on red; stronger colours are larger weights."""
    from rich.text import Text

    shown, done = Text(), 0
    largest = max((abs(word.weight) for word in explanation.words), default=0.0) or 1.0
    for word in explanation.words:
        shown.append(explanation.text[done : word.start])
        shown.append(explanation.text[word.start : word.end], style=_colour(word.weight / largest))
        done = word.end
    return shown.append(explanation.text[done:])


def _colour(share: float) -> str:
    if abs(share) < MIN_SHARE:
        return ""
    pale = round(225 * (1 - abs(share)) ** 0.7)
    rgb = f"{pale},225,{pale}" if share > 0 else f"240,{pale},{pale}"
    return f"rgb(0,0,0) on rgb({rgb})"
