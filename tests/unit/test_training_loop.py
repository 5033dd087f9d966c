import dataclasses
import math
import warnings

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from finetext.engine import Precision
from finetext.errors import RunError
from finetext.training.optimizers import clip_gradients, make_optimizer, resolve_optimizer
from finetext.training.sampling import epoch_batches, epoch_order, group_by_length
from trainings import setup_of, steps_of, trainer_of

TEXTS = [f"text number {n} says {'hello' if n % 2 else 'goodbye now'}" for n in range(22)]
CLASSES = [n % 2 for n in range(22)]
BASE = {"trainable": "all", "learning_rate": 1e-3, "epochs": 2, "batch_size": 4, "dropout": 0.1, "seed": 5}


@pytest.fixture
def make_setup(checkpoint):
    def make(architecture="bert", **options):
        return setup_of(TEXTS, CLASSES, **BASE | {"model": str(checkpoint(architecture))} | options)

    return make


@pytest.fixture
def make_trainer(make_setup):
    return lambda architecture="bert", **options: trainer_of(make_setup(architecture, **options))


def losses(trainer):
    return [step.loss for step in steps_of(trainer)]


def test_every_text_is_seen_once_per_epoch(make_trainer):
    steps = list(steps_of(make_trainer()))
    assert [step.number for step in steps] == list(range(1, 13))
    assert [step.ends_epoch for step in steps] == ([False] * 5 + [True]) * 2
    assert [step.examples for step in steps if step.ends_epoch] == [22, 44]
    batches = epoch_batches([7] * 22, 4, 5, 1, grouped=False)
    order = [text for batch in batches for text in batch]
    assert sorted(order) == list(range(22)) and order == epoch_order(22, 5, 1)
    assert epoch_order(22, 5, 0) != epoch_order(22, 5, 1) != epoch_order(22, 6, 1)


def test_every_epoch_ends_with_an_evaluation(make_trainer):
    evaluated = [step.number for step in steps_of(make_trainer(eval_every=4)) if step.evaluation is not None]
    assert evaluated == [4, 6, 8, 12]


def test_a_restored_trainer_continues_bitwise_like_an_uninterrupted_one(make_setup, make_trainer):
    straight = losses(make_trainer())
    first = make_trainer()
    steps = steps_of(first)
    before = [next(steps).loss for _ in range(4)]
    checkpoint = first.checkpoint()
    setup = make_setup()
    torch.manual_seed(12345)
    assert before + losses(trainer_of(setup, checkpoint)) == straight


def test_out_of_memory_halves_the_micro_batch_and_keeps_the_effective_one(make_trainer):
    whole = losses(make_trainer(dropout=0.0))
    trainer = make_trainer(dropout=0.0)
    forward = trainer.model.logits

    def small_memory(batch):
        if batch.size > 1 and trainer.model.network.training:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(batch)

    trainer.model.logits = small_memory
    steps = list(steps_of(trainer))
    assert {step.micro_batch for step in steps} == {1}
    assert [step.loss for step in steps] == pytest.approx(whole, abs=1e-5)


def test_out_of_memory_with_a_single_text_ends_with_advice(make_trainer):
    trainer = make_trainer()

    def no_memory(batch):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")

    trainer.model.logits = no_memory
    with pytest.raises(RunError, match="--max-length"):
        next(trainer.fit())


def test_other_runtime_errors_are_not_swallowed(make_trainer):
    trainer = make_trainer()

    def broken(batch):
        raise RuntimeError("a bug")

    trainer.model.logits = broken
    with pytest.raises(RuntimeError, match="a bug"):
        next(trainer.fit())


def test_a_loss_that_is_not_finite_stops_before_the_weights_change(make_trainer):
    trainer = make_trainer()
    steps = trainer.fit()
    next(steps)
    before = trainer.weights()
    forward = trainer.model.logits
    trainer.model.logits = lambda batch: forward(batch) * math.nan
    with pytest.raises(RunError, match=r"loss of step 2 is nan.*--learning-rate"):
        next(steps)
    assert all(torch.equal(before[name], after) for name, after in trainer.weights().items())
    assert trainer.step == 1


def test_an_exploding_learning_rate_is_stopped(make_trainer):
    trainer = make_trainer(learning_rate=9.0, max_gradient_norm=0.0, epochs=400)
    trainer.optimizer.param_groups[0]["lr"] = 1e30
    trainer.schedule.base_lrs = [1e30 for _ in trainer.schedule.base_lrs]
    with pytest.raises(RunError, match="learning rate"):
        list(trainer.fit())


def test_gradual_unfreezes_one_more_layer_each_epoch(make_trainer):
    trainer = make_trainer(trainable="gradual", epochs=2, head_start="none")
    start = trainer.weights()
    moved = []
    for step in steps_of(trainer):
        if step.ends_epoch:
            now = trainer.weights()
            moved.append({name for name in now if not torch.equal(now[name], start[name])})
    assert moved[0] < moved[1]
    layers = lambda names: {name.split("layer.")[1].split(".")[0] for name in names if "layer." in name}  # noqa: E731
    assert layers(moved[0]) == {"1"}
    assert layers(moved[1]) == {"0", "1"}


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "adafactor"])
def test_every_optimizer_lowers_the_loss(make_trainer, optimizer):
    steps = losses(make_trainer(optimizer=optimizer, epochs=15, dropout=0.0, learning_rate=1e-2))
    assert sum(steps[-6:]) < sum(steps[:6])


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_clipping_scales_the_update_as_smaller_gradients_would(optimizer):
    def updated(gradient, limit):
        parameter = torch.nn.Parameter(torch.ones(3, 2))
        trained = make_optimizer([parameter], optimizer, 0.1, 0.0)
        for _ in range(2):  # the scale of one step must not carry over to the next
            parameter.grad = gradient.clone()
            norm = clip_gradients(trained, limit)
            trained.step()
            assert norm == pytest.approx(float(gradient.norm()))
            gradient, limit = gradient / 100, 0.0
        return parameter.detach()

    gradient = torch.tensor([[3.0, 4.0], [0.0, 0.0], [12.0, 0.0]])  # norm 13
    torch.testing.assert_close(updated(gradient, 0.013), clipped_reference(gradient, optimizer))


def clipped_reference(gradient, optimizer):
    parameter = torch.nn.Parameter(torch.ones(3, 2))
    reference = make_optimizer([parameter], optimizer, 0.1, 0.0)
    for scaled in (gradient * 0.013 / 13, gradient / 100):
        parameter.grad = scaled
        reference.step()
    return parameter.detach()


def test_adamw_8bit_falls_back_with_a_notice_without_a_gpu():
    name, notice = resolve_optimizer("adamw-8bit", torch.device("cpu"))
    assert name == "adamw" and "CUDA" in notice


@pytest.mark.parametrize("architecture", ["bert", "gpt2", "llama"])
def test_gradient_checkpointing_does_not_change_the_losses(make_trainer, architecture):
    def run(**options):
        trainer = make_trainer(architecture, dropout=0.0, **options)
        asked = options.get("gradient_checkpointing", False)
        assert trainer.model.network.is_gradient_checkpointing == asked
        return losses(trainer)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # transformers renamed the attribute
        assert run(gradient_checkpointing=True) == pytest.approx(run(), abs=1e-5)


def test_trainings_with_different_precisions_share_a_process(make_setup):
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)):
        setup = make_setup(epochs=15, dropout=0.0)
        # No option selects fp16 on a CPU, but its arithmetic and gradient scaler work there.
        setup = dataclasses.replace(setup, plan=dataclasses.replace(setup.plan, precision=Precision(name)))
        trainer = trainer_of(setup)
        dtypes = set()

        def note(module, args, output, trainer=trainer, dtypes=dtypes):
            if trainer.model.network.training:
                dtypes.add(output.dtype)

        trainer.model.network.classifier.register_forward_hook(note)
        steps = losses(trainer)
        assert dtypes == {dtype}
        assert {parameter.dtype for parameter in trainer.model.network.parameters()} == {torch.float32}
        assert sum(steps[-6:]) < sum(steps[:6])


def test_a_precision_set_in_accelerate_by_others_is_named(make_setup):
    AcceleratorState._reset_state(reset_partial_state=True)
    try:
        Accelerator(cpu=True, mixed_precision="bf16")
        with pytest.raises(RunError, match="Accelerate is already in use"):
            trainer_of(make_setup())
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)


def test_grouping_by_length_keeps_every_example_and_pads_less():
    lengths = [(n * 37) % 50 + 1 for n in range(203)]
    order = epoch_order(203, 1, 0)
    grouped = group_by_length(order, lengths, 8, seed=1)
    assert sorted(grouped) == list(range(203)) and grouped != order
    assert group_by_length(order, lengths, 8, seed=1) == grouped != group_by_length(order, lengths, 8, seed=2)
    assert padding(grouped, lengths) < 0.6 * padding(order, lengths)
    assert len(order) % 8 == 3  # the smaller batch stays last


def padding(order, lengths):
    """Return the amount of padding if texts are batched by eight in this order."""
    batches = [[lengths[text] for text in order[start : start + 8]] for start in range(0, len(order), 8)]
    return sum(len(batch) * max(batch) - sum(batch) for batch in batches)
