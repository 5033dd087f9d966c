"""`history.csv`: one line per step, with the evaluation after it if there was one."""

import csv
import os
from pathlib import Path
from typing import Any

from finetext import files
from finetext.training.events import Step

STEP_COLUMNS = ("step", "epoch", "examples", "loss", "learning_rate", "gradient_norm", "seconds")
METRIC_COLUMNS = {"validation_loss": "log_loss", "accuracy": "accuracy", "macro_f1": "macro_f1", "mcc": "mcc"}
EVALUATION_COLUMNS = (*METRIC_COLUMNS, "examples_per_second")


class History:
    """The open `history.csv` of a run that is training."""

    def __init__(self, path: Path, last_step: int) -> None:
        """Open the file; of an existing one, keep the lines up to `last_step`."""
        self._path = path
        exists = last_step > 0 and path.is_file()
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)[1:] if exists else []
        # A kill may have truncated the last line: it counts only with its line end.
        kept = [line for line in lines if line.endswith("\n") and int(line.split(",", 1)[0]) <= last_step]
        header = ",".join(STEP_COLUMNS + EVALUATION_COLUMNS) + "\n"
        files.write_text(path, header + "".join(kept))
        self._file = path.open("a", encoding="utf-8", newline="")

    def write(self, step: Step) -> None:
        """Append a step and, if there was one, the evaluation after it."""
        row: list[Any] = [getattr(step, "number" if name == "step" else name) for name in STEP_COLUMNS]
        if step.evaluation is None:
            row += [""] * len(EVALUATION_COLUMNS)
        else:
            row += [getattr(step.evaluation.metrics, name) for name in METRIC_COLUMNS.values()]
            row.append(step.evaluation.examples_per_second)
        try:
            csv.writer(self._file, lineterminator="\n").writerow(row)
            self._file.flush()
        except OSError as error:
            raise files.explain_os_error(error, self._path) from error

    def sync(self) -> None:
        """Make all lines so far durable."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()
