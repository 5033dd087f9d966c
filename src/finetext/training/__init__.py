"""One run: its configuration, the loop, checkpoints, and `train()`."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
