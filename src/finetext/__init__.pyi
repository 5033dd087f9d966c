from .errors import DataError as DataError
from .errors import DownloadError as DownloadError
from .errors import FinetextError as FinetextError
from .errors import ModelError as ModelError
from .errors import RunError as RunError
from .errors import UsageError as UsageError
from .inference import Classifier as Classifier
from .inference import load as load
from .training import FinetextClassifier as FinetextClassifier
from .training import Run as Run
from .training import TrainConfig as TrainConfig
from .training import read_config as read_config
from .training import resume as resume
from .training import train as train

__version__: str
