"""Recording a training in its run folder: the consumer of events that makes a run out of a training."""

import contextlib
from typing import Self

from finetext.runs import RunFolder
from finetext.training.checkpoints import save_checkpoint
from finetext.training.environment import StageTimes
from finetext.training.events import Event, Step
from finetext.training.history import History
from finetext.training.progress import Progress, announce
from finetext.training.setup import RunInputs, Setup
from finetext.training.signals import StopRequest
from finetext.training.tracking import logged_values, start_trackers
from finetext.training.trainer import StepError, Trainer


class Recorder:
    """Writes history, trackers and checkpoints, and stops the training when a signal asked for it.

    Attributes:
        times: Wall time of the stages so far.
    """

    def __init__(self, setup: Setup, folder: RunFolder, stop: StopRequest, progress: Progress) -> None:
        self._setup, self._folder, self._stop, self._progress = setup, folder, stop, progress
        self.times = StageTimes()

    def start(self, trainer: Trainer, inputs: RunInputs) -> None:
        """Announce a training and open its history and trackers, before its first or next step."""
        self.times.end("features")
        self._trainer = trainer
        self._history = History(self._folder.history, trainer.step)
        self._closing.callback(self._history.close)
        self._progress.prepared(self._setup, inputs, trainer.step)
        self._trackers = start_trackers(self._setup.config, self._folder.tracking)
        self._closing.callback(self._trackers.end_training)
        self._stop_if_requested()

    def record(self, event: Event) -> None:
        """Record an event.

        Raises:
            Interrupted: A signal asked to stop; a checkpoint was written.
            RunError: The disk is full.
        """
        if not isinstance(event, Step):
            announce(event, self._progress)
            return
        self._history.write(event)
        self._trackers.log(logged_values(event), step=event.number)
        announce(event, self._progress)
        if event.ends_epoch or event.is_due(self._setup.config.train.save_every) or self._trainer.finished:
            self.save()
        self._stop_if_requested()

    def save(self) -> None:
        """Write a checkpoint."""
        self._history.sync()
        save_checkpoint(self._folder.checkpoints, self._trainer.checkpoint())

    def __enter__(self) -> Self:
        self._closing = contextlib.ExitStack()
        for notice in self._setup.notices:
            self._progress.notice(notice)
        self._setup.splits.write(self._folder.splits)
        self._stop.message = f"interrupted. Resume with: finetext train --resume {self._folder.path}"
        self._closing.enter_context(self._stop.deferred())
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        with self._closing:
            if isinstance(error, StepError):  # the weights are still those before the step
                self.save()
        self.times.end("training")

    def _stop_if_requested(self) -> None:
        if self._stop.signal_number is not None:
            self.save()
            step, path = self._trainer.step, self._folder.path
            self._stop.message = f"stopped at step {step}. Resume with: finetext train --resume {path}"
            self._stop.raise_if_requested()
