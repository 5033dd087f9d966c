import math
import warnings

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from finetext.training.loop import Learner, epoch_order, grouped_by_length, training_steps

from finetext.errors import RunError
from finetext.models import find_model, load_model
from finetext.training import TrainConfig, override

TEXTS = [f"text number {n} says {'hello' if n % 2 else 'goodbye now'}" for n in range(22)]
TARGETS = torch.tensor([n % 2 for n in range(22)])
BASE = {"trainable": "all", "learning_rate": 1e-3, "epochs": 2, "batch_size": 4, "dropout": 0.1, "seed": 5}


@pytest.fixture
def learner_with(checkpoint):
    def make(optimizer="adamw", **options):
        config = override(TrainConfig(), BASE | {"model": str(checkpoint("bert"))} | options)
        torch.manual_seed(0)
        model = load_model(find_model(config.model.model), ("a", "b"), "binary", config.model, seed=5)
        return Learner(
            model, model.inputs(model.encode(TEXTS)), TARGETS, config, Accelerator(cpu=True), optimizer
        )

    return make


def test_every_text_is_seen_once_an_epoch(learner_with):
    steps = list(training_steps(learner_with()))
    assert [step.number for step in steps] == list(range(1, 13))
    assert [step.ends_epoch for step in steps] == ([False] * 5 + [True]) * 2
    assert [step.examples for step in steps if step.ends_epoch] == [22, 44]
    assert sorted(epoch_order(22, 5, 1)) == list(range(22))
    assert epoch_order(22, 5, 0) != epoch_order(22, 5, 1) != epoch_order(22, 6, 1)


def test_a_restored_learner_goes_on_bitwise_as_the_uninterrupted_one(learner_with):
    straight = [step.loss for step in training_steps(learner_with())]
    first = learner_with()
    steps = training_steps(first)
    losses = [next(steps).loss for _ in range(4)]
    weights, state = first.weights(), first.state()
    second = learner_with()
    torch.manual_seed(12345)
    second.load_weights(weights)
    second.restore(state)
    losses += [step.loss for step in training_steps(second)]
    assert losses == straight


def test_out_of_memory_halves_the_micro_batch_and_keeps_the_effective_one(learner_with):
    whole = [step.loss for step in training_steps(learner_with(dropout=0.0))]
    learner = learner_with(dropout=0.0)
    forward = learner.model.logits

    def small_memory(batch):
        if batch.size > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(batch)

    learner.model.logits = small_memory
    steps = list(training_steps(learner))
    assert {step.micro_batch for step in steps} == {1}
    assert [step.loss for step in steps] == pytest.approx(whole, abs=1e-5)


def test_out_of_memory_with_a_single_text_ends_with_advice(learner_with):
    learner = learner_with()

    def no_memory(batch):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")

    learner.model.logits = no_memory
    with pytest.raises(RunError, match="--max-length"):
        next(training_steps(learner))


def test_an_error_that_is_no_lack_of_memory_is_not_swallowed(learner_with):
    learner = learner_with()

    def broken(batch):
        raise RuntimeError("a bug")

    learner.model.logits = broken
    with pytest.raises(RuntimeError, match="a bug"):
        next(training_steps(learner))


def test_a_loss_that_is_not_finite_stops_before_the_weights_change(learner_with):
    learner = learner_with()
    steps = training_steps(learner)
    next(steps)
    before = learner.weights()
    forward = learner.model.logits
    learner.model.logits = lambda batch: forward(batch) * math.nan
    with pytest.raises(RunError, match=r"loss of step 2 is nan.*--learning-rate"):
        next(steps)
    assert all(torch.equal(before[name], after) for name, after in learner.weights().items())
    assert learner.step == 1


def test_a_learning_rate_that_explodes_is_stopped(learner_with):
    learner = learner_with(learning_rate=9.0, max_gradient_norm=0.0, epochs=400)
    learner.optimizer.param_groups[0]["lr"] = 1e30
    learner.schedule.base_lrs = [1e30 for _ in learner.schedule.base_lrs]
    with pytest.raises(RunError, match="learning rate"):
        list(training_steps(learner))


def test_gradual_opens_one_more_block_each_epoch(learner_with):
    learner = learner_with(trainable="gradual", epochs=2)
    start = learner.weights()
    moved = []
    for step in training_steps(learner):
        if step.ends_epoch:
            now = learner.weights()
            moved.append({name for name in now if not torch.equal(now[name], start[name])})
    assert moved[0] < moved[1]
    layers = lambda names: {name.split("layer.")[1].split(".")[0] for name in names if "layer." in name}  # noqa: E731
    assert layers(moved[0]) == {"1"}
    assert layers(moved[1]) == {"0", "1"}


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "adafactor"])
def test_every_optimizer_lowers_the_loss(learner_with, optimizer):
    learner = learner_with(optimizer, epochs=15, dropout=0.0, learning_rate=1e-2)
    losses = [step.loss for step in training_steps(learner)]
    assert sum(losses[-6:]) < sum(losses[:6])


def test_adamw_8bit_falls_back_with_a_notice_without_a_gpu():
    from finetext.training.optimizers import resolve_optimizer

    name, notice = resolve_optimizer("adamw-8bit", torch.device("cpu"))
    assert name == "adamw" and "CUDA" in notice


@pytest.mark.parametrize("architecture", ["bert", "gpt2", "llama"])
def test_gradient_checkpointing_changes_memory_and_not_the_losses(checkpoint, architecture):
    def losses(**options):
        config = override(
            TrainConfig(), BASE | {"model": str(checkpoint(architecture)), "dropout": 0.0} | options
        )
        model = load_model(find_model(config.model.model), ("a", "b"), "binary", config.model, seed=5)
        learner = Learner(
            model, model.inputs(model.encode(TEXTS)), TARGETS, config, Accelerator(cpu=True), "adamw"
        )
        assert model.network.is_gradient_checkpointing == config.train.gradient_checkpointing
        return [step.loss for step in training_steps(learner)]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # transformers' new name for the attribute
        assert losses(gradient_checkpointing=True) == pytest.approx(losses(), abs=1e-5)


def test_bf16_keeps_float32_weights_and_learns(checkpoint):
    config = override(TrainConfig(), BASE | {"model": str(checkpoint("bert")), "epochs": 15, "dropout": 0.0})
    model = load_model(find_model(config.model.model), ("a", "b"), "binary", config.model, seed=5)
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(cpu=True, mixed_precision="bf16")
    learner = Learner(model, model.inputs(model.encode(TEXTS)), TARGETS, config, accelerator, "adamw")
    dtypes = set()
    model.network.classifier.register_forward_hook(lambda module, args, output: dtypes.add(output.dtype))
    losses = [step.loss for step in training_steps(learner)]
    AcceleratorState._reset_state(reset_partial_state=True)
    assert dtypes == {torch.bfloat16}
    assert {parameter.dtype for parameter in model.network.parameters()} == {torch.float32}
    assert sum(losses[-6:]) < sum(losses[:6])


def test_grouping_by_length_keeps_every_example_and_pads_less():
    lengths = [(n * 37) % 50 + 1 for n in range(203)]
    order = epoch_order(203, 1, 0)
    grouped = grouped_by_length(order, lengths, 8, seed=1)
    assert sorted(grouped) == list(range(203)) and grouped != order
    assert (
        grouped_by_length(order, lengths, 8, seed=1)
        == grouped
        != grouped_by_length(order, lengths, 8, seed=2)
    )
    assert padded(grouped, lengths) < 0.6 * padded(order, lengths)
    assert len(order) % 8 == 3  # the small batch stays the last, so that the others keep their size


def padded(order, lengths):
    """Padding in the batches of eight of an order."""
    batches = [[lengths[text] for text in order[start : start + 8]] for start in range(0, len(order), 8)]
    return sum(len(own) * max(own) - sum(own) for own in batches)
