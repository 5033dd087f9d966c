"""Carrying out a job's training: the consumer of the steps, that evaluates, selects, records and saves."""

import numpy as np
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from numpy.typing import NDArray

from finetext.errors import Interrupted, RunError
from finetext.evaluation import Metrics, compute_metrics
from finetext.models import predict_logits, probabilities
from finetext.runs import RunFolder
from finetext.training.averaging import WeightAverage, holds
from finetext.training.checkpoints import Checkpoint, save_checkpoint
from finetext.training.head_init import shorten_head, start_head
from finetext.training.history import EpochLine, History
from finetext.training.inputs import RunInputs
from finetext.training.loop import Learner, Step, StepError, training_steps
from finetext.training.progress import Progress
from finetext.training.selection import Selection
from finetext.training.setup import Job
from finetext.training.signals import StopRequest
from finetext.training.tracking import log_step, start_trackers


class Execution:
    """One training, from its first step or from a checkpoint to its last."""

    def __init__(
        self,
        job: Job,
        folder: RunFolder | None,
        inputs: RunInputs,
        checkpoint: Checkpoint | None,
        stop: StopRequest,
        progress: Progress,
    ) -> None:
        """Get ready; without a folder nothing is written, neither history nor checkpoints."""
        self._inputs = inputs
        self._job, self._folder, self._stop, self._progress = job, folder, stop, progress
        train = job.config.train
        self._accelerator = make_accelerator(job, folder)
        self._learner = Learner(
            job.model,
            inputs.train,
            job.train_targets(),
            job.config,
            self._accelerator,
            job.optimizer,
            job.class_weights,
        )
        self._selection = Selection(train.metric, train.patience)
        self._average = WeightAverage()
        if checkpoint is not None:
            self._learner.load_weights(checkpoint.weights)
            self._learner.restore(checkpoint.state)
            self._selection = Selection.from_dict(checkpoint.progress["selection"], checkpoint.best)
            self._average = WeightAverage(checkpoint.progress["averaged_epochs"], checkpoint.average)
        self._micro_batch = self._learner.micro_batch

    def run(self) -> Selection:
        """Train to the end and return the best weights and their evaluation; they are loaded into the model.

        Raises:
            Interrupted: A signal asked to stop; a checkpoint was written.
            RunError: The loss is not finite, or memory or disk do not suffice; the last good state is kept.
        """
        history = None if self._folder is None else History(self._folder.history, self._learner.step)
        self._progress.prepared(self._job, self._learner.step, self._learner.total_steps)
        if self._folder is not None:
            start_trackers(self._accelerator, self._job.config, self._folder.tracking)
        try:
            self._stop_if_asked(history)
            if self._learner.step == 0 and self._job.config.train.head_start == "probe":
                self._start_head()
            if not self._selection.exhausted:
                self._take_steps(history)
            if self._average.epochs > 1:
                self._offer_average()
        finally:
            if history is not None:
                history.close()
            self._accelerator.end_training()
        assert self._selection.weights is not None
        self._learner.load_weights(self._selection.weights)
        return self._selection

    def _take_steps(self, history: History | None) -> None:
        train = self._job.config.train
        recent: list[Step] = []
        try:
            for step in training_steps(self._learner):
                self._notice_smaller_batches(step)
                recent.append(step)
                line = None
                if step.ends_epoch or _due(step, train.eval_every):
                    line = self._evaluate(recent)
                    recent = []
                if step.ends_epoch and train.weight_averaging:
                    self._average.add(self._learner.parameters)
                if history is not None:
                    history.write(step, line)
                log_step(self._accelerator, step, line)
                self._progress.step(step)
                if line is not None:
                    self._progress.evaluated(line)
                if step.ends_epoch or _due(step, train.save_every):
                    self._save(history)
                self._stop_if_asked(history)
                if self._selection.exhausted:
                    self._progress.notice(
                        f"stopped at step {step.number}: {self._selection.waited} evaluations "
                        f"without a better {train.metric}."
                    )
                    self._save(history)
                    return
        except StepError:
            self._save(history)
            raise

    def _start_head(self) -> None:
        job, inputs = self._job, self._inputs
        fit = start_head(
            job.model,
            inputs.train,
            job.train_targets(),
            inputs.validation,
            job.targets_tensor(job.splits.validation),
            job.class_weights,
            job.config.train.label_smoothing,
        )
        _, metrics = self._validate()
        if self._selection.offer(metrics, 0, 0.0):
            self._selection.weights = self._learner.weights()
        self._progress.head_started(metrics, fit.strength)
        # Of several labels most are rare: a short head would have to learn anew that each seldom applies.
        if job.config.model.trainable != "head" and job.dataset.task != "multi-label":
            shorten_head(job.model)

    def _evaluate(self, recent: list[Step]) -> EpochLine:
        learner, step = self._learner, recent[-1]
        _, metrics = self._validate()
        epoch = step.number / learner.steps_per_epoch
        best = self._selection.offer(metrics, step.number, epoch)
        if best:
            self._selection.weights = learner.weights()
        seen = len(recent) * learner.step_size
        return EpochLine(
            step=step.number,
            epoch=epoch,
            loss=sum(s.loss for s in recent) / len(recent),
            validation_loss=metrics.log_loss,
            accuracy=metrics.accuracy,
            macro_f1=metrics.macro_f1,
            mcc=metrics.mcc,
            examples_per_second=seen / max(1e-9, sum(s.seconds for s in recent)),
            best=best,
            value=metrics.value(self._selection.metric),
            ends_epoch=step.ends_epoch,
        )

    def _offer_average(self) -> None:
        """Keep the mean of the epochs, unless validation finds it worse than the best of them."""
        job, learner, average, best = self._job, self._learner, self._average, self._selection
        assert best.weights is not None and average.weights is not None
        learner.load_weights(best.weights)
        of_best = self._validate()
        learner.load_weights(average.weights)
        of_average = self._validate()
        kept = holds(job.targets(job.splits.validation), of_average, of_best, job.dataset.task, best.metric)
        if kept:
            best.take_average(average, of_average[1], learner.step, learner.step / learner.steps_per_epoch)
        self._progress.averaged(of_average[1], average.epochs, kept)

    def _validate(self) -> tuple[NDArray[np.float32], Metrics]:
        """Return the model's probabilities on the validation split, `(N, C)`, and their figures."""
        job = self._job
        logits = predict_logits(job.model, self._inputs.validation)
        if not np.isfinite(logits).all():  # the step before went too far; its weights are not worth keeping
            raise RunError(
                f"after step {self._learner.step} the model's outputs are not finite; the last checkpoint is kept. "
                "Start again with a lower --learning-rate."
            )
        probs = probabilities(logits, job.dataset.task)
        targets = job.targets(job.splits.validation)
        return probs, compute_metrics(targets, probs, job.dataset.class_names, job.dataset.task)

    def _notice_smaller_batches(self, step: Step) -> None:
        if step.micro_batch < self._micro_batch:
            self._micro_batch = step.micro_batch
            self._progress.notice(
                f"out of memory: texts now go through the model {step.micro_batch} at a time; "
                f"the effective batch stays {self._learner.step_size}."
            )

    def _save(self, history: History | None) -> None:
        if history is None or self._folder is None:
            return
        history.sync()
        learner, best = self._learner, self._selection
        current = best.weights is not None and best.step == learner.step > 0
        weights = best.weights if current and best.weights is not None else learner.weights()
        save_checkpoint(
            self._folder.checkpoints,
            Checkpoint(
                step=learner.step,
                weights=weights,
                best=best.weights,
                average=self._average.weights,
                state=learner.state(),
                progress={"selection": best.to_dict(), "averaged_epochs": self._average.epochs},
                identity=self._job.identity,
            ),
        )

    def _stop_if_asked(self, history: History | None) -> None:
        number = self._stop.signal_number
        if number is None:
            return
        self._save(history)
        if self._folder is None:
            raise Interrupted(self._stop.message, number)
        raise Interrupted(
            f"stopped at step {self._learner.step}. Go on with: finetext train --resume {self._folder.path}",
            number,
        )


def _due(step: Step, every: int | None) -> bool:
    return every is not None and step.number % every == 0


def make_accelerator(job: Job, folder: RunFolder | None) -> Accelerator:
    """Return Accelerate's handle on precision, device and trackers for a job; without a folder nothing is tracked."""
    # Accelerate keeps one state a process; a second run in it may want another precision or device.
    AcceleratorState._reset_state(reset_partial_state=True)
    precision = {"bf16": "bf16", "fp16": "fp16"}.get(job.precision.name, "no")
    track = [] if folder is None else list(job.config.train.track)
    return Accelerator(
        mixed_precision=precision,
        cpu=job.model.device.type == "cpu",
        log_with=track or None,
        project_dir=None if folder is None or not track else str(folder.tracking),
    )
