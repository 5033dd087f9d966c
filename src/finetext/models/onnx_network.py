"""An exported network, run by ONNX Runtime in the place of the Hugging Face model."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from finetext.errors import ModelError, UsageError, first_line
from finetext.models.structure import Structure

ONNX = "model.onnx"
NO_STRUCTURE = Structure((), (), frozenset(), frozenset(), frozenset(), "pooler")
"""Of an exported network nothing is known but its logits; pooling and positions are part of it."""
MISSING = 'ONNX Runtime is not installed. Install it with: pip install "finetext[onnx]"'


class OnnxNetwork(nn.Module):
    """Takes token ids and their mask and gives logits, on the CPU."""

    device = torch.device("cpu")

    def __init__(self, path: Path, config: Any, classes: int) -> None:
        """Open the file.

        Args:
            path: The ONNX file.
            config: The Hugging Face configuration beside it.
            classes: How many logits it must give.

        Raises:
            ModelError: The file is damaged, not safe to load, or no classifier of that many classes.
            UsageError: ONNX Runtime is not installed.
        """
        super().__init__()
        try:
            import onnx  # noqa: F401
            import onnxruntime
        except ImportError as error:
            raise UsageError(MISSING) from error
        _refuse_files_outside(path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its errors share no class but Exception
            raise ModelError(
                f"{path}: cannot be loaded ({first_line(error)}). Export the model again."
            ) from error
        inputs = {value.name for value in self._session.get_inputs()}
        outputs = self._session.get_outputs()
        if inputs != {"input_ids", "attention_mask"} or len(outputs) != 1 or outputs[0].shape[-1] != classes:
            raise ModelError(
                f"{path}: is not an export of a classifier with {classes} classes. Export it with `finetext export`."
            )
        self.config = config

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> SimpleNamespace:
        """Return an object with `logits`, `(W, C)` float32, of `(W, T)` ids and mask."""
        fed = {"input_ids": input_ids.numpy(), "attention_mask": attention_mask.numpy()}
        return SimpleNamespace(logits=torch.from_numpy(self._session.run(None, fed)[0]))


def _refuse_files_outside(path: Path) -> None:
    """Refuse an ONNX file that keeps its weights in files elsewhere than beside it."""
    import onnx
    from google.protobuf.message import DecodeError
    from onnx.external_data_helper import uses_external_data

    try:
        content = onnx.load(path, load_external_data=False)
    except (DecodeError, OSError) as error:
        raise ModelError(f"{path}: is damaged or incomplete. Export the model again.") from error
    for tensor in _tensors(content.graph):
        if uses_external_data(tensor):
            name = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
            if Path(name).name != name or not (path.parent / name).is_file():
                raise ModelError(
                    f"{path}: its weights are in {name!r}, which is not a file beside it. Export the model again."
                )


def _tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                if inner.node or inner.initializer:
                    yield from _tensors(inner)
