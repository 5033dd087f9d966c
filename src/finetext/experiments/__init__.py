"""Experiments: many fits and runs that answer one question, and checks of data and finished classifiers."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
