"""`write_card()`: the model card, in the format of the Hugging Face Hub.

The same run gives the same card: it contains neither times nor paths.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from finetext import files
from finetext.evaluation import Metrics, RunMetrics
from finetext.metric_names import METRICS, metrics_of
from finetext.models import ALIASES
from finetext.reporting import provenance, verdict
from finetext.reporting.folder import SPLITS, ReportInputs, last_part, read_folder
from finetext.reporting.phrases import decimal, listing, p_value, points, span
from finetext.reporting.rendering import escape_markdown, render
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
    backbone, data = (_name_of(inputs, *part) for part in (("model", "name"), ("data", "source")))
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
    columns = verdict.classifiers(metrics)
    body = render(
        "card.md",
        name=name,
        base=base,
        backbone=backbone,
        random=config.get("weights") == "random",
        data=data,
        metrics=metrics,
        multi=inputs.multi,
        splits=SPLITS,
        counts={split: part.class_counts(inputs.multi) for split, part in inputs.splits.items()},
        options={key: config[key] for key in OPTIONS if key in config},
        headline=verdict.headline(metrics)[0],
        summary=verdict.summary(metrics),
        classifiers=list(columns),
        rows=[
            (METRICS[name].title, [_with_interval(column, name) for column in columns.values()])
            for name in metrics_of(metrics.task)
            if any(column.value(name) is not None for column in columns.values())
        ],
        comparisons=_comparisons(metrics),
        limits=_limits(inputs),
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


def _name_of(inputs: ReportInputs, part: str, key: str) -> str:
    return last_part(str(inputs.environment.get(part, {}).get(key) or part))


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


def _with_interval(metrics: Metrics, name: str) -> str:
    interval = span(metrics.interval(name))
    return decimal(metrics.value(name)) + (f" ({interval})" if interval else "")


def _comparisons(metrics: RunMetrics) -> list[str]:
    lines = []
    for name in verdict.in_order(metrics.comparisons):
        comparison = metrics.comparisons[name]
        word = "from" if comparison.verdict == "no difference shown" else "than"
        lines.append(
            f"**{comparison.verdict}** {word} {name}: {points(comparison.accuracy_difference)} points of accuracy, "
            f"McNemar's exact test {p_value(comparison.mcnemar_p_value)}"
        )
    return lines


def _limits(inputs: ReportInputs) -> list[str]:
    """Return what a user has to know before relying on it."""
    metrics = inputs.metrics
    limits = [
        "It was trained on texts of one kind and language; its performance on others was not measured.",
        f"It can only answer with its classes ({listing(map(escape_markdown, metrics.class_names), 12)}), "
        "whatever the text is about.",
        "The test texts come from the same data set as the training texts; on texts from elsewhere metrics are "
        "usually lower.",
    ]
    if {"train", "test"} <= set(inputs.splits):
        shared, _ = provenance.overlap(inputs)
        number, verb = f"{shared:,}" if shared else "none", "is" if shared == 1 else "are"
        limits.append(
            f"Leakage: {number} of the test texts {verb} in the training split too (case and white space aside)."
        )
    if "max_length" in inputs.bundle:
        limits.append(_length_limit(inputs))
    limits.append(
        f"Calibration: its probabilities are off by {decimal(metrics.test.calibration_error)} on average (expected "
        "calibration error on the test split)."
    )
    return limits + _beyond_transformers(inputs)


def _length_limit(inputs: ReportInputs) -> str:
    policy = {
        "head-tail": "of longer texts it reads the start and the end",
        "windows": "longer texts are scored in overlapping windows",
    }.get(inputs.bundle.get("long_texts", ""), "longer texts are truncated")
    text = f"It reads at most {inputs.bundle['max_length']:,} tokens at once; {policy}."
    for finding in inputs.metrics.data.findings:
        if finding.name == "long-texts" and finding.count:
            text += f" {finding.count:,} texts of the data were longer."
    return text


def _beyond_transformers(inputs: ReportInputs) -> list[str]:
    """List what finetext does with this model and plain transformers does not."""
    rule, bundle = inputs.metrics.decision, inputs.bundle
    parts = []
    if bundle.get("pooling", "native") != "native":
        parts.append(f"the head reads the {bundle['pooling']} position of the hidden states")
    if bundle.get("long_texts", "truncate") != "truncate":
        windows = bundle["long_texts"] == "windows"
        parts.append("long texts are read whole" if windows else "long texts keep their end")
    if rule.thresholds:
        limits = ", ".join(f"{value:.4g}" for value in rule.thresholds)
        parts.append(f"labels are assigned by chosen thresholds ({limits})")
    if rule.abstain_below is not None:
        parts.append(f"below a probability of {rule.abstain_below:.4g} no label is assigned")
    if not parts:
        return []
    return [
        f"finetext does more than plain transformers: {'; '.join(parts)}. Use finetext to get the metrics above."
    ]
