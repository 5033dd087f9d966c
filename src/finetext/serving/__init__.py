"""The HTTP server: models behind `POST /classify` and `POST /predict`, and what watches over them."""

from typing import TYPE_CHECKING

from finetext import lazy

if TYPE_CHECKING:
    from finetext.serving.app import build_app
    from finetext.serving.lifecycle import serve
    from finetext.serving.service import Service
    from finetext.serving.settings import ServeConfig

__all__ = ["ServeConfig", "Service", "build_app", "serve"]

__getattr__ = lazy.exports(
    __name__,
    {"ServeConfig": "settings", "Service": "service", "build_app": "app", "serve": "lifecycle"},
)
