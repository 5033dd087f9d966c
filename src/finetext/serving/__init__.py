"""The HTTP server: models behind `POST /classify`, `/explain` and `/predict`, and a page to try them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
