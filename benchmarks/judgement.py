"""What judging costs: intervals, the report, a learning curve."""

import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import tables
from benchmarks.worker import measure

PREDICTIONS = 10_000
KINDS = {
    "two classes": (2, False),
    "16 classes": (16, False),
    "77 classes": (77, False),
    "28 labels": (28, True),
}


def judge(work: Path, sms: str) -> str:
    """Return the table."""
    found = measure("intervals")
    rows = [[name, f"{found[name]:.2f} s"] for name in KINDS]
    with tempfile.TemporaryDirectory(dir=work) as home:  # an empty store
        curve = measure("curve", {"FINETEXT_HOME": home}, source=sms)
    return "\n\n".join(
        [
            f"95 % intervals of all figures of {PREDICTIONS:,} predictions, 2,000 resamples. {tables.machine()}.",
            tables.table(["predictions of", "time"], rows),
            "`finetext curve` with MiniLM on the SMS messages, sizes 8 to 1,024, three trials, 1,024 texts to test on: "
            f"{curve['seconds']:.0f} s with an empty store, {curve['computed_tokens']:,} tokens through the frozen "
            f"layers, peak memory {curve['peak_bytes'] / 1e9:.1f} GB. The report of a run with 1,115 test texts: "
            f"{curve['report']:.1f} s.",
        ]
    )


def intervals() -> dict[str, Any]:
    """Time the intervals of made-up predictions."""
    import numpy as np

    from finetext.evaluation import bootstrap_intervals

    random = np.random.default_rng(0)
    found = {}
    for name, (classes, multi) in KINDS.items():
        if multi:
            targets = (random.random((PREDICTIONS, classes)) < 0.1).astype(np.int64)
            probs = 1 / (1 + np.exp(2 - random.normal(size=targets.shape) - 3 * targets))
        else:
            targets = random.integers(0, classes, PREDICTIONS)
            logits = random.normal(size=(PREDICTIONS, classes))
            logits[np.arange(PREDICTIONS), targets] += 2
            probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        task = "multi-label" if multi else "binary" if classes == 2 else "multi-class"
        began = time.perf_counter()
        bootstrap_intervals(targets, probs, task)
        found[name] = time.perf_counter() - began
    return found


def curve(source: str) -> dict[str, Any]:
    """Time a learning curve with its default sizes, and the report of one run."""
    import finetext
    from finetext.experiments import learning_curve
    from finetext.reporting import write_report

    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        found = learning_curve(source, output=Path(folder) / "curve")
        seconds = time.perf_counter() - began
        run = finetext.train(source, output=Path(folder) / "run", epochs=1)
        began = time.perf_counter()
        write_report(run.folder.path, run.metrics, "")
        report = time.perf_counter() - began
    tokens = sum(own.computed_tokens for own in found.trials)
    return {"seconds": seconds, "computed_tokens": tokens, "report": report}
