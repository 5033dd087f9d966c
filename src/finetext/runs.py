"""The run folder: the one place that knows the names of the files in it."""

import itertools
import re
from dataclasses import dataclass
from pathlib import Path


class _Inside:
    """A path inside a folder, by its name there."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, folder: "RunFolder", kind: type) -> Path:
        return folder.path / self._name


@dataclass(frozen=True)
class RunFolder:
    """The paths of one run."""

    path: Path

    model = _Inside("model")
    """The bundle: a Hugging Face model folder."""
    adapter = _Inside("adapter")
    """The LoRA adapter, with `keep_adapter`."""
    metrics = _Inside("metrics.json")
    """Validation, test and baselines."""
    history = _Inside("history.csv")
    """One line a step, with the evaluations."""
    predictions = _Inside("predictions.csv")
    """The test split with predicted labels and probabilities."""
    report = _Inside("report.html")
    """What the run amounts to, as one HTML page."""
    plots = _Inside("plots")
    """The report's plots as SVG and PNG files."""
    splits = _Inside("splits")
    """The folder of `train.csv`, `validation.csv` and `test.csv`."""
    config = _Inside("config.toml")
    """Every option as resolved."""
    environment = _Inside("environment.json")
    """Versions, device, seed, digests and time."""
    tracking = _Inside("tracking")
    """What trackers that keep files write."""
    checkpoints = _Inside("checkpoints")
    """What an interrupted run needs to go on; there only while the run is not finished."""
    lock = _Inside(".lock")
    """Held by the process that writes into the folder."""

    @property
    def finished(self) -> bool:
        """Whether the run has written its last file."""
        return self.metrics.is_file()


def model_folder(path: Path) -> Path:
    """Return the bundle's folder, given a run's folder or the bundle itself."""
    return path / "model" if (path / "model" / "config.json").is_file() else path


def next_run_folder(parent: Path, source: str, model: str) -> Path:
    """Return the first free `parent/SOURCE-MODEL-N`."""
    stem = re.sub(r"[^a-z0-9]+", "-", f"{Path(source).stem}-{Path(model).name}".lower()).strip("-")
    folders = (parent / f"{stem}-{number}" for number in itertools.count(1))
    return next(folder for folder in folders if not folder.exists())
