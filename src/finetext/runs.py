"""The run folder: the one place that knows the names of the files in it."""

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunFolder:
    """The paths of one run."""

    path: Path

    @property
    def model(self) -> Path:
        """The bundle: a Hugging Face model folder."""
        return self.path / "model"

    @property
    def adapter(self) -> Path:
        """The LoRA adapter, with `keep_adapter`."""
        return self.path / "adapter"

    @property
    def metrics(self) -> Path:
        """The figures of the run: validation, test and baselines."""
        return self.path / "metrics.json"

    @property
    def history(self) -> Path:
        """One line a step, with the evaluations."""
        return self.path / "history.csv"

    @property
    def predictions(self) -> Path:
        """The test split with predicted labels and probabilities."""
        return self.path / "predictions.csv"

    @property
    def report(self) -> Path:
        """What the run amounts to, as one HTML page."""
        return self.path / "report.html"

    @property
    def plots(self) -> Path:
        """The report's plots as SVG and PNG files."""
        return self.path / "plots"

    @property
    def splits(self) -> Path:
        """The folder of `train.csv`, `validation.csv` and `test.csv`."""
        return self.path / "splits"

    @property
    def config(self) -> Path:
        """Every option as resolved."""
        return self.path / "config.toml"

    @property
    def environment(self) -> Path:
        """Versions, device, seed, digests and time."""
        return self.path / "environment.json"

    @property
    def tracking(self) -> Path:
        """What trackers that keep files write."""
        return self.path / "tracking"

    @property
    def checkpoints(self) -> Path:
        """What an interrupted run needs to go on; there only while the run is not finished."""
        return self.path / "checkpoints"

    @property
    def lock(self) -> Path:
        """Held by the process that writes into the folder."""
        return self.path / ".lock"

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
    number = 1
    while (parent / f"{stem}-{number}").exists():
        number += 1
    return parent / f"{stem}-{number}"
