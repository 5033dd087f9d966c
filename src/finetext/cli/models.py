"""`finetext models` and `finetext models check`."""

from typing import Annotated

from cyclopts import App, Parameter

models = App(name="models", help="List the models with a short name, or check one.", version_flags=())


@models.default
def list_models() -> None:
    """List the models with a short name: size, context, and the memory that training needs."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from finetext.cli.console import data
    from finetext.models.catalogue import CATALOGUE, TRAINABLE_SHOWN

    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), caption_justify="left")
    for name in ("model", "Hub id"):
        table.add_column(name, no_wrap=True)
    for name in ("size", "layers", "context", *TRAINABLE_SHOWN):
        table.add_column(name, justify="right", no_wrap=True)
    for entry in CATALOGUE:
        memory = [f"{entry.training_bytes(mode) / 2**30:.1f}" for mode in TRAINABLE_SHOWN]
        size = f"{entry.parameters / 1e6:,.0f} M"
        table.add_row(entry.alias, entry.hub_id, size, str(entry.depth), f"{entry.context:,}", *memory)
    table.caption = (
        "The last columns estimate the GiB of memory that training needs under each --trainable:\n"
        "float32 weights, AdamW, batches of 8 texts of 128 tokens."
    )
    data().print(table)


@models.command
def check(
    name: str,
    /,
    *,
    prompt: str = "Every effort moves you",
    tokens: int = 20,
    revision: str | None = None,
    allow_pickle: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Load a causal model with its language-model head and let it continue a text.

    A sound model goes on in sentences; damaged weights give noise.

    Args:
        name: An alias, a model folder, or a Hub id.
        prompt: What it continues.
        tokens: How many tokens it adds.
        revision: Branch, tag or commit of a Hub model.
        allow_pickle: Accept a model folder without safetensors.
    """
    from finetext.cli.console import data
    from finetext.models import continue_text, find_model

    source = find_model(name, revision=revision, allow_pickle=allow_pickle)
    data().print(continue_text(source, prompt, tokens, allow_pickle=allow_pickle), markup=False)
