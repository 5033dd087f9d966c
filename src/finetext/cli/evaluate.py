"""`finetext evaluate`."""

import shlex
import sys
from pathlib import Path
from typing import Annotated, Literal

from finetext import experiments
from finetext.cli.arguments import ClassifierPath, Data, Source
from finetext.cli.console import note, say, warn_of_synthetic, write
from finetext.cli.progress import ConsoleProgress
from finetext.cli.sentences import count, decision, interval
from finetext.cli.tables import class_table, metrics_table
from finetext.data import DataConfig
from finetext.options import Flat, RuntimeOptions

SHOWN_FINDINGS = ("seen-texts", "long-texts")


def evaluate(
    model: ClassifierPath,
    source: Source,
    /,
    *,
    split: Literal["auto", "train", "validation", "test", "all"] = "auto",
    output: Path | None = None,
    runtime: Annotated[RuntimeOptions, Flat] = RuntimeOptions(),
    data: Data = DataConfig(),
) -> None:
    """Evaluate a trained classifier on labelled texts.

    Args:
        split: Which of the source's own splits; auto is test if it has one, else all rows.
        output: Folder to create for the metrics, predictions and report; by default evaluations/SOURCE-MODEL-N.
    """
    with ConsoleProgress() as progress:
        result = experiments.evaluate(
            model,
            source,
            data,
            split=split,
            output=output,
            device=runtime.device,
            precision=runtime.precision,
            command=shlex.join(["finetext", *sys.argv[1:]]),
            progress=progress,
        )
    test, origin = result.metrics.test, result.dataset.source
    warn_of_synthetic(origin.synthetic)
    write(
        metrics_table({"finetext": test}, f"{model} on {source}, {count(len(result.dataset))}"),
        f"MCC {test.mcc:.3f}{interval(test, 'mcc')}.",
        *decision(result.metrics),
        class_table(test),
    )
    for finding in result.metrics.data.findings:
        if finding.name in SHOWN_FINDINGS and finding.count:
            note(finding.line)
    say(
        f"columns    text: {origin.text_column} · label: {origin.label_column}",
        f"report     {result.folder.report}",
    )
