"""`finetext evaluate`."""

from pathlib import Path
from typing import Annotated, Literal

from finetext.data.config import DataConfig
from finetext.options import section

EVALUATIONS = Path("evaluations")
"""Where evaluations go that are given no folder, below the working directory."""


def evaluate(
    model: Path,
    source: str,
    /,
    *,
    split: Literal["auto", "train", "validation", "test", "all"] = "auto",
    output: Path | None = None,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    precision: Literal["auto", "fp32", "bf16", "fp16", "tf32"] = "fp32",
    data: Annotated[DataConfig, section("Data")] = DataConfig(),
) -> None:
    """Evaluate a trained classifier on labelled texts.

    Args:
        model: A run folder, a saved model, or any Hugging Face folder with a sequence classifier.
        source: The labelled texts, as for `finetext train`.
        split: Which of the source's own splits; auto is test if it has one, else all rows.
        output: Folder to create for the figures, predictions and report; by default evaluations/SOURCE-MODEL-N.
        device: Where the model runs.
        precision: Arithmetic.
        data: How the source is read.
    """
    import shlex
    import sys

    from finetext.cli.console import data as data_console
    from finetext.cli.console import progress_bar, prose
    from finetext.cli.sentences import count, decision, interval
    from finetext.cli.tables import class_table, metrics_table
    from finetext.data import examine
    from finetext.engine import prepare_cpu
    from finetext.errors import DataError
    from finetext.evaluation import evaluate as evaluate_texts
    from finetext.inference import load
    from finetext.reporting import refuse_folder, write_evaluation
    from finetext.runs import next_run_folder

    name = model.parent.name if model.name == "model" else model.name
    folder = output or next_run_folder(EVALUATIONS, source, name)
    refuse_folder(folder)
    dataset = examine(source, data)
    if dataset.given_splits is not None and split != "all":
        wanted = split if split != "auto" else ("test" if "test" in dataset.given_splits else "all")
        rows = [row for row, own in enumerate(dataset.given_splits) if wanted in (own, "all")]
        dataset = dataset.subset(rows)
    elif split not in ("auto", "all"):
        raise DataError(f"{source}: has no splits of its own. Leave out --split {split}.")
    if not dataset.texts:
        raise DataError(
            f"{source}: has no labelled texts to evaluate. Check its columns with `finetext inspect`."
        )
    prepare_cpu()
    classifier = load(model, device=device, precision=precision, allow_pickle=False)
    with progress_bar("evaluating", len(dataset)) as advance:
        result = evaluate_texts(classifier, dataset.texts, dataset.labels, progress=advance)
    named = {"model": str(model), "source": source, "split": split}
    command = shlex.join(["finetext", *sys.argv[1:]])
    metrics = write_evaluation(folder, classifier, dataset, result, named, command)
    test = metrics.test
    console = data_console()
    if dataset.source.synthetic:
        console.print("Synthetic data: these figures say nothing about real messages.")
    console.print(metrics_table({"finetext": test}, f"{model} on {source}, {count(len(dataset))}"))
    console.print(f"MCC {test.mcc:.3f}{interval(test, 'mcc')}.", markup=False)
    if rule := decision(metrics):
        console.print(rule, markup=False, soft_wrap=True)
    console.print(class_table(test))
    for finding in metrics.data.findings:
        if finding.name in ("seen-texts", "long-texts") and finding.count:
            prose().print(f"note: {finding.line}", markup=False)
    prose().print(
        f"columns    text: {dataset.source.text_column} · label: {dataset.source.label_column}\n"
        f"report     {folder / 'report.html'}",
        markup=False,
    )
