"""`history.csv`: one line a step, with the evaluation where there was one."""

import csv
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetext import files
from finetext.training.loop import Step

STEP_COLUMNS = ("step", "epoch", "examples", "loss", "learning_rate", "gradient_norm", "seconds")
EVALUATION_COLUMNS = ("validation_loss", "accuracy", "macro_f1", "mcc", "examples_per_second")


@dataclass(frozen=True)
class EpochLine:
    """What is shown after an epoch or an evaluation within one.

    Attributes:
        step: Optimizer steps taken.
        epoch: Epochs done; a fraction within one.
        loss: Mean training loss since the last evaluation.
        validation_loss: Log loss on validation.
        accuracy: On validation.
        macro_f1: On validation.
        mcc: On validation.
        examples_per_second: Training speed since the last evaluation.
        best: Whether it is the best evaluation so far.
        value: The metric that selects, on validation; None where it is not defined.
        ends_epoch: Whether it follows the last step of an epoch.
    """

    step: int
    epoch: float
    loss: float
    validation_loss: float
    accuracy: float
    macro_f1: float
    mcc: float
    examples_per_second: float
    best: bool
    value: float | None
    ends_epoch: bool


class History:
    """The open `history.csv` of a run that trains."""

    def __init__(self, path: Path, last_step: int) -> None:
        """Open the file; of one that is there, keep the lines up to `last_step`."""
        self._path = path
        kept = _lines_up_to(path, last_step) if last_step else []
        header = ",".join(STEP_COLUMNS + EVALUATION_COLUMNS) + "\n"
        files.write_text(path, header + "".join(kept))
        self._file = path.open("a", encoding="utf-8", newline="")

    def write(self, step: Step, line: EpochLine | None) -> None:
        """Append one step and, if there was one, the evaluation after it."""
        row: list[Any] = [getattr(step, "number" if name == "step" else name) for name in STEP_COLUMNS]
        row += ["" if line is None else getattr(line, name) for name in EVALUATION_COLUMNS]
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(row)
        try:
            self._file.write(text.getvalue())
            self._file.flush()
        except OSError as error:
            raise files.explain_os_error(error, self._path) from error

    def sync(self) -> None:
        """Make all lines so far durable."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _lines_up_to(path: Path, last_step: int) -> list[str]:
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)[1:]
    # A kill may have cut the last line short: a step's line counts only with its end.
    return [line for line in lines if line.endswith("\n") and int(line.split(",", 1)[0]) <= last_step]
