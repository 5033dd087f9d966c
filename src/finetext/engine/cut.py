"""Cut and replay: run a network up to its cut and stop, and later from the cut on, with what was stored.

The layers below the cut stay in the network's list, so that masks, rotary embeddings, layer indices and
attention types are what they were; while hidden states are fed, each only hands them on.
"""

from collections.abc import Callable
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from finetext.engine.batching import Batch, collate
from finetext.engine.chain import HeadChain, find_chain
from finetext.engine.passes import PassState

Forward = Callable[[Batch], Tensor]
"""Runs the ordinary network on a batch and returns its logits."""
Widened = Callable[[Tensor], Tensor]
"""Gives what a layer hands on the form `(W, T, H)`, if it has another."""


class _Reached(Exception):
    """The forward pass has come to the cut; the rest need not run."""


class _Pass(PassState):
    hidden: Tensor | None = None  # what is fed
    capturing = False
    captured: Tensor | None = None


class Replay:
    """A network that can stop at its cut, or start there.

    Attributes:
        network: The network.
        cut: Index of the first layer that runs when hidden states are fed; the depth for the head alone.
        one_position: Whether a text's features are the one vector that the head reads.
        head: With `one_position`, what runs on that vector; None to run the network.
    """

    def __init__(self, network: Any, layers: tuple[nn.Module, ...], cut: int, widened: Widened) -> None:
        """Prepare a cut with `0 < cut <= len(layers)`; with `cut == len(layers)` the whole backbone is frozen."""
        self.cut = cut
        self.one_position = cut == len(layers)
        self.network = network
        self.head: HeadChain | None = None
        self._widened = widened
        self._pass = _Pass()
        self._handle: Any = None
        self._handed = [network.base_model] if self.one_position else list(layers[:cut])
        for index, module in enumerate(self._handed):
            self._override(module, last=index == len(self._handed) - 1)

    def remove(self) -> None:
        """Give the modules their own forward passes back."""
        for module in self._handed:
            vars(module).pop("forward", None)
        if self._handle is not None:
            self._handle.remove()

    def capture(self, forward: Forward, batch: Batch) -> Tensor:
        """Run the trunk alone.

        Returns:
            `(W, T, H)`, the hidden states at the cut; `(W, 1, H)`, what the head reads, if `one_position`.
        """
        self._pass.capturing = True
        try:
            forward(batch)
        except _Reached:
            pass
        finally:
            self._pass.capturing = False
        captured, self._pass.captured = self._pass.captured, None
        if captured is None:
            raise RuntimeError("the forward pass did not come to the cut")
        return captured

    def feed(self, hidden: Tensor | None) -> None:
        """Set what the next forward passes start from: `(W, T, H)`, or None to run the network whole."""
        self._pass.hidden = hidden

    def _override(self, module: nn.Module, last: bool) -> None:
        ordinary = module.forward
        replay = self
        shape: dict[str, Any] = {}

        def forward(own: nn.Module, *args: Any, **kwargs: Any) -> Any:
            if replay._pass.hidden is None:
                output = ordinary(*args, **kwargs)
                shape["output"] = _skeleton(output)
                if last and not replay.one_position and replay._pass.capturing:
                    hidden = output if isinstance(output, Tensor) else output[0]
                    replay._pass.captured = replay._widened(hidden)
                    raise _Reached
                return output
            if not last:  # what it hands on is never read: the last one below the cut has the features
                return _like(shape.get("output"), args[0] if args else kwargs["hidden_states"])
            if replay.one_position:
                return replay._backbone_output(own, shape.get("output"))
            return _like(shape.get("output"), replay._pass.hidden)

        module.forward = MethodType(forward, module)
        if last and self.one_position:
            self._handle = module.register_forward_hook(self._leave_backbone)

    def _leave_backbone(self, module: nn.Module, args: Any, output: Any) -> None:
        # Behind the pooling hook, that has put the pooled vector at every position.
        if self._pass.capturing:
            self._pass.captured = output[0][:, :1]
            raise _Reached

    def _backbone_output(self, backbone: nn.Module, output: Any) -> Any:
        assert self._pass.hidden is not None
        pooler = getattr(backbone, "pooler", None)
        if isinstance(output, tuple):
            return (self._pass.hidden, *output[1:])
        fields: dict[str, Any] = {"last_hidden_state": self._pass.hidden}
        if isinstance(pooler, nn.Module):
            fields["pooler_output"] = pooler(self._pass.hidden)
        return output(**fields)


def _skeleton(output: Any) -> Any:
    """Return what is needed to give back something of the same form: a length, or a class."""
    if isinstance(output, Tensor):
        return None
    if isinstance(output, tuple):
        return (None,) * len(output)
    return type(output)


def _like(skeleton: Any, hidden: Tensor) -> Any:
    return hidden if skeleton is None else (hidden, *skeleton[1:])


def cut_network(
    network: Any,
    layers: tuple[nn.Module, ...],
    cut: int,
    forward: Forward,
    token_ids: list[int],
    pad_id: int,
    widened: Widened = lambda hidden: hidden,
) -> Replay | None:
    """Cut a network and prove that it gives the same logits from the cut on.

    Args:
        network: A sequence classifier.
        layers: Its layers in order; empty if it has none of its own for each depth.
        cut: Index of the first layer that is trained.
        forward: Runs it on a batch.
        token_ids: Some ids of ordinary tokens, for the proof.
        pad_id: Fills the batch of the proof.
        widened: What the replay gives a layer's output its form with.

    Returns:
        The cut network; None if nothing is below the cut, or it computes something else when replayed.
    """
    if not layers or not 0 < cut <= len(layers):
        return None
    replay = Replay(network, layers, cut, widened)
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad():
            if _proves_equal(replay, forward, token_ids, pad_id):
                return replay
    except (RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError):
        pass  # a network that does something else between its layers: it is trained whole
    finally:
        replay.feed(None)
        network.train(was_training)
    replay.remove()
    return None


def _proves_equal(replay: Replay, forward: Forward, token_ids: list[int], pad_id: int) -> bool:
    windows = [token_ids[:1], token_ids, token_ids[1:] or token_ids]
    device = next(replay.network.parameters()).device
    batch = collate([(ids,) for ids in windows], pad_id).to(device)
    expected = forward(batch)
    hidden = replay.capture(forward, batch)
    if replay.one_position:
        short = collate([(ids[:1],) for ids in windows], pad_id).to(device)
        replay.feed(hidden)
        found = forward(short)
        replay.head = find_chain(replay.network, lambda: forward(short), hidden[:, 0])
    else:
        mask = batch.attention_mask.unsqueeze(-1).to(hidden.dtype)  # as stored: nothing stands in the padding
        replay.feed(hidden * mask)
        found = forward(batch)
    scale = expected.abs().max()
    return bool((found - expected).abs().max() <= 1e-4 * scale)
