"""The proof of a save: a fresh process loads the bundle and must find the same logits.

`python -m finetext.training.verify` is that process: it reads the texts and the logits on stdin as JSON.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from finetext.errors import RunError

TOLERANCE = 1e-4
"""Largest difference of a logit, relative to the largest logit or 1; float32 in another order of sums."""


def prove(bundle: Path, texts: Sequence[str], logits: NDArray[np.float32]) -> None:
    """Load `bundle` in a fresh process and compare its logits, each text alone and all in one batch.

    Args:
        bundle: The saved model folder.
        texts: A few texts.
        logits: `(N, C)`, what the model that was saved gave for them on the CPU in float32.

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
        raise RunError(f"{bundle}: the saved model does not prove itself in a fresh process: {reason}")


def check(bundle: Path, texts: Sequence[str], logits: NDArray[np.float32]) -> str | None:
    """Load `bundle` in this process, and return what is wrong with its logits or None; the arguments are `prove`'s."""
    from finetext.models import load_bundle, predict_logits

    model = load_bundle(bundle)
    batched = predict_logits(model, texts)
    singly = np.concatenate([predict_logits(model, [text]) for text in texts])
    allowed = TOLERANCE * max(1.0, float(np.abs(logits).max()))
    for way, found in (("batched", batched), ("singly", singly)):
        difference = float(np.abs(found - logits).max())
        if not difference <= allowed:
            return f"{way} logits differ by {difference:.2e}, allowed are {allowed:.2e}."
    return None


def _main() -> None:
    question = json.load(sys.stdin)
    logits = np.asarray(question["logits"], dtype=np.float32)
    sys.exit(check(Path(question["bundle"]), question["texts"], logits))


if __name__ == "__main__":
    _main()
