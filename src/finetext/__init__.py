"""Fine-tune pretrained language models into text classifiers, fast and honestly evaluated.

run = finetext.train("messages.csv", epochs=3)
classifier = finetext.load(run.folder.path)
classifier("win a prize, text now")
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["__version__"]
