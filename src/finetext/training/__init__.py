"""One run: its configuration, the loop, checkpoints, and `train()`."""

from typing import TYPE_CHECKING

from finetext import lazy
from finetext.training.config import TrainConfig

if TYPE_CHECKING:
    from finetext.training.config_file import check_config, override, read_config, write_config
    from finetext.training.estimator import FinetextClassifier
    from finetext.training.flow import resume, train
    from finetext.training.history import EpochLine
    from finetext.training.job import Job
    from finetext.training.loop import Step
    from finetext.training.progress import Progress
    from finetext.training.run import Run
    from finetext.training.trial import Trial, run_trial

__all__ = [
    "EpochLine",
    "FinetextClassifier",
    "Job",
    "Progress",
    "Run",
    "Step",
    "TrainConfig",
    "Trial",
    "check_config",
    "override",
    "read_config",
    "resume",
    "run_trial",
    "train",
    "write_config",
]

__getattr__ = lazy.exports(
    __name__,
    {
        "EpochLine": "history",
        "FinetextClassifier": "estimator",
        "Job": "job",
        "Progress": "progress",
        "Run": "run",
        "Step": "loop",
        "Trial": "trial",
        "check_config": "config_file",
        "override": "config_file",
        "read_config": "config_file",
        "resume": "flow",
        "run_trial": "trial",
        "train": "flow",
        "write_config": "config_file",
    },
)
