"""Recording a training in its run folder: the consumer of events that makes a run out of a training."""

import contextlib
from collections.abc import Iterator

from finetext.errors import Interrupted
from finetext.runs import RunFolder
from finetext.training.checkpoints import save_checkpoint
from finetext.training.config import OptimizationConfig
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
        self,
        trainer: Trainer,
        folder: RunFolder,
        options: OptimizationConfig,
        history: History,
        trackers: Trackers,
        stop: StopRequest,
        progress: Progress,
    ) -> None:
        self._trainer, self._folder, self._options = trainer, folder, options
        self._history, self._trackers, self._stop, self._progress = history, trackers, stop, progress

    def record(self, event: Event) -> None:
        """Record an event.

        Raises:
            Interrupted: A signal asked to stop; a checkpoint was written.
            RunError: The disk is full.
        """
        if isinstance(event, Step):
            self._history.write(event)
            self._trackers.log(event)
        announce(event, self._progress)
        if isinstance(event, Step):
            every = self._options.save_every
            if (
                event.ends_epoch
                or self._trainer.finished
                or (every is not None and event.number % every == 0)
            ):
                self.save()
            self.stop_if_requested()

    def save(self) -> None:
        """Write a checkpoint."""
        self._history.sync()
        save_checkpoint(self._folder.checkpoints, self._trainer.checkpoint())

    def stop_if_requested(self) -> None:
        """Write a checkpoint and raise Interrupted if a signal was caught."""
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
    """Record a training while the block runs.

    Args:
        trainer: The training, before its first or next step.
        setup: The run.
        inputs: What it reads.
        folder: Its folder.
        stop: Checked after each step.
        progress: Told what happens.
    """
    options = setup.config.train
    history, trackers = History(folder.history, trainer.step), Trackers(options.track, folder.tracking)
    recorder = Recorder(trainer, folder, options, history, trackers, stop, progress)
    try:
        progress.prepared(setup, inputs, trainer.step)
        trackers.start(setup.config)
        recorder.stop_if_requested()
        yield recorder
    except StepError:
        recorder.save()
        raise
    finally:
        history.close()
        trackers.close()
