"""A lower bound of a run's time: its floating-point operations divided by the matrix rate of this machine."""

import time

import torch


def matrix_rate(dtype: torch.dtype, width: int = 768, rows: int = 2048) -> float:
    """Return the highest rate of a product `(rows, width) x (width, 4 width)`, in operations per second."""
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
    """Return the operations of the frozen-layer pass and of training the tail, without attention scores.

    Args:
        tokens: Tokens of the frozen-layer pass.
        trained_tokens: Tokens in all training steps.
        trained_texts: Texts in all training steps.
        layers: Number of layers below the cut.
        tail: Number of layers above the cut, the last of which runs its MLP for one position per text.
        width: Hidden size.
        mlp: Inner size of the MLP.
    """
    whole = 2 * (4 * width * width + 2 * width * mlp)  # one token in one layer
    keys = 2 * 2 * width * width  # key and value of one token
    rest = whole - keys  # everything else, for the pooled position only
    trunk = tokens * layers * whole
    forward = trained_tokens * ((tail - 1) * whole + keys) + trained_texts * rest
    backward = 2 * forward - trained_tokens * keys  # the first trained layer has no gradient of its input
    return float(trunk), float(forward + backward)
