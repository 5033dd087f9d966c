"""`write_card()`: the model card, in the format of the Hugging Face Hub.

The same run gives the same card: it contains neither times nor paths.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from finetext import files
from finetext.evaluation import RunMetrics
from finetext.metric_names import METRICS, metrics_of
from finetext.models import ALIASES
from finetext.reporting import provenance, verdict
from finetext.reporting.folder import ReportInputs, read_folder
from finetext.reporting.rendering import render
from finetext.runs import RunFolder

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

REPORTED = {
    "accuracy": ("accuracy", {}),
    "macro_f1": ("f1", {"average": "macro"}),
    "micro_f1": ("f1", {"average": "micro"}),
    "mcc": ("matthews_correlation", {}),
    "roc_auc": ("roc_auc", {}),
}
"""The metrics in the card's metadata, with the Hub's name of each and its arguments."""
OPTIONS = ("trainable", "epochs", "batch_size", "learning_rate", "optimizer", "schedule", "balance", "seed")


def write_card(path: Path, metrics: RunMetrics) -> None:
    """Write `model/README.md` into a run folder.

    Args:
        path: The run folder.
        metrics: The content of `metrics.json`.

    Raises:
        RunError: The disk is full.
        UsageError: The folder cannot be written to.
    """
    files.write_text(RunFolder(path).model / "README.md", build_card(read_folder(path, metrics)))


def build_card(inputs: ReportInputs) -> str:
    """Return the card: YAML metadata, then Markdown."""
    from huggingface_hub import ModelCardData

    metrics, base = inputs.metrics, base_model(inputs)
    backbone, data = inputs.model_name or "model", inputs.data_name or "data"
    # Not the run folder's name: the card of a repeated run is the same.
    slugs = (re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-") for name in (backbone, data))
    name = "-".join(filter(None, slugs))
    source = str(inputs.environment.get("data", {}).get("source") or "")
    metadata = ModelCardData(
        library_name="transformers",
        pipeline_tag="text-classification",
        tags=["finetext", "text-classification", metrics.task],
        base_model=base,
        datasets=[source.removeprefix("hf:")] if source.startswith("hf:") else None,
        metrics=sorted({kind for kind, _ in REPORTED.values()}),
        model_name=name,
        eval_results=_eval_results(metrics, data),
    )
    config = {key: value for table in inputs.config.values() for key, value in table.items()}
    body = render(
        "card.md",
        name=name,
        base=base,
        backbone=backbone,
        random=config.get("weights") == "random",
        data=data,
        metrics=metrics,
        multi=inputs.multi,
        sizes=inputs.sizes,
        counts=inputs.class_counts(),
        options={key: config[key] for key in OPTIONS if key in config},
        headline=verdict.headline(metrics)[0],
        summary=verdict.summary(metrics),
        classifiers=verdict.classifiers(metrics),
        rows=verdict.metric_rows(metrics),
        statements=verdict.statements(metrics),
        leakage=provenance.leakage(inputs),
        bundle={"max_length": None, "long_texts": "truncate", "pooling": "native", **inputs.bundle},
    )
    return f"---\n{metadata.to_yaml()}\n---\n\n{body.rstrip()}\n"


def base_model(inputs: ReportInputs) -> str | None:
    """Return the Hub id of the pretrained model; None if it is not from the Hub, or its weights were not used."""
    model = inputs.environment.get("model", {})
    name = str(model.get("name") or "")
    if inputs.config.get("model", {}).get("weights") == "random":
        return None
    if name in ALIASES:
        return ALIASES[name].hub_id
    return name if model.get("revision") else None  # only what comes from the Hub has a commit


def _eval_results(metrics: RunMetrics, data: str) -> "list[EvalResult]":
    from huggingface_hub import EvalResult

    return [
        EvalResult(
            task_type="text-classification",
            task_name="Text classification",
            dataset_type=re.sub(r"[^\w./-]+", "-", data),
            dataset_name=f"{data} (synthetic)" if metrics.synthetic_data else data,
            dataset_split="test",
            metric_type=kind,
            metric_name=METRICS[name].title,
            metric_value=metrics.test.value(name),
            metric_args=dict(arguments) or None,
        )
        for name, (kind, arguments) in REPORTED.items()
        if metrics.test.value(name) is not None and name in metrics_of(metrics.task)
    ]
