"""`finetext models` and `finetext models check`."""

from typing import Annotated

from cyclopts import App

from finetext import models as library
from finetext.cli.arguments import BACKBONE, AllowPickle
from finetext.cli.console import write
from finetext.cli.tables import plain_table
from finetext.options import Parameter

models = App(name="models", version_flags=())


@models.default
def list_models() -> None:
    """List the models with a short name: size, context, and the memory that training needs."""
    shown = library.TRAINABLE_SHOWN
    table = plain_table("", "model", "Hub id", "size", "layers", "context", *shown)
    table.columns[1].justify = "left"
    for entry in library.CATALOGUE:
        memory = (f"{entry.training_bytes(mode) / 2**30:.1f}" for mode in shown)
        size = f"{entry.parameters / 1e6:,.0f} M"
        table.add_row(entry.alias, entry.hub_id, size, str(entry.depth), f"{entry.context:,}", *memory)
    table.caption_justify = "left"
    table.caption = (
        "The last columns estimate the GiB of memory that training needs under each --trainable:\n"
        "float32 weights, AdamW, batches of 8 texts of 128 tokens."
    )
    write(table)


@models.command
def check(
    name: Annotated[str, Parameter(help=BACKBONE)],
    /,
    *,
    prompt: str = "Every effort moves you",
    tokens: int = 20,
    revision: str | None = None,
    allow_pickle: AllowPickle = False,
) -> None:
    """Load a model, show which fast paths it runs on, and let a causal one continue a text.

    A sound causal model continues in sentences; damaged weights give noise.

    Args:
        prompt: The text to continue.
        tokens: Number of tokens to add.
        revision: Branch, tag or commit of a Hub model.
    """
    source = library.find_model(name, revision=revision, allow_pickle=allow_pickle)
    if library.is_causal(source):
        write(library.continue_text(source, prompt, tokens, allow_pickle=allow_pickle))
    table = plain_table("Fast paths", "path", "on", "reason")
    for column in table.columns[1:]:
        column.justify, column.no_wrap = "left", False
    for path, state in library.fast_paths(source, allow_pickle=allow_pickle).items():
        table.add_row(path, "yes" if state.on else "no", state.reason)
    write(table)
