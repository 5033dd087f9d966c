"""Recording a training in its run folder: the consumer of events that makes a run out of a training."""

import contextlib
from collections.abc import Iterator

from finetext.errors import Interrupted
from finetext.runs import RunFolder
from finetext.training.checkpoints import save_checkpoint
from finetext.training.events import Event, Step
from finetext.training.history import History
from finetext.training.inputs import RunInputs
from finetext.training.progress import Progress, announce
from finetext.training.setup import Setup
from finetext.training.signals import StopRequest
from finetext.training.tracking import Trackers
from finetext.training.trainer import StepError, Trainer


class Recorder:
    """Writes history, trackers and checkpoints, and stops the training when a signal asked for it."""

    def __init__(
        self, trainer: Trainer, setup: Setup, folder: RunFolder, stop: StopRequest, progress: Progress
    ):
        self._trainer, self._setup, self._folder = trainer, setup, folder
        self._stop, self._progress, self._options = stop, progress, setup.config.train
        self._history = History(folder.history, trainer.step)
        self._trackers = Trackers(self._options.track, folder.tracking)

    def start(self, inputs: RunInputs) -> None:
        """Announce the training and start the trackers."""
        self._progress.prepared(self._setup, inputs, self._trainer.step)
        self._trackers.start(self._setup.config)
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
        self._trackers.log(event)
        announce(event, self._progress)
        if event.ends_epoch or event.is_due(self._options.save_every) or self._trainer.finished:
            self.save()
        self._stop_if_requested()

    def save(self) -> None:
        """Write a checkpoint."""
        self._history.sync()
        save_checkpoint(self._folder.checkpoints, self._trainer.checkpoint())

    def close(self) -> None:
        """Close the history and the trackers."""
        self._history.close()
        self._trackers.close()

    def _stop_if_requested(self) -> None:
        if self._stop.signal_number is None:
            return
        self.save()
        raise Interrupted(
            f"stopped at step {self._trainer.step}. Resume with: finetext train --resume {self._folder.path}",
            self._stop.signal_number,
        )


@contextlib.contextmanager
def recording(
    trainer: Trainer,
    setup: Setup,
    inputs: RunInputs,
    folder: RunFolder,
    stop: StopRequest,
    progress: Progress,
) -> Iterator[Recorder]:
    """Give the block a recorder for the training; a step that fails leaves a checkpoint of the last good state."""
    recorder = Recorder(trainer, setup, folder, stop, progress)
    try:
        recorder.start(inputs)
        yield recorder
    except StepError:
        recorder.save()
        raise
    finally:
        recorder.close()
