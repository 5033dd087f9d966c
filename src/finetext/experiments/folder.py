"""The folder of an experiment, created together with its options and its plan, so that it can be resumed."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetext.errors import RunError, UsageError
from finetext.runs import RunFolder
from finetext.training import TrainConfig, read_config, refuse_taken

SCHEMA_VERSION = 1
"""Version of `plan.json`, `curve.json` and `sweep.json`."""


@dataclass(frozen=True)
class ExperimentFolder(RunFolder):
    """The paths of one experiment; `config` is the file of the options that all of its trials share.

    Attributes:
        kind: The command that makes it: `curve` or `sweep`.
    """

    kind: str

    @property
    def plan(self) -> Path:
        """What is tried, as JSON."""
        return self.path / "plan.json"

    @property
    def results(self) -> Path:
        """The results, written when all trials are done."""
        return self.path / f"{self.kind}.json"

    def refuse_taken(self) -> None:
        """Raise UsageError if the folder would overwrite something."""
        if self.plan.is_file():
            raise UsageError(
                f"{self.path}: already holds a {self.kind}. Resume it with `finetext {self.kind} --resume "
                f"{self.path}`, or choose another --output."
            )
        refuse_taken(self)

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

    def new_plan(self, digest: str, **tried: Any) -> dict[str, Any]:
        """Return the content of `plan.json`: what is tried, and the digest of the data."""
        return {"kind": self.kind, "schema_version": SCHEMA_VERSION, **tried, "data_digest": digest}

    def refuse_other_data(self, plan: dict[str, Any], digest: str) -> None:
        """Raise RunError if the data differs from what the experiment was started with."""
        if plan["data_digest"] != digest:
            raise RunError(
                f"{self.path}: cannot be resumed, the data have changed since it was started. "
                f"Restore them, or start a new {self.kind}."
            )
