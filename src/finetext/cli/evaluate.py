"""`finetext evaluate`."""

from pathlib import Path
from typing import Annotated, Literal

from finetext.data.config import DataConfig
from finetext.options import section


def evaluate(
    model: Path,
    source: str,
    /,
    *,
    split: Literal["auto", "train", "validation", "test", "all"] = "auto",
    predictions: Path | None = None,
    json: Path | None = None,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    precision: Literal["auto", "fp32", "bf16", "fp16", "tf32"] = "fp32",
    data: Annotated[DataConfig, section("Data")] = DataConfig(),
) -> None:
    """Evaluate a trained classifier on labelled texts.

    Args:
        model: A run folder, a saved model, or any Hugging Face folder with a sequence classifier.
        source: The labelled texts, as for `finetext train`.
        split: Which of the source's own splits; auto is test if it has one, else all rows.
        predictions: Write text, label, prediction and probabilities to this CSV file.
        json: Write the figures to this JSON file.
        device: Where the model runs.
        precision: Arithmetic.
        data: How the source is read.
    """
    from finetext.cli.console import data as data_console
    from finetext.cli.console import progress_bar, prose
    from finetext.cli.tables import class_table, figures_table
    from finetext.data import examine
    from finetext.errors import DataError
    from finetext.evaluation import evaluate as evaluate_texts
    from finetext.evaluation import write_predictions
    from finetext.files import write_json
    from finetext.inference import load, refuse_existing

    for path in (predictions, json):
        if path is not None:
            refuse_existing(path, overwrite=False)
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
    classifier = load(model, device=device, precision=precision, allow_pickle=False)
    with progress_bar("evaluating", len(dataset)) as advance:
        result = evaluate_texts(classifier, dataset.texts, dataset.labels, progress=advance)
    figures = result.metrics.to_dict()
    if predictions is not None:
        write_predictions(
            predictions, dataset.texts, result.targets, result.probs, classifier.class_names, classifier.task
        )
    if json is not None:
        write_json(json, {"model": str(model), "source": source, "split": split, **figures})
    console = data_console()
    if dataset.source.synthetic:
        console.print("Synthetic data: these figures say nothing about real messages.")
    console.print(figures_table({"finetext": figures}, f"{model} on {source}, {len(dataset):,} texts"))
    console.print(class_table(figures))
    prose().print(
        f"columns    text: {dataset.source.text_column} · label: {dataset.source.label_column}", markup=False
    )
