"""The training loop: a generator of events, which its consumer shows, records or ignores.

It knows nothing of files. Where it stands is `Trainer.step`; the order of the examples follows from the seed and the
epoch alone, so a trainer restored at any step continues exactly as the uninterrupted one.
"""

import dataclasses
import gc
import math
import time
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from finetext.engine import HeapTrimmer
from finetext.errors import RunError
from finetext.evaluation import Metrics
from finetext.models import predict_logits, probabilities, set_trainable, trained_parameters
from finetext.training.checkpoints import Checkpoint, random_state, restore_random_state
from finetext.training.events import EpochAverage, Evaluation, Event, Notice, ProbeInitialization, Step
from finetext.training.linear_probe import initialize_head, shrink_head
from finetext.training.losses import loss_sum, loss_weight
from finetext.training.optimizers import clip_gradients, make_optimizer, make_schedule
from finetext.training.sampling import epoch_batches
from finetext.training.selection import Selection, WeightAverage, is_no_worse
from finetext.training.setup import RunInputs, Setup
from finetext.training.tracking import make_accelerator

AUTOCAST_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class StepError(RunError):
    """A step that cannot be taken; the weights are as they were before it."""


class Trainer:
    """One training, from its first step or from a checkpoint to its last.

    Attributes:
        model: The model that learns.
        plan: What the training does.
        parameters: Every parameter that is trained in any epoch, by name.
        optimizer: The optimizer.
        schedule: The learning-rate schedule.
        step: Optimizer steps taken so far.
        micro_batch: Texts in one forward pass.
        selection: The best weights so far and their evaluation.
    """

    def __init__(self, setup: Setup, inputs: RunInputs, checkpoint: Checkpoint | None = None) -> None:
        self.model, self.plan = setup.model, setup.plan
        self._setup, self._inputs, self._options = setup, inputs, setup.config.train
        device, weights = self.model.device, setup.class_weights
        self._targets = setup.target_tensor(setup.train)
        self._class_weights = None if weights is None else torch.tensor(weights, device=device)
        self._lengths = [inputs.train.length(text) for text in range(len(inputs.train))]
        self.parameters = trained_parameters(self.model, setup.config.model, self.plan.epochs)
        optimizer = make_optimizer(
            self.parameters.values(), self.plan.optimizer, self.plan.learning_rate, self._options.weight_decay
        )
        steps = (self.plan.warmup_steps, self.plan.total_steps)
        self.schedule = make_schedule(optimizer, self._options.schedule, *steps)
        self._accelerator = make_accelerator()
        self.optimizer = self._accelerator.prepare(optimizer)
        self._autocast_dtype = AUTOCAST_DTYPES.get(self.plan.precision.name)
        self._scaler = torch.amp.GradScaler(device.type, enabled=self._autocast_dtype == torch.float16)
        if self._options.gradient_checkpointing:
            self.model.enable_gradient_checkpointing()
        torch.manual_seed(self._options.seed)  # of dropout
        self.step = 0
        self.micro_batch = self._options.batch_size
        self.selection = Selection(self._options.metric, self._options.patience)
        self._average = WeightAverage()
        if checkpoint is not None:
            self._restore(checkpoint)

    def fit(self) -> Iterator[Event]:
        """Train to the end, and leave the best weights in the model.

        Raises:
            StepError: The loss is not finite, or memory does not suffice for a single text; the weights are as they
                were before the step.
            RunError: The model's outputs are not finite.
        """
        if self.step == 0 and self.plan.probe_initialization:
            yield self._initialize_head()
        since_evaluation: list[Step] = []
        trim_heap = HeapTrimmer()
        for epoch, texts in self._batches():
            micro_batch = self.micro_batch
            step = self._take_step(epoch, texts)
            if step.micro_batch < micro_batch:
                yield Notice(
                    f"out of memory: texts now go through the model {step.micro_batch} at a time; "
                    f"the effective batch stays {self.plan.step_size}."
                )
            since_evaluation.append(step)
            if step.ends_epoch or step.is_due(self._options.eval_every):
                step = dataclasses.replace(step, evaluation=self._evaluate(since_evaluation))
                since_evaluation = []
            if step.ends_epoch and self._options.weight_averaging:
                self._average.add(self.parameters)
            trim_heap()
            yield step
        if self.selection.exhausted:
            yield Notice(
                f"stopped at step {self.step}: {self.selection.waited} evaluations "
                f"without a better {self.selection.metric}."
            )
        if self._average.epochs > 1:
            yield self._offer_average()
        self.load_weights(self.selection.weights)

    @property
    def finished(self) -> bool:
        """Whether no step is left."""
        return self.step == self.plan.total_steps or self.selection.exhausted

    def weights(self) -> dict[str, Tensor]:
        """Return a copy, on the CPU, of every parameter that the run trains."""
        return {name: p.detach().to("cpu", copy=True) for name, p in self.parameters.items()}

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Restore what `weights` returned."""
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(weights[name])

    def checkpoint(self) -> Checkpoint:
        """Return what a resumed training starts from."""
        best = self.selection
        return Checkpoint(
            step=self.step,
            # The very same object where the newest weights are the best, so that they are written once.
            weights=best.weights if best.step == self.step > 0 and best.weights else self.weights(),
            best=best.weights,
            average=self._average.weights,
            state={
                "micro_batch": self.micro_batch,
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
                "scaler": self._scaler.state_dict(),
                "random": random_state(),
            },
            progress={"selection": best.to_dict(), "averaged_epochs": self._average.epochs},
            identity=self._setup.identity,
        )

    def _restore(self, checkpoint: Checkpoint) -> None:
        state = checkpoint.state
        self.load_weights(checkpoint.weights)
        self.step, self.micro_batch = checkpoint.step, state["micro_batch"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self._scaler.load_state_dict(state["scaler"])
        restore_random_state(state["random"])
        self.selection = Selection(**checkpoint.progress["selection"], weights=checkpoint.best)
        self._average = WeightAverage(checkpoint.progress["averaged_epochs"], checkpoint.average)

    def _initialize_head(self) -> ProbeInitialization:
        fit = initialize_head(self._setup, self._inputs)
        _, metrics = self._validate()
        self.selection.offer(metrics, 0, 0.0, self.weights)
        # With several labels most are rare: a short head would have to learn again that each seldom applies.
        if self.plan.trainable != "head" and self._setup.dataset.task != "multi-label":
            shrink_head(self.model)
        return ProbeInitialization(metrics, fit.strength)

    def _batches(self) -> Iterator[tuple[int, list[int]]]:
        """Yield the epoch (from 0) and the texts of each step that is left, until the selection is exhausted."""
        train, size = self._options, self.plan.step_size
        while not self.finished:
            epoch, done = divmod(self.step, self.plan.steps_per_epoch)
            set_trainable(self.model, self._setup.config.model, epoch)
            batches = epoch_batches(self._lengths, size, train.seed, epoch, grouped=train.group_by_length)
            for texts in batches[done:]:
                if self.selection.exhausted:
                    return
                yield epoch, texts

    def _take_step(self, epoch: int, texts: list[int]) -> Step:
        """Take one step; if memory does not suffice, halve the micro-batch and try again."""
        began, rate = time.perf_counter(), self.schedule.get_last_lr()[0]
        while True:
            state = random_state()
            try:
                loss, norm = self._update(texts)
                break
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                if self.micro_batch == 1:
                    raise StepError(
                        "out of memory with a single text. Lower --max-length, train fewer layers (--trainable), "
                        "use --gradient-checkpointing, or choose a smaller model."
                    ) from error
            self.micro_batch = math.ceil(self.micro_batch / 2)
            self.optimizer.zero_grad()
            restore_random_state(state)
            gc.collect()
            if self.model.device.type == "cuda":
                torch.cuda.empty_cache()
        self.step += 1
        in_epoch = self.step - epoch * self.plan.steps_per_epoch
        return Step(
            number=self.step,
            epoch=epoch + 1,
            examples=epoch * len(self._targets) + (in_epoch - 1) * self.plan.step_size + len(texts),
            loss=loss,
            learning_rate=rate,
            gradient_norm=norm,
            seconds=time.perf_counter() - began,
            ends_epoch=in_epoch == self.plan.steps_per_epoch,
            micro_batch=self.micro_batch,
        )

    def _update(self, texts: list[int]) -> tuple[float, float]:
        """Take one optimizer step and return its loss and the norm of its gradient."""
        device = self.model.device
        targets = self._targets[texts].to(device)
        weight = loss_weight(targets, self._class_weights)
        total = torch.zeros((), device=device)
        self.model.train_mode()
        for start in range(0, len(texts), self.micro_batch):
            part = slice(start, start + self.micro_batch)
            batch = self._inputs.train.batch(texts[part]).to(device)
            with torch.autocast(device.type, self._autocast_dtype, enabled=self._autocast_dtype is not None):
                logits = self.model.logits(batch)  # (B, C)
            smoothing = self._options.label_smoothing
            loss = loss_sum(logits, targets[part], self._class_weights, smoothing) / weight
            self._accelerator.backward(self._scaler.scale(loss))
            total += loss.detach()
        self._require_finite("loss", total.item())
        self._scaler.unscale_(self.optimizer)
        norm = clip_gradients(self.optimizer.optimizer, self._options.max_gradient_norm)
        if not self._scaler.is_enabled():  # otherwise the scaler skips the step and lowers its scale
            self._require_finite("gradient", norm)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        self.schedule.step()
        self.optimizer.zero_grad()
        return total.item(), norm

    def _require_finite(self, name: str, value: float) -> None:
        if math.isfinite(value):
            return
        self.optimizer.zero_grad()
        causes = ["a learning rate that is too high (--learning-rate)"]
        if self.plan.precision.name == "fp16":
            causes.insert(0, "half precision (--precision fp32)")
        if self._class_weights is not None:
            causes.append("class weights that are too large (--class-weights)")
        causes.append("weights of the pretrained model that are not finite (`finetext models check`)")
        raise StepError(
            f"the {name} of step {self.step + 1} is {value}; the last good state is kept. "
            f"Likely causes: {', '.join(causes)}."
        )

    def _evaluate(self, steps: list[Step]) -> Evaluation:
        """Evaluate on validation, after the steps since the last time."""
        _, metrics = self._validate()
        epoch, seconds = self.step / self.plan.steps_per_epoch, sum(step.seconds for step in steps)
        best = self.selection.offer(metrics, self.step, epoch, self.weights)
        return Evaluation(
            step=self.step,
            epoch=epoch,
            loss=sum(step.loss for step in steps) / len(steps),
            examples_per_second=len(steps) * self.plan.step_size / max(1e-9, seconds),
            metrics=metrics,
            value=metrics.value(self.selection.metric),
            best=best,
            ends_epoch=steps[-1].ends_epoch,
        )

    def _offer_average(self) -> EpochAverage:
        """Keep the mean of the epochs, unless it is worse on validation than the best of them."""
        setup, best, average = self._setup, self.selection, self._average
        self.load_weights(best.weights)
        of_best = self._validate()
        self.load_weights(average.weights)
        of_average = self._validate()
        targets = setup.targets(setup.splits.validation)
        kept = is_no_worse(targets, of_average, of_best, setup.dataset.task, best.metric)
        if kept:
            best.take_average(average, of_average[1], self.step, self.step / self.plan.steps_per_epoch)
        return EpochAverage(of_average[1], average.epochs, kept)

    def _validate(self) -> tuple[NDArray[np.float32], Metrics]:
        """Return the model's probabilities on the validation split, `(N, C)`, and their metrics."""
        logits = predict_logits(self.model, self._inputs.validation)
        if not np.isfinite(logits).all():  # the step before went too far; its weights are not worth keeping
            raise RunError(
                f"after step {self.step} the model's outputs are not finite; the last checkpoint is kept. "
                "Start again with a lower --learning-rate."
            )
        probs = probabilities(logits, self._setup.dataset.task)
        return probs, self._setup.score(self._setup.splits.validation, probs)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Tell whether an error says that an allocation failed, on a GPU or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
