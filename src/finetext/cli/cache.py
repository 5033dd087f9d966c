"""`finetext cache` and `finetext cache clear`."""

import time

from cyclopts import App

from finetext import training
from finetext.cli.console import say, write
from finetext.cli.tables import plain_table
from finetext.errors import UsageError, closest

cache = App(name="cache", version_flags=())


@cache.default
def list_entries() -> None:
    """List the cached activations: of which model and layers, how much, and when they were last used."""
    cache = training.activation_cache()
    table = plain_table("", "name", "model", "layers", "precision", "texts", "MB", "last used")
    for column in table.columns[1:4]:
        column.justify = "left"
    for entry in cache.entries():
        key = entry.key
        table.add_row(
            entry.name,
            f"{key.get('architecture', '?')} {key.get('weights', '')[:8]}",
            key.get("cut", "?"),
            key.get("dtype", "?"),
            f"{entry.texts:,}",
            f"{entry.size_bytes / 1e6:,.1f}",
            time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used)),
        )
    if table.rows:
        write(table)
    size, limit = cache.size_bytes() / 1e9, cache.limit_bytes / 1e9
    say(f"{cache.folder}: {size:.2f} GB of at most {limit:.2f} GB.")


@cache.command
def clear(*names: str) -> None:
    """Remove cached activations; they are computed again when they are needed.

    Args:
        names: Entries to remove, as `finetext cache` lists them; all if none is named.
    """
    cache = training.activation_cache()
    known = [entry.name for entry in cache.entries()]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(f"nothing is cached under {unknown[0]!r}.{closest(unknown[0], known)}")
    freed = cache.clear(list(names) or None)
    left = len({entry.name for entry in cache.entries()} & set(names or known))
    in_use = f" Kept {left} in use by other processes." if left else ""
    say(f"{freed / 1e6:,.1f} MB freed.{in_use}")
