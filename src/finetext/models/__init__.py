"""Backbones, heads and tokenizers: finding, checking, loading, training parts of, and saving them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
