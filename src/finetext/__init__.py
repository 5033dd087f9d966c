"""Fine-tune pretrained language models into text classifiers, fast and honestly evaluated.

run = finetext.train("messages.csv", epochs=3)
classifier = finetext.load(run.folder.path)
classifier("win a prize, text now")
"""

from typing import TYPE_CHECKING

from finetext import lazy

if TYPE_CHECKING:
    from finetext.errors import (
        DataError,
        DownloadError,
        FinetextError,
        ModelError,
        RunError,
        UsageError,
    )
    from finetext.inference import Classifier, load
    from finetext.training import FinetextClassifier, Run, TrainConfig, read_config, resume, train

__version__ = "0.1.0"

__all__ = [
    "Classifier",
    "DataError",
    "DownloadError",
    "FinetextClassifier",
    "FinetextError",
    "ModelError",
    "Run",
    "RunError",
    "TrainConfig",
    "UsageError",
    "__version__",
    "load",
    "read_config",
    "resume",
    "train",
]

__getattr__ = lazy.exports(
    __name__,
    {
        "Classifier": "inference",
        "DataError": "errors",
        "DownloadError": "errors",
        "FinetextClassifier": "training",
        "FinetextError": "errors",
        "ModelError": "errors",
        "Run": "training",
        "RunError": "errors",
        "TrainConfig": "training",
        "UsageError": "errors",
        "load": "inference",
        "read_config": "training",
        "resume": "training",
        "train": "training",
    },
)
