"""`train()` and `resume()`: from labelled text to a finished run folder."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from finetext.errors import RunError, UsageError
from finetext.options import check_options, fields_with_values
from finetext.runs import RunFolder, next_run_folder
from finetext.training.checkpoints import load_checkpoint
from finetext.training.config import TrainConfig
from finetext.training.config_file import override, read_config
from finetext.training.depth_selection import choose_depth
from finetext.training.finalize import finalize
from finetext.training.inputs import cache_frozen_layers
from finetext.training.progress import Progress
from finetext.training.recorder import Recorder
from finetext.training.run import Run, create_folder, holding, refuse_taken
from finetext.training.setup import prepare, with_absolute_paths
from finetext.training.signals import StopRequest
from finetext.training.tracking import check_trackers
from finetext.training.trainer import Trainer

RUNS = Path("runs")
"""Default parent of run folders, below the working directory."""


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
        **options: Single options by name, such as `epochs=3`; they take precedence over `config`.

    Returns:
        The finished run.

    Raises:
        FinetextError: With one or two lines that say what to do.

    Example:
        >>> run = finetext.train("sample", epochs=2)        # doctest: +SKIP
        >>> run.classifier()("win a prize, text now")       # doctest: +SKIP
        [{'label': 'spam', 'score': 0.98}]
    """
    progress = progress or Progress()
    if source is not None:
        options["source"] = str(source)
    config = override(config or TrainConfig(), options)
    if not config.data.source:
        raise UsageError("no data: name a file, a folder, hf:owner/name, `sms-spam` or `sample`.")
    check_options(config)
    check_trackers(config.train.track)
    folder = RunFolder(
        Path(output) if output else next_run_folder(RUNS, config.data.source, config.model.model)
    )
    refuse_taken(folder)
    with StopRequest() as stop:
        setup = choose_depth(prepare(config), progress)
        create_folder(folder, setup.config)
        with holding(folder):
            with Recorder(setup, folder, stop, progress) as recorder:
                inputs = cache_frozen_layers(setup, progress, stop)
                trainer = Trainer(setup, inputs)
                recorder.start(trainer, inputs)
                for event in trainer.fit():
                    recorder.record(event)
            return finalize(setup, folder, inputs, trainer.selection, progress, recorder.times)


def resume(path: str | Path, *, progress: Progress | None = None, **options: Any) -> Run:
    """Resume an interrupted run from its newest valid checkpoint.

    Args:
        path: The run folder.
        progress: Told what happens; silent by default.
        **options: Options given again; those that differ from the run's own are refused.

    Returns:
        The finished run; at once if it was finished already.

    Raises:
        RunError: There is no run, another process is training in it, or data, seed, labels, tokenizer or options
            differ from those it was started with.
    """
    progress = progress or Progress()
    folder = RunFolder(Path(path))
    if not folder.config.is_file():
        raise UsageError(
            f"{path}: is not a run folder: it has no {folder.config.name}. Name the folder that `train` made."
        )
    config = read_config(folder.config)
    refuse_other_options(config, options)
    with holding(folder), StopRequest() as stop:
        checkpoint, notices = load_checkpoint(folder.checkpoints)
        if folder.finished:
            return Run.open(path)
        setup = prepare(config)
        setup = dataclasses.replace(setup, notices=(*notices, *setup.notices))
        if checkpoint is not None:
            refuse_other_identity(folder, checkpoint.identity, setup.identity)
        with Recorder(setup, folder, stop, progress) as recorder:
            inputs = cache_frozen_layers(setup, progress, stop)
            trainer = Trainer(setup, inputs, checkpoint)
            recorder.start(trainer, inputs)
            for event in trainer.fit():
                recorder.record(event)
        return finalize(setup, folder, inputs, trainer.selection, progress, recorder.times)


def refuse_other_options(config: TrainConfig, options: Mapping[str, Any]) -> None:
    """Raise RunError if options given on resuming differ from those the run was started with."""
    before = dict(fields_with_values(config))
    requested = fields_with_values(with_absolute_paths(override(config, options)))
    changed = [f"--{name.replace('_', '-')}" for name, value in requested if value != before[name]]
    if changed:
        raise RunError(
            f"cannot change options when resuming: {', '.join(changed)} would differ from the original run. "
            "Leave them out, or start a new run."
        )


def refuse_other_identity(folder: RunFolder, before: dict[str, str], now: dict[str, str]) -> None:
    """Raise RunError if what a resumed run must share with the one that wrote the checkpoint has changed."""
    changed = sorted({name for name, _ in before.items() ^ now.items()})
    if changed:
        raise RunError(
            f"{folder.path}: cannot resume, these have changed since the run was started: {', '.join(changed)}. "
            "Restore them, or start a new run."
        )
