"""The floor: the floating-point operations that a run must do, over the matrix rate of this process."""

import time

import torch


def matrix_rate(dtype: torch.dtype, width: int = 768, rows: int = 2048) -> float:
    """Return the best rate of a product `(rows, width) x (width, 4 width)` here, in operations a second."""
    from finetext.engine import FastLinear, pack

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    layer = FastLinear(width, 4 * width, device=device).requires_grad_(False)
    inputs = torch.randn(rows, width, device=device)
    if device.type == "cpu":
        pack([layer], dtype)
    else:
        layer, inputs = layer.to(dtype), inputs.to(dtype)
    best = float("inf")
    with torch.inference_mode():
        for _ in range(20):
            began = time.perf_counter()
            layer(inputs)
            if device.type == "cuda":
                torch.cuda.synchronize()
            best = min(best, time.perf_counter() - began)
    return 2 * rows * width * 4 * width / best


def operations(
    *,
    tokens: int,
    trained_tokens: int,
    trained_texts: int,
    layers: int,
    tail: int,
    width: int,
    mlp: int,
) -> tuple[float, float]:
    """Return the operations of the trunk's one pass and of the tail's training, attention scores left out.

    Args:
        tokens: Tokens that the trunk must see, each once.
        trained_tokens: Tokens in all training steps.
        trained_texts: Texts in all training steps.
        layers: Layers below the cut.
        tail: Layers from the cut on, the last of which runs its MLP for one position a text.
        width: Size of a hidden state.
        mlp: Inner size of the MLP.
    """
    whole = 2 * (4 * width * width + 2 * width * mlp)  # of one token in one layer
    keys = 2 * 2 * width * width  # key and value of one token
    rest = whole - keys  # everything else, for the position that is read
    trunk = tokens * layers * whole
    forward = trained_tokens * ((tail - 1) * whole + keys) + trained_texts * rest
    backward = 2 * forward - trained_tokens * keys  # the first trained layer has no gradient of its input
    return float(trunk), float(forward + backward)
