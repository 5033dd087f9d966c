"""Public names of a package that load their module only when they are used (PEP 562)."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def exports(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a module-level `__getattr__` for a package.

    Args:
        package: The package's `__name__`.
        homes: The module, inside the package or absolute, that each public name lives in.
    """

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        home = homes[name]
        module = importlib.import_module(home if home.startswith("finetext.") else f"{package}.{home}")
        return getattr(module, name)

    return load
