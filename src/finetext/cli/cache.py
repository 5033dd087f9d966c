"""`finetext cache` and `finetext cache clear`."""

import time

from cyclopts import App

cache = App(name="cache", help="List the stored features of frozen layers, or remove them.", version_flags=())


@cache.default
def list_features() -> None:
    """List what is stored: of which model and layers, how much, and when it was last used."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from finetext.cli.console import data, prose
    from finetext.training.inputs import feature_store

    store = feature_store()
    shelves = store.shelves()
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("name", "model", "layers", "precision"):
        table.add_column(name, no_wrap=True)
    for name in ("texts", "MB", "last used"):
        table.add_column(name, justify="right", no_wrap=True)
    for own in shelves:
        key = own.key
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(own.used))
        model = f"{key.get('architecture', '?')} {key.get('weights', '')[:8]}"
        cells = (key.get("cut", "?"), key.get("dtype", "?"), f"{own.texts:,}", f"{own.size_bytes / 1e6:,.1f}")
        table.add_row(own.name, model, *cells, used)
    if shelves:
        data().print(table)
    held, limit = store.size_bytes() / 1e9, store.limit_bytes / 1e9
    prose().print(f"{store.folder}: {held:.2f} GB of at most {limit:.2f} GB.", markup=False)


@cache.command
def clear(*names: str) -> None:
    """Remove stored features; they are computed again when they are needed.

    Args:
        names: Those to remove, as `finetext cache` lists them; all if none is named.
    """
    from finetext.cli.console import prose
    from finetext.errors import UsageError, closest
    from finetext.training.inputs import feature_store

    store = feature_store()
    known = [own.name for own in store.shelves()]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(f"nothing is stored under {unknown[0]!r}.{closest(unknown[0], known)}")
    freed = store.clear(list(names) or None)
    left = len([name for name in (names or known) if name in {own.name for own in store.shelves()}])
    in_use = f" {left} in use by other processes stayed." if left else ""
    prose().print(f"{freed / 1e6:,.1f} MB freed.{in_use}", markup=False)
