"""The engine matches the ordinary network: above a cut, at the pooled position only, with packed weights."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from checkpoints import ARCHITECTURES, DECODERS
from finetext.cache import Inputs
from finetext.engine import Batch, collate, evaluating, kernels, pack, unpack
from finetext.models import find_model, load_model
from finetext.models.config import ModelConfig

TEXTS = ["win a prize now", "tea", "the rain has stopped " * 4, "ends with <|endoftext|>", "call home"]
UNCUT = {"albert"}
"""Architectures that share one layer, so that none of it can be frozen alone."""
COMPOSED_GELU = {"albert", "gpt2"}
CUSTOM_ATTENTION = {"mpnet", "deberta-v2"}
"""Architectures that do not use transformers' AttentionInterface."""


def load(checkpoint, architecture, **options):
    options = {"dropout": 0.0} | options
    model = load_model(
        find_model(str(checkpoint(architecture))),
        ("a", "b", "c"),
        "multi-class",
        ModelConfig(**options),
        seed=3,
    )
    model.network.eval()
    return model


def close(ours, theirs, tolerance=1e-5):
    return bool((ours - theirs).abs().max() <= tolerance * theirs.abs().max().clamp(min=1))


def with_features(model, batch):
    """Return the batch with its features, as the cache provides them."""
    with torch.no_grad():
        features = model.runner.capture(batch)
    hidden = torch.nn.utils.rnn.pad_sequence(features, batch_first=True)
    if model.cut_at == model.structure.depth:
        short = torch.ones_like(batch.input_ids[:, :1])
        return Batch(short + 4, short, batch.owner, batch.size, hidden)
    return batch.with_hidden(hidden)


@pytest.mark.parametrize("architecture", sorted(set(ARCHITECTURES) - UNCUT))
def test_logits_and_gradients_above_the_cut_match_the_whole_network(checkpoint, architecture):
    model = load(checkpoint, architecture)
    batch = collate(model.encode(TEXTS), model.pad_id)
    for cut in (1, 2):
        assert model.cut(cut) is None, architecture
        names = set(model.structure.after)
        if cut == 1:
            prefix = model.structure.layer_names[1] + "."
            names |= {name for name, _ in model.network.named_parameters() if name.startswith(prefix)}
        else:
            names = set(model.structure.head)
        for name, parameter in model.network.named_parameters():
            parameter.requires_grad_(name in names)
        whole = model.logits(batch)
        expected = gradients(model, whole)
        from_cut = model.logits(with_features(model, batch))
        tolerance = 2e-6 if architecture == "gpt2" else 1e-6
        assert close(from_cut, whole, tolerance), architecture
        for name, gradient in gradients(model, from_cut).items():
            assert close(gradient, expected[name], 1e-5), name
    model.uncut()
    assert torch.equal(model.logits(batch), whole)


def gradients(model, logits):
    model.network.zero_grad()
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 0, 1])).backward()
    return {n: p.grad.clone() for n, p in model.network.named_parameters() if p.grad is not None}


def test_layers_below_the_cut_do_not_run_on_stored_features(checkpoint):
    model = load(checkpoint, "gpt2")
    assert model.cut(1) is None
    batch = with_features(model, collate(model.encode(TEXTS), model.pad_id))
    ran = []
    model.structure.layers[0].mlp.register_forward_hook(lambda *_: ran.append("frozen"))
    model.structure.layers[1].mlp.register_forward_hook(lambda *_: ran.append("tail"))
    model.logits(batch)
    assert ran == ["tail"]


def test_a_model_with_shared_layers_is_not_cut(checkpoint):
    model = load(checkpoint, "albert")
    assert "no separate layer" in model.cut(1) and model.cut_at == 0


def test_a_network_whose_logits_differ_above_the_cut_is_not_cut(checkpoint):
    model = load(checkpoint, "bert")
    calls = []
    model.structure.layers[0].register_forward_hook(lambda module, args, output: calls.append(1))
    model.structure.layers[1].register_forward_pre_hook(
        lambda module, args: (args[0] + len(calls), *args[1:])
    )
    assert "outputs differ" in model.cut(1)
    assert model.cut_at == 0


@pytest.mark.parametrize("pooling", ["native", "first", "last"])
@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_computing_only_the_pooled_position_changes_no_logits_or_gradients(checkpoint, architecture, pooling):
    if pooling != "native" and architecture not in ("bert", "roberta", "gpt2", "llama"):
        pytest.skip("pooling is the same for all")
    model = load(checkpoint, architecture, pooling=pooling)
    causal_first = pooling == "first" and architecture in DECODERS
    assert model.runner.is_on("read position") == (
        architecture not in CUSTOM_ATTENTION | UNCUT and not causal_first
    )
    batch = collate(model.encode(TEXTS), model.pad_id)
    narrowed = model.logits(batch)
    actual = gradients(model, narrowed)
    with model.runner.without("read position"):
        whole = model.logits(batch)
        expected = gradients(model, whole)
    assert close(narrowed, whole)
    assert expected.keys() == actual.keys()
    for name, gradient in actual.items():
        assert (gradient - expected[name]).abs().max() <= 1e-5 * expected[name].abs().max().clamp(min=1), name


class Sums(TorchDispatchMode):
    """Records the shapes of all sums of two three-dimensional tensors."""

    def __init__(self):
        super().__init__()
        self.shapes = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if function is torch.ops.aten.add.Tensor and out.ndim == 3:
            self.shapes.append(tuple(out.shape))
        return out


@pytest.mark.parametrize("architecture", ["bert", "gpt2", "llama", "modernbert"])
def test_residuals_of_the_last_layer_are_added_at_one_position(checkpoint, architecture):
    model = load(checkpoint, architecture)
    assert model.cut(1) is None
    batch = with_features(model, collate(model.encode(TEXTS), model.pad_id))
    sums = Sums()
    layer = model.structure.layers[1]
    layer.register_forward_pre_hook(lambda *_: sums.__enter__() and None)
    layer.register_forward_hook(lambda *_: sums.__exit__(None, None, None), always_call=True)
    model.logits(batch)
    width = batch.hidden.shape[-1]  # some norms add an epsilon to the variances
    assert [shape[0] * shape[1] for shape in sums.shapes if shape[2] == width] == [len(TEXTS)] * 2


def test_dropout_below_the_cut_stays_off_after_an_evaluation(checkpoint):
    model = load(checkpoint, "gpt2", dropout=0.5)
    assert model.cut(1) is None
    model.train_mode()
    before = {name: module.training for name, module in model.network.named_modules()}
    with evaluating(model.network):
        assert not any(module.training for module in model.network.modules())
    assert {name: module.training for name, module in model.network.named_modules()} == before
    assert not model.network.transformer.drop.training


@pytest.mark.parametrize("architecture", sorted(set(ARCHITECTURES) - UNCUT - CUSTOM_ATTENTION))
def test_the_mlp_of_the_last_layer_sees_one_position(checkpoint, architecture):
    model = load(checkpoint, architecture)
    widths = []
    for name, module in model.structure.layers[-1].named_modules():
        if isinstance(module, torch.nn.Linear) or type(module).__name__ == "FastConv1D":
            module.register_forward_pre_hook(
                lambda _, args, name=name: widths.append((name, args[0].shape[:-1].numel()))
            )
    batch = collate(model.encode(TEXTS), model.pad_id)
    model.logits(batch)
    mlp_in = [size for name, size in widths if size == len(TEXTS)]
    # OPT flattens the positions before its MLP, which then runs for all of them, unlike the projection.
    assert len(mlp_in) >= (1 if architecture == "opt" else 2), widths


def test_the_output_of_a_linear_layer_can_be_changed_in_place():
    layer = kernels.FastLinear(16, 16)
    out = layer(torch.randn(2, 3, 16, requires_grad=True))
    out /= 2  # as Longformer does with its queries
    out.sum().backward()
    assert layer.weight.grad is not None


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_every_architecture_uses_its_fast_paths(checkpoint, architecture):
    model = load(checkpoint, architecture)
    expected = {"oneDNN products", "pooled head", "packed batches", "read position", "concurrent batches"}
    if architecture in COMPOSED_GELU:
        expected.add("fused GELU")
    if architecture in CUSTOM_ATTENTION:
        expected -= {"packed batches", "read position"}
    if architecture in UNCUT:
        expected -= {"read position"}
    paths = model.fast_paths()
    of_the_machine = {"bf16 products"}
    assert {name for name, path in paths.items() if path.on} - of_the_machine == expected, paths
    assert all(path.on == (not path.reason) for path in paths.values())


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_packed_weights_give_the_same_logits(checkpoint, architecture):
    model = load(checkpoint, architecture)
    batch = collate(model.encode(TEXTS), model.pad_id)
    with torch.inference_mode():
        plain = model.logits(batch)
        layers = pack([model.network], torch.float32)
        exact = model.logits(batch)
        unpack(layers)
        layers = pack([model.network], torch.bfloat16)
        near = model.logits(batch)
        unpack(layers)
        assert torch.equal(model.logits(batch), plain)
    assert close(exact, plain)
    if kernels._HAS_BF16:
        assert not torch.equal(near, plain)
    assert close(near, plain, 0.2)


def test_inputs_can_be_batched_in_any_order(checkpoint):
    model = load(checkpoint, "bert", long_texts="windows", max_length=8)
    inputs = model.inputs(
        model.encode([*TEXTS, "win a prize now and call home for your gold and cash today"])
    )
    assert isinstance(inputs, Inputs)
    batch = inputs.batch([5, 0])
    assert batch.size == 2 and batch.owner.tolist().count(0) == len(inputs.encoded[5]) > 1
    assert inputs.length(5) == 8


def test_the_cut_architectures_include_decoders():
    assert DECODERS <= set(ARCHITECTURES) - UNCUT


def test_an_adapter_between_a_layer_and_its_gelu_is_not_skipped(checkpoint):
    from finetext.models import set_trainable

    model = load(checkpoint, "gpt2")
    set_trainable(model, ModelConfig(trainable="lora", lora_rank=2))
    with torch.no_grad():
        for name, parameter in model.network.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.3)
        batch = collate(model.encode(TEXTS), model.pad_id)
        plain = model.logits(batch)
        layers = pack([model.network], torch.float32)
        assert layers and close(model.logits(batch), plain)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [1, 2, 7, 8, 13, 255, 256, 261])
def test_packed_matrix_products_use_few_row_counts_and_match(monkeypatch, rows, dtype):
    torch.manual_seed(0)
    layer = kernels.FastLinear(32, 48)
    head = kernels.FastLinear(48, 3)
    seen = []
    plain = kernels.product

    def noted(left, *others):
        seen.append(left.shape[:-1].numel())
        return plain(left, *others)

    monkeypatch.setattr(kernels, "product", noted)
    for shape in ((rows, 32), (1, rows, 32), (rows, 1, 32)):
        hidden = torch.randn(shape)
        with torch.no_grad():
            expected = torch.nn.functional.linear(hidden, layer.weight, layer.bias)
            layers = pack([layer, head], dtype)
            assert layers == [layer]  # a head for three classes is not packed
            actual = layer(hidden)
            unpack(layers)
        assert actual.shape == expected.shape
        assert close(actual, expected, 1e-5 if dtype == torch.float32 else 2e-2)
    assert len(seen) == 3
    if 1 < rows < kernels.MAX_ROUNDED_ROWS:
        assert set(seen) == {-(-rows // kernels.ROW_MULTIPLE) * kernels.ROW_MULTIPLE}
    else:
        assert set(seen) == {rows}
