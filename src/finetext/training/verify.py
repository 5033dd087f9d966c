"""Verifying a saved bundle: a fresh process loads it and must get the same logits.

`python -m finetext.training.verify` is that process: it reads the texts and the logits on stdin as JSON.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from finetext.errors import ModelError, RunError

if TYPE_CHECKING:
    from finetext.models import Model

TOLERANCE = 1e-4
"""Largest difference of a logit, relative to the largest logit or 1: float32 sums in another order, ..."""
ROUNDING_STEPS = 16
"""... plus so many float32 rounding steps of the sum of magnitudes behind it. A fitted head's logit of 3 may be the
difference of sums of thousands, and a single step of those is as large as 5e-4."""


def verify_bundle(bundle: Path, texts: Sequence[str], logits: NDArray[np.float32]) -> None:
    """Load `bundle` in a fresh process and compare its logits, for each text alone and for all in one batch.

    Args:
        bundle: The saved model folder.
        texts: A few texts.
        logits: `(N, C)`, those of the model that was saved, on the CPU in float32.

    Raises:
        RunError: The bundle does not load or gives other logits.
    """
    question = json.dumps({"bundle": str(bundle), "texts": list(texts), "logits": logits.tolist()})
    answer = subprocess.run(
        [sys.executable, "-m", "finetext.training.verify"],
        input=question,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if answer.returncode:
        lines = answer.stderr.strip().splitlines()
        reason = lines[-1] if lines else f"exit code {answer.returncode}"
        raise RunError(f"{bundle}: the saved model fails verification in a fresh process: {reason}")


def find_difference(bundle: Path, texts: Sequence[str], logits: NDArray[np.float32]) -> str | None:
    """Load `bundle` in this process and return how its logits differ, or None; takes what `verify_bundle` takes."""
    from finetext.models import load_bundle, predict_logits

    model = load_bundle(bundle)
    tolerance = logit_tolerance(model, texts, logits)
    batched = predict_logits(model, texts)
    singly = np.concatenate([predict_logits(model, [text]) for text in texts])
    for name, reloaded in (("batched", batched), ("single", singly)):
        difference = np.abs(reloaded - logits)
        if not (difference <= tolerance).all():
            text, label = np.unravel_index((difference - tolerance).argmax(), difference.shape)
            return (
                f"{name} logits differ by {difference[text, label]:.2e}; "
                f"at most {tolerance[text, label]:.2e} is rounding."
            )
    return None


def logit_tolerance(model: "Model", texts: Sequence[str], logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return how much each logit may differ by rounding alone, `(N, C)`.

    A logit is a sum over the inputs of the output layer; its rounding error is bounded by the sum of the magnitudes of
    its terms, not by its own size (Higham, "Accuracy and Stability of Numerical Algorithms", 2002, section 3.1).

    Args:
        model: The model.
        texts: `N` texts.
        logits: `(N, C)`, its logits for them.
    """
    from finetext.models import head_inputs, output_layer

    relative = TOLERANCE * max(1.0, float(np.abs(logits).max()))
    try:
        layer = output_layer(model)
    except ModelError:  # a head without a linear output layer
        return np.full(logits.shape, relative)
    vectors = head_inputs(model, model.inputs(model.encode(texts)))
    magnitudes = vectors.abs() @ layer.weight.detach().cpu().abs().t()  # (N, C)
    if layer.bias is not None:
        magnitudes += layer.bias.detach().cpu().abs()
    return relative + ROUNDING_STEPS * float(np.finfo(np.float32).eps) * magnitudes.double().numpy()


def _main() -> None:
    question = json.load(sys.stdin)
    logits = np.asarray(question["logits"], dtype=np.float32)
    sys.exit(find_difference(Path(question["bundle"]), question["texts"], logits))


if __name__ == "__main__":
    _main()
