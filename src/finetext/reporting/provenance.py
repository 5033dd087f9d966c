"""The sections on where the classifier comes from: training, data, configuration, environment."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from finetext.data import fold
from finetext.reporting import plots
from finetext.reporting.blocks import Block, Cell, Code, Number, Paragraph, Row, Section, Table
from finetext.reporting.folder import Floats, Material, Split
from finetext.reporting.phrases import NAMES, count, decimal, listing, quoted, seconds, texts

DRAWN_CLASSES = 12
"""Up to how many classes their shares are drawn."""
CLASSES_OF_LENGTHS = 6
"""Up to how many classes the lengths are drawn class by class."""


def training(material: Material) -> Section | None:
    """Return the course of the training."""
    history, figures = material.history, material.figures
    examples = figures.get("examples") or {}
    per_epoch = examples.get("train_after_balancing") or examples.get("train")
    if history is None or not per_epoch:
        return None
    best = figures.get("best") or {}
    averaged = best.get("averaged_epochs", 0)
    kept = None if averaged else best.get("epoch") or None  # a mean and a head start are no place to mark
    blocks: list[Block] = [plots.losses(history, per_epoch, kept)]
    if len(history.evaluated):
        blocks.append(plots.scores(history, per_epoch, kept))
    if best:
        name = NAMES.get(best["metric"], best["metric"])
        value = decimal(best["value"])
        when = f"after step {best['step']:,} (epoch {best['epoch']:.3g})"
        when = when if best["step"] else "from before the first step, with the head start"
        said = f"Kept are the weights {when}: those with the best {name} on validation, {value}."
        if averaged:
            said = (
                f"Kept is the mean of the weights after each of {averaged} epochs: {name} on validation {value}, "
                "and no single epoch clearly better."
            )
        blocks.append(Paragraph(said))
    return Section("training", "Training", tuple(blocks))


def folds(material: Material) -> Section | None:
    """Return the figures of a cross-validation."""
    found = material.figures.get("folds")
    if not found:
        return None
    rows = []
    for name, own in found["metrics"].items():
        cells = [
            Number(own[key], decimal(own[key]), f"folds.metrics.{name}.{key}") for key in ("mean", "std")
        ]
        each = [
            Number(v, decimal(v), f"folds.metrics.{name}.values.{i}") for i, v in enumerate(own["values"])
        ]
        rows.append(Row((NAMES.get(name, name), *cells, *each)))
    columns = ("", "mean", "std. dev.", *(f"fold {i + 1}" for i in range(found["k"])))
    return Section("folds", "Cross-validation", (Table(f"{found['k']} folds", columns, tuple(rows)),))


def data(material: Material) -> Section | None:
    """Return lengths, classes and what the checks found."""
    blocks: list[Block] = [
        *_lengths(material),
        *_classes(material),
        *_leakage(material),
        *_findings(material),
    ]
    return Section("data", "Data", tuple(blocks)) if blocks else None


def _lengths(material: Material) -> list[Block]:
    names, multi = material.class_names, material.task == "multi-label"
    if material.splits:
        parts = [(own.texts, own.labels) for own in material.splits.values()]
        found, labels = pl.concat([t for t, _ in parts]), pl.concat([own for _, own in parts])
        lengths = found.str.len_chars().to_numpy().astype(np.float64)
        members = [(labels == name).to_numpy() for name in names] if not multi else []
    elif material.predictions is not None:
        lengths = np.array([len(text) for text in material.predictions.texts], dtype=np.float64)
        members = [material.predictions.targets == c for c in range(len(names))] if not multi else []
    else:
        return []
    if not len(lengths):
        return []
    by_class: dict[str, Floats] = {"all": lengths}
    if 0 < len(members) <= CLASSES_OF_LENGTHS:
        by_class = {name: lengths[own] for name, own in zip(names, members, strict=True)}
    return [plots.lengths(by_class, _lengths_in_words(lengths, by_class))]


def _lengths_in_words(lengths: Floats, by_class: Mapping[str, Floats]) -> str:
    said = (
        f"The {texts(len(lengths))} have {lengths.min():,.0f} to {lengths.max():,.0f} characters, "
        f"the median is {np.median(lengths):,.0f}"
    )
    if len(by_class) > 1:
        medians = [f"{np.median(own):,.0f} for {quoted(name)}" for name, own in by_class.items() if len(own)]
        said += f" ({listing(medians)})"
    return said + "."


def _classes(material: Material) -> list[Block]:
    if not material.splits:
        return []
    names = material.class_names
    counts = {
        split: own.class_counts(material.task == "multi-label") for split, own in material.splits.items()
    }
    totals = {split: len(own.texts) for split, own in material.splits.items()}
    rows = []
    for name in names:
        cells: list[Cell] = [name]
        for split, own in counts.items():
            share = own[name] / totals[split] if totals[split] else 0.0
            cells.append(Number(own[name], f"{own[name]:,}", below=f"{decimal(share * 100, 1)} %"))
        rows.append(Row(tuple(cells)))
    rows.append(Row(("all texts", *(count(n, f"examples.{split}") for split, n in totals.items()))))
    note = "A text can have several labels, or none." if material.task == "multi-label" else ""
    table = Table("Texts of each class", ("", *counts), tuple(rows), note, long=len(rows) > 30)
    if len(names) > DRAWN_CLASSES:
        return [table]
    shares = {
        split: {name: own[name] / max(totals[split], 1) for name in names} for split, own in counts.items()
    }
    return [plots.class_shares(shares, names, _shares_in_words(shares)), table]


def _shares_in_words(shares: Mapping[str, Mapping[str, float]]) -> str:
    first = next(iter(shares))
    largest = max(shares[first], key=lambda name: shares[first][name])
    smallest = min(shares[first], key=lambda name: shares[first][name])
    apart = max(abs(own[name] - shares[first][name]) for own in shares.values() for name in own)
    return (
        f"In {first}, {quoted(largest)} is the largest class with {shares[first][largest]:.1%} of the texts and "
        f"{quoted(smallest)} the smallest with {shares[first][smallest]:.1%}; no class's share differs between the "
        f"splits by more than {apart * 100:.1f} points."
    )


def _leakage(material: Material) -> list[Block]:
    """Say whether test texts stand in the training split too, as the folder's own files have it."""
    if not {"train", "test"} <= set(material.splits):
        return []
    shared, repeated = overlap(material)
    test, train = (texts(len(material.splits[name].texts)) for name in ("test", "train"))
    said = (
        f"{f'{shared:,}' if shared else 'None'} of the {test} of the test split {'stands' if shared == 1 else 'stand'} "
        f"in the training split too, case and white space aside; {repeated:,} of the {train} there repeat another."
    )
    if shared:
        said += " On these texts the classifier may know the answer by heart."
    return [Paragraph(said)]


def overlap(material: Material) -> tuple[int, int]:
    """Return how many test texts stand in the training split too, and how many there repeat an earlier one."""
    train, test = (_keys(material.splits[name]) for name in ("train", "test"))
    known = set(train)
    return sum(1 for key in test if key in known), len(train) - len(known)


def _keys(split: Split) -> list[str]:
    return [fold(text) for text in split.texts.to_list()]


def _findings(material: Material) -> list[Block]:
    found = material.figures.get("data") or {}
    blocks: list[Block] = []
    items = found.get("findings") or []
    rows = [
        Row(
            (
                own["name"].replace("-", " "),
                count(own["count"], f"data.findings.{index}.count"),
                ", ".join(str(row) for row in own.get("first_rows") or ()),
                own.get("detail") or "",
            ),
            own.get("severity") in ("warning", "error"),
        )
        for index, own in enumerate(items)
        if own["count"]
    ]
    if rows:
        blocks.append(
            Table("What the checks found", ("", "count", "first rows", "what it means"), tuple(rows))
        )
    if clean := [own["name"].replace("-", " ") for own in items if not own["count"]]:
        blocks.append(Paragraph(f"Looked for and not found: {listing(clean, 20)}."))
    if characters := found.get("characters"):
        pairs = list(characters.items() if isinstance(characters, Mapping) else characters)
        cells = [Number(own, f"{own:,.6g}", f"data.characters.{i}.1") for i, (_, own) in enumerate(pairs)]
        columns = ("", *(str(name) for name, _ in pairs))
        blocks.append(Table("Length in characters", columns, (Row(("texts", *cells)),)))
    return blocks


def repetition(material: Material, command: str) -> Section:
    """Return the command that repeats it, the configuration and the environment."""
    blocks: list[Block] = []
    if command:
        blocks.append(Code(command))
    for name, options in material.config.items():
        rows = [Row((option, _shown(value))) for option, value in options.items()]
        blocks.append(Table(f"Configuration: [{name}]", ("option", "value"), tuple(rows), half=True))
    if material.environment:
        rows = [Row(pair) for pair in _flat(material.environment)]
        blocks.append(Table("Environment", ("what", "value"), tuple(rows), half=True))
    return Section("repetition", "Repeating it", tuple(blocks))


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value)) or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} = {_shown(own)}" for name, own in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)


def _flat(environment: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the environment's entries as names and values; its command stands elsewhere."""
    pairs = []
    for name, value in environment.items():
        label = name.replace("_", " ")
        if name == "seconds" and isinstance(value, Mapping):
            pairs += [(f"time, {stage}", seconds(own)) for stage, own in value.items()]
        elif isinstance(value, Mapping):
            pairs += [
                (f"{label}, {key.replace('_', ' ')}", _shown(v)) for key, v in value.items() if v is not None
            ]
        elif name != "command" and value is not None:
            pairs.append((label, _shown(value)))
    return pairs
