"""`write_card()`: the model card, as the Hugging Face Hub reads it.

The same run gives the same card: it tells neither the time nor where it was made.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from finetext import files
from finetext.models import ALIASES
from finetext.reporting import provenance, verdict
from finetext.reporting.blocks import Figures
from finetext.reporting.folder import Material, last_part, read_folder
from finetext.reporting.phrases import NAMES, decimal, figures_of, interval_of, listing, p_value, points, span
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
"""The figures in the card's metadata, by the Hub's name of the metric and its arguments."""
OPTIONS = ("trainable", "epochs", "batch_size", "learning_rate", "optimizer", "schedule", "balance", "seed")


def write_card(folder: Path, figures: Figures) -> None:
    """Write `model/README.md` into a run folder.

    Args:
        folder: The run folder.
        figures: What `metrics.json` holds or will hold.

    Raises:
        RunError: The disk is full.
        UsageError: The folder cannot be written to.
    """
    files.write_text(RunFolder(folder).model / "README.md", build_card(read_folder(folder, figures)))


def build_card(material: Material) -> str:
    """Return the card: YAML metadata, then Markdown."""
    import jinja2
    from huggingface_hub import ModelCardData

    name, base = _card_name(material), base_model(material)
    source = str(material.environment.get("data", {}).get("source") or "")
    data = ModelCardData(
        library_name="transformers",
        pipeline_tag="text-classification",
        tags=["finetext", "text-classification", material.task],
        base_model=base,
        datasets=[source.removeprefix("hf:")] if source.startswith("hf:") else None,
        metrics=sorted({kind for kind, _ in REPORTED.values()}),
        model_name=name,
        eval_results=_eval_results(material),
    )
    environment = jinja2.Environment(  # Markdown: `text` escapes what HTML would not
        loader=jinja2.PackageLoader("finetext.reporting"),
        autoescape=False,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["text"] = escape_markdown
    body = environment.get_template("card.md").render(card=_content(material, name, base))
    return f"---\n{data.to_yaml()}\n---\n\n{body.rstrip()}\n"


def escape_markdown(text: str) -> str:
    """Return a name so that Markdown shows it as it stands, on one line."""
    return re.sub(r"([\\`*_|\[\]#~$])", r"\\\1", " ".join(text.split())).replace("<", "&lt;")


def base_model(material: Material) -> str | None:
    """Return the Hub id of the pretrained model; None if it is not one of the Hub's, or its weights were not used."""
    own = material.environment.get("model", {})
    name = str(own.get("name") or "")
    if material.config.get("model", {}).get("weights") == "random":
        return None
    if name in ALIASES:
        return ALIASES[name].hub_id
    return name if own.get("revision") else None  # a commit has what came from the Hub, and nothing else


def _card_name(material: Material) -> str:
    # Not the run folder's name: the card of a repeated run is the same.
    source, model = _called(material, "data", "source"), _called(material, "model", "name")
    return "-".join(
        filter(None, (re.sub(r"[^a-z0-9.]+", "-", n.lower()).strip("-") for n in (model, source)))
    )


def _called(material: Material, part: str, key: str) -> str:
    return last_part(str(material.environment.get(part, {}).get(key) or part))


def _eval_results(material: Material) -> "list[EvalResult]":
    from huggingface_hub import EvalResult

    test, source = material.figures["test"], _called(material, "data", "source")
    synthetic = " (synthetic)" if material.figures.get("synthetic_data") else ""
    return [
        EvalResult(
            task_type="text-classification",
            task_name="Text classification",
            dataset_type=re.sub(r"[^\w./-]+", "-", source),
            dataset_name=f"{source}{synthetic}",
            dataset_split="test",
            metric_type=kind,
            metric_name=NAMES[name],
            metric_value=test[name],
            metric_args=dict(arguments) or None,
        )
        for name, (kind, arguments) in REPORTED.items()
        if test.get(name) is not None and name in figures_of(material.task)
    ]


def _content(material: Material, name: str, base: str | None) -> dict[str, Any]:
    """Return what the card's template shows."""
    figures = material.figures
    config = {key: value for table in material.config.values() for key, value in table.items()}
    return {
        "name": name,
        "base": base,
        "backbone": _called(material, "model", "name"),
        "random": config.get("weights") == "random",
        "data": _called(material, "data", "source"),
        "synthetic": bool(figures.get("synthetic_data")),
        "task": material.task,
        "classes": material.class_names,
        "examples": figures.get("examples") or {},
        "counts": _counts(material),
        "headline": verdict.headline(figures)[0],
        "summary": verdict.summary(material),
        "classifiers": [verdict.OURS, *verdict.in_order(figures.get("baselines") or {})],
        "figures": _figures(material),
        "comparisons": _comparisons(figures),
        "options": [(key, config[key]) for key in OPTIONS if key in config],
        "limits": _limits(material),
        "multi": material.task == "multi-label",
    }


def _counts(material: Material) -> list[tuple[str, list[int]]]:
    multi = material.task == "multi-label"
    splits = [own.class_counts(multi) for own in material.splits.values()]
    return [(name, [counts[name] for counts in splits]) for name in material.class_names] if splits else []


def _figures(material: Material) -> list[tuple[str, list[str]]]:
    baselines = material.figures.get("baselines") or {}
    classifiers = [material.figures["test"], *(baselines[name] for name in verdict.in_order(baselines))]
    return [
        (NAMES[name], [_with_interval(own, name) for own in classifiers])
        for name in figures_of(material.task)
        if any(own.get(name) is not None for own in classifiers)
    ]


def _with_interval(figures: Figures, name: str) -> str:
    interval = span(interval_of(figures, name))
    return decimal(figures.get(name)) + (f" ({interval})" if interval else "")


def _comparisons(figures: Figures) -> list[str]:
    said = []
    for name in verdict.in_order(figures.get("comparisons") or {}):
        own = figures["comparisons"][name]
        word = "from" if own["verdict"] == "no difference shown" else "than"
        said.append(
            f"**{own['verdict']}** {word} {name}: {points(own['accuracy_difference'])} points of accuracy, McNemar's "
            f"exact test {p_value(own['mcnemar_p_value'])}"
        )
    return said


def _limits(material: Material) -> list[str]:
    """Return what a user has to know before relying on it."""
    figures, bundle = material.figures, material.bundle
    limits = [
        "It knows the language and the kind of text of its training data, and no other: what it does with others was "
        "not measured.",
        f"It knows no other answer than its classes ({listing(map(escape_markdown, material.class_names), 12)}), "
        "whatever the text is about.",
        "The test texts belong to the same data set as the training texts; on texts from elsewhere figures are "
        "usually lower.",
    ]
    if {"train", "test"} <= set(material.splits):
        shared, _ = provenance.overlap(material)
        found = f"{shared:,}" if shared else "none"
        verb = "is" if shared == 1 else "are"
        limits.append(
            f"Leakage: {found} of the test texts {verb} in the training split too (case and white space aside)."
        )
    if "max_length" in bundle:
        limits.append(_length_limit(material))
    error = decimal(figures["test"]["calibration_error"])
    limits.append(
        f"Calibration: its probabilities are off by {error} on average (expected calibration error on the test split)."
    )
    return limits + _beyond_transformers(material)


def _length_limit(material: Material) -> str:
    longest = material.bundle["max_length"]
    policy = {
        "head-tail": "of longer texts it reads the start and the end",
        "windows": "longer texts are scored in overlapping windows",
    }.get(material.bundle.get("long_texts", ""), "longer texts are cut")
    said = f"It reads {longest:,} tokens at once; {policy}."
    for own in (material.figures.get("data") or {}).get("findings") or []:
        if own["name"] == "long-texts" and own["count"]:
            said += f" {own['count']:,} texts of the data were longer."
    return said


def _beyond_transformers(material: Material) -> list[str]:
    """Say what finetext does with this model that plain transformers does not."""
    decision, bundle = material.figures.get("decision") or {}, material.bundle
    own = []
    if bundle.get("pooling", "native") != "native":
        own.append(f"the head reads the {bundle['pooling']} position of the hidden states")
    if bundle.get("long_texts", "truncate") != "truncate":
        own.append(
            "long texts are read whole" if bundle["long_texts"] == "windows" else "long texts keep their end"
        )
    if decision.get("thresholds"):
        limits = ", ".join(f"{value:.4g}" for value in decision["thresholds"])
        own.append(f"labels are given from chosen thresholds on ({limits})")
    if decision.get("abstain_below") is not None:
        own.append(f"below a probability of {decision['abstain_below']:.4g} no label is given")
    if not own:
        return []
    return [
        f"finetext does what plain transformers does not: {'; '.join(own)}. Use finetext for the figures above."
    ]
