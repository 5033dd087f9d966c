"""The training loop: one generator of optimizer steps, which its consumer prints, evaluates and saves.

It knows nothing of files. Where it stands is `Learner.step`; the order of the examples follows from the seed
and the epoch alone, so that a learner restored at any step goes on exactly as the uninterrupted one.
"""

import contextlib
import gc
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from finetext.cache import Inputs
from finetext.errors import RunError
from finetext.models import Model, set_trainable, trained_parameters
from finetext.training.config import TrainConfig
from finetext.training.defaults import resolve_epochs, resolve_learning_rate
from finetext.training.losses import loss_sum, loss_weight
from finetext.training.optimizers import make_optimizer, make_schedule

GROUPED_BATCHES = 50
"""Batches in a window within which texts of like length are put together."""
LARGE_GRADIENT = 100_000
"""Numbers from which on the norm of a gradient is worth two threads."""


class StepError(RunError):
    """A step that cannot be taken; the weights are as they were before it."""


@dataclass(frozen=True)
class Step:
    """One optimizer step.

    Attributes:
        number: Optimizer steps taken in the run, this one included.
        epoch: Pass over the training split that the step belongs to, from 1.
        examples: Texts seen in the run, this step's included.
        loss: Mean loss over the step's texts, before the update.
        learning_rate: Rate that the update used.
        gradient_norm: Norm of the gradient before clipping.
        seconds: Time the step took.
        ends_epoch: Whether it is the last of its epoch.
        micro_batch: Texts in one forward pass; smaller than the batch after an out-of-memory error.
    """

    number: int
    epoch: int
    examples: int
    loss: float
    learning_rate: float
    gradient_norm: float
    seconds: float
    ends_epoch: bool
    micro_batch: int


class Learner:
    """What changes while a run trains: the weights, the optimizer, the schedule and the place in the data.

    Attributes:
        model: The model that learns.
        step: Optimizer steps taken so far.
        total_steps: Steps of the whole run.
        micro_batch: Texts in one forward pass.
    """

    def __init__(
        self,
        model: Model,
        inputs: Inputs,
        targets: Tensor,
        config: TrainConfig,
        accelerator: Accelerator,
        optimizer_name: str,
        class_weights: Sequence[float] | None = None,
    ) -> None:
        self.model = model
        self.inputs = inputs
        self._lengths = [inputs.length(text) for text in range(len(inputs))]
        self.targets = targets
        self.config = config
        self.accelerator = accelerator
        self.class_weights = (
            None if class_weights is None else torch.tensor(class_weights, device=model.device)
        )
        self.epochs = resolve_epochs(config, len(inputs))
        self.parameters = trained_parameters(model, config.model, self.epochs)
        self.optimizer: Any = accelerator.prepare(
            make_optimizer(
                self.parameters.values(),
                optimizer_name,
                resolve_learning_rate(config),
                config.train.weight_decay,
            )
        )
        self.schedule = make_schedule(self.optimizer.optimizer, config.train, self.total_steps)
        if config.train.gradient_checkpointing:
            model.enable_gradient_checkpointing()
        torch.manual_seed(config.train.seed)  # of dropout
        self.step = 0
        self.micro_batch = config.train.batch_size

    @property
    def step_size(self) -> int:
        """Texts that make one optimizer step."""
        return self.config.train.batch_size * self.config.train.gradient_accumulation

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one pass over the training split."""
        return math.ceil(len(self.inputs) / self.step_size)

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.steps_per_epoch * self.epochs

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a loss; without a gradient scaler Accelerate would only look for one each time."""
        if self.accelerator.scaler is None:
            loss.backward()  # type: ignore[no-untyped-call]
        else:
            self.accelerator.backward(loss)

    def autocast(self) -> contextlib.AbstractContextManager[None]:
        """Return the block in which a loss is computed; in float32 Accelerate would only look that up each time."""
        return self.accelerator.autocast() if self.accelerator.native_amp else contextlib.nullcontext()

    def update(self) -> None:
        """Take the optimizer's step."""
        optimizer = self.optimizer.optimizer
        (optimizer if self.accelerator.scaler is None else self.optimizer).step()
        vars(optimizer).pop("grad_scale", None)

    def train_mode(self) -> None:
        """Switch dropout on in what is trained; the frozen layers below the cut have none."""
        self.model.train_mode()

    def order(self, epoch: int) -> list[int]:
        """Return the order of the examples in an epoch (from 0)."""
        order = epoch_order(len(self.inputs), self.config.train.seed, epoch)
        if not self.config.train.group_by_length:
            return order
        return grouped_by_length(order, self._lengths, self.step_size, self.config.train.seed + epoch)

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs besides the weights: tensors, numbers, lists and dictionaries only."""
        scaler = self.accelerator.scaler
        return {
            "step": self.step,
            "micro_batch": self.micro_batch,
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
            "random": random_state(),
        }

    def weights(self) -> dict[str, Tensor]:
        """Return a copy, on the CPU, of every parameter that the run trains."""
        return {name: p.detach().to("cpu", copy=True) for name, p in self.parameters.items()}

    def load_weights(self, weights: dict[str, Tensor]) -> None:
        """Put back what `weights` returned."""
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(weights[name])

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to where `state` was taken; the weights are restored by `load_weights`."""
        self.step = state["step"]
        self.micro_batch = state["micro_batch"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        restore_random_state(state["random"])


def training_steps(learner: Learner) -> Iterator[Step]:
    """Take the steps that are left, one at a time.

    Raises:
        StepError: The loss is not finite (the weights stay as they were before the step), or the memory does
            not suffice for a single text.
    """
    step_size = learner.step_size
    while learner.step < learner.total_steps:
        epoch, place = divmod(learner.step, learner.steps_per_epoch)
        order = learner.order(epoch)
        set_trainable(learner.model, learner.config.model, epoch)
        learner.train_mode()
        for start in range(place * step_size, len(order), step_size):
            chosen = order[start : start + step_size]
            began = time.perf_counter()
            rate = learner.schedule.get_last_lr()[0]
            loss, norm = _fitting_step(learner, chosen)
            learner.step += 1
            yield Step(
                number=learner.step,
                epoch=epoch + 1,
                examples=epoch * len(order) + start + len(chosen),
                loss=loss,
                learning_rate=rate,
                gradient_norm=norm,
                seconds=time.perf_counter() - began,
                ends_epoch=start + step_size >= len(order),
                micro_batch=learner.micro_batch,
            )
            learner.train_mode()  # the consumer may have evaluated


def epoch_order(examples: int, seed: int, epoch: int) -> list[int]:
    """Return the shuffled order of the examples in an epoch, from the seed and the epoch alone."""
    generator = torch.Generator().manual_seed((seed * 1_000_003 + epoch) % 2**63)
    order: list[int] = torch.randperm(examples, generator=generator).tolist()
    return order


def grouped_by_length(order: list[int], lengths: list[int], batch_size: int, seed: int) -> list[int]:
    """Sort an order by length within windows of some batches, and shuffle the batches of each window.

    The last batch, which may be smaller, stays the last.
    """
    random = torch.Generator().manual_seed(seed % 2**63)
    grouped: list[int] = []
    for start in range(0, len(order), GROUPED_BATCHES * batch_size):
        window = sorted(order[start : start + GROUPED_BATCHES * batch_size], key=lambda text: lengths[text])
        batches = [window[place : place + batch_size] for place in range(0, len(window), batch_size)]
        full = [batch for batch in batches if len(batch) == batch_size]
        for place in torch.randperm(len(full), generator=random).tolist():
            grouped += full[place]
        if len(full) < len(batches):
            grouped += batches[-1]
    return grouped


def _fitting_step(learner: Learner, chosen: list[int]) -> tuple[float, float]:
    """Take one step; if the memory does not suffice, halve the micro-batch and take it again."""
    while True:
        state = random_state()
        try:
            return _step(learner, chosen)
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            if learner.micro_batch == 1:
                raise StepError(
                    "out of memory with a single text. Lower --max-length, train fewer layers (--trainable), "
                    "use --gradient-checkpointing, or choose a smaller model."
                ) from error
        learner.micro_batch = math.ceil(learner.micro_batch / 2)
        learner.optimizer.optimizer.zero_grad()
        restore_random_state(state)
        gc.collect()
        if learner.model.device.type == "cuda":
            torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that an allocation failed, on a GPU or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def _step(learner: Learner, chosen: list[int]) -> tuple[float, float]:
    model, train, device = learner.model, learner.config.train, learner.model.device
    targets = learner.targets[chosen].to(device)
    weight = loss_weight(targets, learner.class_weights)
    total = torch.zeros((), device=device)
    for start in range(0, len(chosen), learner.micro_batch):
        part = slice(start, start + learner.micro_batch)
        batch = learner.inputs.batch(chosen[part]).to(device)
        with learner.autocast():
            logits = model.logits(batch)  # (B, C)
        loss = loss_sum(logits, targets[part], learner.class_weights, train.label_smoothing) / weight
        learner.backward(loss)
        total += loss.detach()
    if not math.isfinite(total.item()):
        learner.optimizer.optimizer.zero_grad()
        raise StepError(_not_finite(learner, total.item(), "loss"))
    norm = _clip(learner, train.max_gradient_norm)
    if not math.isfinite(norm) and learner.accelerator.scaler is None:  # a scaler skips such a step itself
        learner.optimizer.optimizer.zero_grad()
        raise StepError(_not_finite(learner, norm, "gradient"))
    learner.update()
    learner.schedule.step()
    learner.optimizer.optimizer.zero_grad()
    return total.item(), norm


def _clip(learner: Learner, limit: float) -> float:
    if learner.accelerator.scaler is not None:
        learner.accelerator.unscale_gradients(learner.optimizer)
    gradients = [p.grad for p in learner.parameters.values() if p.grad is not None]
    if learner.model.device.type == "cpu":  # where a number costs less than a product of small tensors
        value = math.hypot(*map(_norm, gradients))
        norm = torch.tensor(value)
    else:
        norm = torch.nn.utils.get_total_norm(gradients)
        value = float(norm)
    if limit and math.isfinite(value) and value > limit:  # else the gradients need not be written
        optimizer = learner.optimizer.optimizer
        if optimizer.defaults.get("fused") and learner.accelerator.scaler is None:
            optimizer.grad_scale = norm / limit  # the fused kernel divides by it while it reads them
        else:
            torch.nn.utils.clip_grads_with_norm_(learner.parameters.values(), limit, norm)
    return value


def _norm(gradient: Tensor) -> float:
    if gradient.numel() >= LARGE_GRADIENT:  # the threads share rows; they would not share a single number
        gradient = torch.linalg.vector_norm(gradient, dim=-1)
    return float(torch.linalg.vector_norm(gradient))


def _not_finite(learner: Learner, value: float, what: str) -> str:
    causes = ["a learning rate that is too high (--learning-rate)"]
    if learner.accelerator.mixed_precision == "fp16":
        causes.insert(0, "half precision (--precision fp32)")
    if learner.class_weights is not None:
        causes.append("class weights that are too large (--class-weights)")
    causes.append("weights of the pretrained model that are not finite (`finetext models check`)")
    return (
        f"the {what} of step {learner.step + 1} is {value}; the last good state is kept. "
        f"Likely causes: {', '.join(causes)}."
    )


def random_state() -> dict[str, Any]:
    """Return the state of the generators that dropout draws from."""
    there = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    cuda = torch.cuda.get_rng_state_all() if there else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def restore_random_state(state: dict[str, Any]) -> None:
    """Put back what `random_state` returned."""
    torch.set_rng_state(state["cpu"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
