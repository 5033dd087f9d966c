"""`train()` and `resume()`: from labelled text to a finished run folder."""

import dataclasses
import datetime
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finetext.errors import RunError, UsageError
from finetext.runs import RunFolder, next_run_folder
from finetext.training.checkpoints import Checkpoint, differences, load_checkpoint
from finetext.training.config import TrainConfig
from finetext.training.config_file import check_config, override, read_config
from finetext.training.depth_selection import with_best_depth
from finetext.training.finalize import finish
from finetext.training.inputs import read_inputs
from finetext.training.progress import Progress, Silent
from finetext.training.run import Run, creating, holding, refuse_taken
from finetext.training.setup import Job, prepare, with_absolute_paths
from finetext.training.signals import StopRequest
from finetext.training.tracking import check_trackers
from finetext.training.trainer import Execution

RUNS = Path("runs")
"""Where runs go that are given no folder, below the working directory."""


def train(
    source: str | Path | None = None,
    config: TrainConfig | None = None,
    *,
    output: str | Path | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Run:
    """Fine-tune a pretrained language model on labelled text and evaluate it.

    Args:
        source: A file, a folder with train/validation/test files, `hf:owner/name`, or a built-in name.
        config: Every option; the defaults if not given.
        output: The run folder to create; by default `runs/SOURCE-MODEL-N`.
        progress: Told what happens; silent by default.
        **options: Single options by name, such as `epochs=3`; they go before `config`.

    Returns:
        The finished run.

    Raises:
        FinetextError: With one or two lines that say what to do.

    Example:
        >>> run = finetext.train("sample", epochs=2)        # doctest: +SKIP
        >>> run.classifier()("win a prize, text now")       # doctest: +SKIP
        [{'label': 'spam', 'score': 0.98}]
    """
    if source is not None:
        options["source"] = str(source)
    config = override(config or TrainConfig(), options)
    if not config.data.source:
        raise UsageError("no data: name a file, a folder, hf:owner/name, `sms-spam` or `sample`.")
    check_config(config)
    check_trackers(config.train.track)
    folder = RunFolder(
        Path(output) if output else next_run_folder(RUNS, config.data.source, config.model.model)
    )
    refuse_taken(folder)
    with StopRequest() as stop:
        job = prepare(config)
        job = with_best_depth(job, progress or Silent())
        with creating(folder, job.config):
            return _complete(job, folder, None, stop, progress or Silent())


def resume(path: str | Path, *, progress: Progress | None = None, **options: Any) -> Run:
    """Go on with an interrupted run from its newest whole checkpoint.

    Args:
        path: The run folder.
        progress: Told what happens; silent by default.
        **options: Options that were given again; those that differ from the run's own are refused.

    Returns:
        The finished run; at once if it was finished already.

    Raises:
        RunError: There is no run, another process works on it, or data, seed, labels, tokenizer or options
            are not those it was started with.
    """
    folder = RunFolder(Path(path))
    if not folder.config.is_file():
        raise UsageError(
            f"{path}: is not a run folder, it has no {folder.config.name}. Name the folder that `train` made."
        )
    progress = progress or Silent()
    config = read_config(folder.config)
    refuse_other_options(config, options)
    with holding(folder), StopRequest() as stop:
        checkpoint, notices = load_checkpoint(folder.checkpoints)
        if folder.finished:
            return Run.open(path)
        job = prepare(config)
        job = dataclasses.replace(job, notices=(*notices, *job.notices))
        if checkpoint is not None:
            _refuse_other_identity(folder, job, checkpoint)
        return _complete(job, folder, checkpoint, stop, progress)


def refuse_other_options(config: TrainConfig, options: Mapping[str, Any]) -> None:
    """Raise RunError if options that were given again differ from those of what goes on."""
    asked = with_absolute_paths(override(config, options))
    changed = [
        f"--{name.replace('_', '-')}"
        for table in ("data", "model", "train", "decision")
        for name, value in dataclasses.asdict(getattr(asked, table)).items()
        if value != getattr(getattr(config, table), name)
    ]
    if changed:
        raise RunError(
            f"a run goes on with the options it was started with; {', '.join(changed)} would differ. "
            "Leave them out, or start a new run."
        )


def _refuse_other_identity(folder: RunFolder, job: Job, checkpoint: Checkpoint) -> None:
    changed = sorted(differences(checkpoint.identity, job.identity))
    if changed:
        raise RunError(
            f"{folder.path}: cannot go on, since the run was started these have changed: {', '.join(changed)}. "
            "Put them back, or start a new run."
        )


def _complete(
    job: Job, folder: RunFolder, checkpoint: Checkpoint | None, stop: StopRequest, progress: Progress
) -> Run:
    started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    began = time.perf_counter()
    for notice in job.notices:
        progress.notice(notice)
    stop.message = f"interrupted. Go on with: finetext train --resume {folder.path}"
    job.splits.write(folder.splits)
    with stop.deferred():
        inputs = read_inputs(job, stop, progress)
        seconds = {"features": time.perf_counter() - began}
        began = time.perf_counter()
        selection = Execution(job, folder, inputs, checkpoint, stop, progress).run()
        seconds["training"] = time.perf_counter() - began
    return finish(job, folder, inputs, selection, progress, started, seconds)
