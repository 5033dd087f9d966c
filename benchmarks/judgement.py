"""The cost of evaluation: confidence intervals, the report, a learning curve."""

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
    """Return the README section."""
    seconds = measure("intervals")
    rows = [[name, f"{seconds[name]:.2f} s"] for name in KINDS]
    with tempfile.TemporaryDirectory(dir=work) as home:
        # an empty cache
        curve = measure("curve", {"FINETEXT_HOME": home}, source=sms)
    return "\n\n".join(
        [
            f"95 % intervals of all metrics of {PREDICTIONS:,} predictions, 2,000 resamples. {tables.machine()}.",
            tables.table(["predictions of", "time"], rows),
            "`finetext curve` with MiniLM on the SMS messages, sizes 8 to 1,024, three trials, 1,024 test texts: "
            f"{curve['seconds']:.0f} s with an empty cache, {curve['computed_tokens']:,} tokens through the frozen "
            f"layers, peak memory {curve['peak_bytes'] / 1e9:.1f} GB. The report of a run with 1,115 test texts takes "
            f"{curve['report']:.1f} s.",
        ]
    )


def intervals() -> dict[str, Any]:
    """Time the intervals of random predictions."""
    import numpy as np

    from finetext.evaluation import bootstrap_intervals

    random = np.random.default_rng(0)
    seconds = {}
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
        seconds[name] = time.perf_counter() - began
    return seconds


def curve(source: str) -> dict[str, Any]:
    """Time a learning curve with the default sizes, and the report of one run."""
    import finetext
    from finetext.experiments import learning_curve
    from finetext.reporting import write_report

    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        result = learning_curve(source, output=Path(folder) / "curve")
        seconds = time.perf_counter() - began
        run = finetext.train(source, output=Path(folder) / "run", epochs=1)
        began = time.perf_counter()
        write_report(run.folder.path, run.metrics, "")
        report = time.perf_counter() - began
    tokens = sum(trial.computed_tokens for trial in result.trials)
    return {"seconds": seconds, "computed_tokens": tokens, "report": report}
