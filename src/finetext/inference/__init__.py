"""A loaded bundle that labels texts, one by one or a whole table."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
