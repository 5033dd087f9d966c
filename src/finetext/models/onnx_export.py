"""Writing a classifier's network as an ONNX file, in float32 or with its matrices in int8."""

import contextlib
import inspect
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from finetext.engine import pool
from finetext.errors import ModelError, UsageError, first_line
from finetext.models.bundle import Parts
from finetext.models.config import Pooling
from finetext.models.onnx_network import MISSING
from finetext.models.structure import Structure, find_structure

ONNX_OPSET = 18
LARGEST_FILE = 1_800_000_000
"""Bytes of weights above which they go into a separate file: an ONNX file is limited to 2 GiB."""
ONNX_TOLERANCE = 1e-4
"""Largest difference of a logit, relative to the largest logit or 1."""
PROBES = ((1, 1), (1, 9), (3, 20), (5, 4), (2, 48))
"""Batch sizes and lengths on which an exporter's file is compared at once; the second holds no padding."""
Exporter = Literal["dynamo", "torchscript"]


class Logits(nn.Module):
    """The network as it is exported: positions follow from the mask, the pooled position is the one finetext reads."""

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        self.network = parts.network.eval()
        structure = find_structure(self.network, 0 if parts.tokenizer.pad_token_id else 1)
        _install_pooling(self.network, structure, parts.settings.pooling)
        takes_positions = "position_ids" in inspect.signature(self.network.forward).parameters
        self._give_positions = takes_positions and structure.reads == "last"

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return logits, `(W, C)`, of `(W, T)` ids and mask."""
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        if self._give_positions:  # as `Model.logits` does
            inputs["position_ids"] = (attention_mask.cumsum(1) - 1).clamp(min=0)
        logits: Tensor = self.network(**inputs).logits.float()
        return logits


def _install_pooling(network: Any, structure: Structure, pooling: Pooling) -> None:
    """Let the network's head read as `pooling` says, by a hook on the backbone's output.

    The pooled vector takes the place of every position's hidden state, expanded without a copy, so that the
    family's own head reads it wherever it looks.

    `native` needs no hook but for decoders, which look for the last token that is not the pad id: with the
    hook they read the last real token by the mask, whatever ids the text holds.
    """
    how = "last" if pooling == "native" and structure.reads == "last" else pooling
    if how == "native" or how == structure.reads == "first":
        return

    def hook(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        hidden = output[0]  # (B, T, H)
        pooled = pool(hidden, kwargs["attention_mask"], how).unsqueeze(1).expand_as(hidden)
        if isinstance(output, tuple):
            return (pooled, *output[1:])
        output["last_hidden_state"] = pooled
        if structure.reads == "pooler":
            pooler = module.pooler
            if isinstance(pooler, nn.Linear):  # ALBERT's, that is given the one position
                output["pooler_output"] = module.pooler_activation(pooler(pooled[:, 0]))
            else:
                output["pooler_output"] = pooler(pooled)
        return output

    network.base_model.register_forward_hook(hook, with_kwargs=True)


def write_onnx(parts: Parts, path: Path) -> Exporter:
    """Write a classifier's network with free batch size and length, and compare it with the original.

    torch's exporter by graph capture comes first, the one by tracing where that fails or gives other logits.

    Args:
        parts: What `read_bundle` gives; its network is used up.
        path: The file to write.

    Returns:
        Which exporter was used.

    Raises:
        ModelError: Neither can export this architecture.
        UsageError: The packages of the extra are not installed.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UsageError(MISSING) from error
    module = Logits(parts)
    exporters: tuple[Exporter, ...] = ("dynamo", "torchscript")
    failures = []
    for exporter in exporters:
        try:
            with torch.no_grad(), _quiet("torch.onnx", logging.CRITICAL):  # what they say is compared below
                _export(module, path, exporter)
            difference = _largest_difference(module, path, parts)
            if difference <= ONNX_TOLERANCE:
                return exporter
            failures.append(f"{exporter}: logits differ by {difference:.1e}")
        except Exception as error:  # an exporter fails in as many ways as there are architectures
            failures.append(f"{exporter}: {first_line(error)}")
        for written in path.parent.glob(f"{path.name}*"):
            written.unlink()
    raise ModelError(f"{type(parts.network).__name__} cannot be exported to ONNX ({'; '.join(failures)}).")


def _export(module: Logits, path: Path, exporter: Exporter) -> None:
    mask = torch.ones(2, 7, dtype=torch.long)
    mask[1, 5:] = 0
    names = ["input_ids", "attention_mask"]
    if exporter == "dynamo":
        free = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
        large = sum(weight.numel() * weight.element_size() for weight in module.parameters()) > LARGEST_FILE
        options: dict[str, Any] = {"dynamic_shapes": (free, free), "external_data": large, "verbose": False}
    else:
        axes = {name: {0: "windows", 1: "tokens"} for name in names}
        options = {"dynamic_axes": axes | {"logits": {0: "windows"}}}
    torch.onnx.export(
        module,
        (torch.ones_like(mask), mask),
        path,
        input_names=names,
        output_names=["logits"],
        opset_version=ONNX_OPSET,
        dynamo=exporter == "dynamo",
        **options,
    )


@contextlib.contextmanager
def _quiet(name: str | None, level: int) -> Iterator[None]:
    """Keep warnings off the terminal, and a logger's messages below a level."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(level)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def _largest_difference(module: Logits, path: Path, parts: Parts) -> float:
    """Return the largest difference of a logit, relative to the largest or 1, over batches padded on either side."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    rows = parts.network.get_input_embeddings().num_embeddings
    worst = 0.0
    for size, length in PROBES:
        length = min(length, parts.settings.max_length)
        for left in (False, True):
            ids = random.integers(0, min(rows, len(parts.tokenizer)), (size, length))
            mask = np.ones_like(ids)
            for row in range(1, size):
                padding = length * row // (2 * size)
                mask[row, : padding if left else 0] = 0
                mask[row, length - (0 if left else padding) :] = 0
            ids[mask == 0] = parts.tokenizer.pad_token_id
            with torch.inference_mode():
                expected = module(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()
            (logits,) = session.run(None, {"input_ids": ids, "attention_mask": mask})
            difference = np.abs(logits - expected).max() / max(1.0, np.abs(expected).max())
            worst = max(worst, float(difference) if np.isfinite(difference) else np.inf)
    return worst


def quantize(path: Path, target: Path) -> float:
    """Write an ONNX file with its matrices in int8, each column with a scale of its own; activations by the batch.

    Args:
        path: The file in float32.
        target: The file to write.

    Returns:
        The share of the matrix parameters, embeddings included, that is in int8.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    content = onnx.load(path)
    del content.graph.value_info[:]  # shapes of weights that the quantizer transposes
    large = sum(part.stat().st_size for part in path.parent.glob(f"{path.name}*")) > LARGEST_FILE
    with _quiet(None, logging.ERROR):  # it advises on the root logger to prepare the file in another way
        quantize_dynamic(
            content, target, weight_type=QuantType.QInt8, per_channel=True, use_external_data_format=large
        )
    low = (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
    counts = {True: 0, False: 0}
    for tensor in onnx.load(target, load_external_data=False).graph.initializer:
        if len(tensor.dims) >= 2 and tensor.data_type in (*low, onnx.TensorProto.FLOAT):
            counts[tensor.data_type in low] += int(np.prod(tensor.dims))
    return counts[True] / max(1, counts[True] + counts[False])
