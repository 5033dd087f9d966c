"""The folder of an experiment, created together with its options and its plan, so that it can be resumed."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetext import files
from finetext.errors import RunError, UsageError
from finetext.runs import RunFolder
from finetext.training import TrainConfig, read_config, write_config

SCHEMA_VERSION = 1
"""Version of `plan.json`, `curve.json` and `sweep.json`."""


@dataclass(frozen=True)
class ExperimentFolder:
    """The paths of one experiment.

    Attributes:
        path: The folder.
        kind: The command that makes it: `curve` or `sweep`.
    """

    path: Path
    kind: str

    @property
    def config(self) -> Path:
        """The options that all of its trials share."""
        return self.path / "config.toml"

    @property
    def plan(self) -> Path:
        """What is tried, as JSON."""
        return self.path / "plan.json"

    @property
    def results(self) -> Path:
        """The results, written when all trials are done."""
        return self.path / f"{self.kind}.json"

    @property
    def run(self) -> RunFolder:
        """The same folder, for the lock of a run."""
        return RunFolder(self.path)

    def refuse_taken(self) -> None:
        """Raise UsageError if the folder would overwrite something."""
        if not self.path.exists() and not self.path.is_symlink():
            return
        if not self.path.is_dir():
            raise UsageError(f"{self.path}: is a file. Choose another --output.")
        if self.plan.is_file():
            raise UsageError(
                f"{self.path}: already holds a {self.kind}. Resume it with `finetext {self.kind} --resume "
                f"{self.path}`, or choose another --output."
            )
        if any(self.path.iterdir()):
            raise UsageError(
                f"{self.path}: is not empty, and nothing is overwritten. Choose another --output."
            )

    def create(self, config: TrainConfig, plan: dict[str, Any]) -> None:
        """Create the folder with its options and its plan, or not at all.

        Raises:
            UsageError: It is taken or cannot be written.
            RunError: The disk is full.
        """
        staging = ExperimentFolder(self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp"), self.kind)
        try:
            staging.path.mkdir(parents=True)
            write_config(config, staging.config)
            files.write_json(staging.plan, plan)
            self.refuse_taken()
            staging.path.rename(self.path)
        except OSError as error:
            raise files.explain_os_error(error, self.path) from error
        finally:
            shutil.rmtree(staging.path, ignore_errors=True)

    def read(self) -> tuple[TrainConfig, dict[str, Any]]:
        """Return the options and the plan.

        Raises:
            UsageError: There is no such experiment.
        """
        try:
            plan: dict[str, Any] = json.loads(self.plan.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise UsageError(
                f"{self.path}: is not the folder of a {self.kind}, it has no readable {self.plan.name}. "
                f"Name the folder that `finetext {self.kind}` made."
            ) from None
        if plan.get("kind") != self.kind:
            raise UsageError(f"{self.path}: holds a {plan.get('kind')}, not a {self.kind}.")
        return read_config(self.config), plan

    def refuse_other_data(self, plan: dict[str, Any], digest: str) -> None:
        """Raise RunError if the data differs from what the experiment was started with."""
        if plan["data_digest"] != digest:
            raise RunError(
                f"{self.path}: cannot be resumed, the data have changed since it was started. "
                f"Restore them, or start a new {self.kind}."
            )
