"""The sections on how the classifier does on the test split."""

import numpy as np

from finetext.reporting import curves, plots
from finetext.reporting.blocks import (
    Block,
    Cell,
    Drawing,
    Mistake,
    Mistakes,
    Number,
    Paragraph,
    Row,
    Section,
    Table,
)
from finetext.reporting.folder import Floats, Ids, Material, Predictions
from finetext.reporting.phrases import count, decimal, listing, quoted, shorten, texts

MATRIX_CLASSES = 20
"""Up to how many classes the whole confusion matrix is shown."""
PAIRS = 20
BESIDE_CLASSES = 14
"""Up to how many classes their figures stand beside the confusion matrix."""
CURVES = 10
"""Of how many classes a curve of their own is drawn, the most frequent ones."""
MISTAKES = 20
MISTAKE_CHARACTERS = 500
COVERAGES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.5)


def confusion(material: Material) -> Section:
    """Return what is taken for what, and the figures of each class."""
    test, names = material.figures["test"], material.class_names
    matrix = test["confusion"]
    blocks: list[Block] = []
    if matrix is not None and len(names) <= MATRIX_CLASSES:
        blocks.append(plots.confusion(matrix, names))
    elif matrix is not None:
        blocks += [Paragraph(plots.confusion_in_words(matrix, names)), _pairs(material)]
    title = "Labels" if matrix is None else "Confusion and classes"
    return Section("classes", title, (*blocks, _classes(material)))


def _pairs(material: Material) -> Table:
    matrix, names = material.figures["test"]["confusion"], material.class_names
    pairs = plots.confused_pairs(matrix)
    rows = [
        Row(
            (
                names[true],
                names[predicted],
                count(number, f"test.confusion.{true}.{predicted}"),
                _percent(number / sum(matrix[true])),
            )
        )
        for number, true, predicted in pairs[:PAIRS]
    ]
    note = f"The first {PAIRS} of {len(pairs):,} pairs." if len(pairs) > PAIRS else ""
    return Table(
        "Most confused pairs", ("true", "predicted", "texts", "of the true class"), tuple(rows), note
    )


def _percent(share: float) -> Number:
    return Number(share, f"{decimal(share * 100, 1)} %")


def _classes(material: Material) -> Table:
    test = material.figures["test"]
    limits = (material.figures.get("decision") or {}).get("thresholds")
    with_limits = bool(limits) and material.task == "multi-label"
    rows = []
    for index, own in enumerate(test["classes"]):
        cells: list[Cell] = [own["name"]]
        for name in ("precision", "recall", "f1"):
            # Without a text of the class there is nothing to find; scikit-learn counts 0 then.
            known = own["support"] > 0 or name == "precision"
            key = f"test.classes.{index}.{name}" if known else ""
            cells.append(Number(own[name] if known else None, decimal(own[name] if known else None), key))
        cells.append(count(own["support"], f"test.classes.{index}.support"))
        if with_limits:
            limit = limits[index] if limits else None
            cells.append(Number(limit, decimal(limit, 3), f"decision.thresholds.{index}"))
        rows.append(Row(tuple(cells)))
    notes = []
    absent = [quoted(own["name"]) for own in test["classes"] if not own["support"]]
    if absent:
        notes.append(f"The test split has no text of {listing(absent)}; the macro means count 0 for that.")
    silent = [quoted(name) for name in _never_predicted(material)]
    if silent:
        notes.append(f"Never predicted: {listing(silent)}; the precision counts as 0.")
    columns = ("", "precision", "recall", "F1", "texts", *(("threshold",) if with_limits else ()))
    return Table(
        "Figures of each class",
        columns,
        tuple(rows),
        " ".join(notes),
        long=len(rows) > 30,
        half=test["confusion"] is not None and len(rows) <= BESIDE_CLASSES,
    )


def _never_predicted(material: Material) -> list[str]:
    matrix, names = material.figures["test"]["confusion"], material.class_names
    if matrix is not None:
        return [
            name for name, column in zip(names, zip(*matrix, strict=True), strict=True) if not sum(column)
        ]
    if material.predictions is None:
        return []
    return [name for name, n in zip(names, material.predictions.predicted.sum(axis=0), strict=True) if not n]


def ranking(material: Material, predictions: Predictions) -> list[Block]:
    """Return ROC and precision-recall curves, of the classes that some texts have and some have not."""
    one_hot, names = predictions.one_hot(), material.class_names
    test = material.figures["test"]
    ranked = [c for c in curves.varied(one_hot) if material.task != "binary" or c == 1]
    if not ranked:
        return [Paragraph("All test texts have the same labels: there is no ROC or precision-recall curve.")]
    rocs = {c: curves.roc(one_hot[:, c], predictions.probs[:, c]) for c in ranked}
    staircases = {c: curves.precision_recall(one_hot[:, c], predictions.probs[:, c]) for c in ranked}
    if material.task == "binary":
        name, share = quoted(names[1]), float(one_hot[:, 1].mean())
        at = curves.recall_at(rocs[1], 0.01)
        return [
            plots.roc(
                {names[1]: rocs[1]},
                None,
                f"For {name}, the area under the ROC curve is {decimal(test['roc_auc'])}; with at most 1 % of the "
                f"other texts taken for {name}, {at:.1%} of them are found.",
            ),
            plots.precision_recall(
                {names[1]: staircases[1]},
                None,
                share,
                f"For {name}, the average precision is {decimal(test['pr_auc'])}; calling every text {name} has a "
                f"precision of {share:.3f}.",
            ),
        ]
    frequent = sorted(ranked, key=lambda c: (-int(one_hot[:, c].sum()), c))[:CURVES]
    drawn = [c for c in ranked if c in frequent]
    left_out = f" Drawn are the {len(drawn)} most frequent." if len(drawn) < len(ranked) else ""
    return [
        plots.roc(
            {names[c]: rocs[c] for c in drawn},
            curves.mean_curve(list(rocs.values()), staircase=False),
            f"One class against the rest, the mean area under the ROC curve over {len(ranked)} classes is "
            f"{decimal(test['roc_auc'])}.{left_out}",
        ),
        plots.precision_recall(
            {names[c]: staircases[c] for c in drawn},
            curves.mean_curve(list(staircases.values()), staircase=True),
            None,
            f"One class against the rest, the mean average precision over {len(ranked)} classes is "
            f"{decimal(test['pr_auc'])}.{left_out}",
        ),
    ]


def probabilities(material: Material) -> Section | None:
    """Return how good the probabilities are: ranking and calibration."""
    predictions = material.predictions
    if predictions is None or not len(predictions.texts):
        return None
    error = material.figures["test"]["calibration_error"]
    blocks = [*ranking(material, predictions), plots.reliability(curves.reliability(predictions), error)]
    temperature = (material.figures.get("decision") or {}).get("temperature")
    if temperature is not None:
        blocks.append(Paragraph(f"The logits are divided by a temperature of {temperature:.4g}."))
    return Section("probabilities", "Probabilities", tuple(blocks))


def decision(material: Material) -> Section | None:
    """Return what a threshold and a limit below which it abstains would do."""
    predictions = material.predictions
    if predictions is None or not len(predictions.texts):
        return None
    rule = material.figures.get("decision") or {}
    blocks: list[Block] = [
        Paragraph(said) for said in (_rule_in_words(material), _how_chosen(material)) if said
    ]
    if material.task == "binary":
        blocks.append(_thresholds(material, predictions))
    found = curves.coverage(predictions)
    blocks += [_coverage_plot(predictions, found, rule.get("abstain_below")), _coverage_table(found)]
    return Section("decision", "Decision", tuple(blocks))


def _rule_in_words(material: Material) -> str:
    rule, names = material.figures.get("decision") or {}, material.class_names
    limits = rule.get("thresholds")
    chosen = f", chosen for {rule['criterion']}" if rule.get("criterion") else ""
    chosen += f" by {rule['chosen_on']}" if rule.get("chosen_on") == "cross-fitting" else ""
    chosen += f" on {rule['chosen_on']}" if rule.get("chosen_on") not in (None, "cross-fitting") else ""
    if material.task == "binary" and limits:
        said = f"A text is {quoted(names[1])} from a probability of {limits[0]:.4g} on{chosen}."
    elif material.task == "multi-label":
        level = f"its own threshold{chosen}" if limits else "0.5"
        said = f"A text gets every label whose probability reaches {level}."
    else:
        said = "A text gets its likeliest class."
    if rule.get("abstain_below") is not None:
        said += f" Below a probability of {rule['abstain_below']:.4g} it gets no label."
        if material.predictions is not None and material.predictions.abstained is not None:
            unlabelled = int(material.predictions.abstained.sum())
            said += f" That is so for {unlabelled:,} of {texts(len(material.predictions.texts))}; the other"
            said += " sections count them with the label that they would get."
    return said


def _how_chosen(material: Material) -> str:
    """Return what was chosen on which texts; nothing for an evaluation, which chooses nothing."""
    best, rule = material.figures.get("best"), material.figures.get("decision") or {}
    if not best:
        return ""
    said = "The weights that are kept were chosen on the validation split"
    chosen = [
        word
        for word, own in (
            ("the temperature", rule.get("temperature")),
            ("the threshold", rule.get("thresholds")),
        )
        if own is not None
    ]
    if chosen and rule.get("chosen_on") == "cross-fitting":
        number = texts(rule["examples"]) if rule.get("examples") else "the texts"
        said += f", {' and '.join(chosen)} by cross-fitting on {number} of training and validation"
    elif chosen:
        said += f", {' and '.join(chosen)} too"
    return f"{said}. The test split was read once, after all of that."


def _thresholds(material: Material, predictions: Predictions) -> Table:
    limits = (material.figures.get("decision") or {}).get("thresholds")
    used = float(limits[0]) if limits else 0.5
    rows = []
    for own in curves.threshold_rows(predictions, used):
        cells = [Number(value, decimal(value, 3)) for value in (own.precision, own.recall, own.f1, own.mcc)]
        rows.append(Row((f"{own.threshold:.4g}", *cells, count(own.positive)), own.used))
    positive = quoted(material.class_names[1])
    return Table(
        f"Thresholds for {positive}",
        ("from", "precision", "recall", "F1", "MCC", "predicted"),
        tuple(rows),
        f"In use is {used:.4g}, marked. To read, not to choose from: a threshold chosen on the test split would make "
        "its figures too good.",
        half=True,
    )


def _coverage_plot(predictions: Predictions, found: curves.Coverage, limit: float | None) -> Drawing:
    half = found.at(0.5)
    finding = (
        f"Accuracy is {decimal(float(found.accuracy[-1]))} on all texts and {decimal(float(found.accuracy[half]))} on "
        f"the most confident {found.share[half]:.0%}."
    )
    if limit is not None and not predictions.multi:
        kept = predictions.confidence >= limit
        if kept.any():
            accuracy = float(predictions.right[kept].mean())
            finding += f" With the limit of {limit:.4g}, {kept.mean():.1%} are kept, at {decimal(accuracy)}."
    return plots.coverage(found, None if predictions.multi else limit, finding)


def _coverage_table(found: curves.Coverage) -> Table:
    places = list(dict.fromkeys(found.at(share) for share in COVERAGES))
    rows = [
        Row(
            (
                f"{found.share[i] * 100:.1f} %",
                Number(float(found.accuracy[i]), decimal(float(found.accuracy[i]))),
                Number(float(found.limit[i]), decimal(float(found.limit[i]), 3)),
            )
        )
        for i in places
    ]
    note = "Texts of equal confidence are kept together."
    return Table(
        "Accuracy on the texts kept", ("kept", "accuracy", "confidence from"), tuple(rows), note, half=True
    )


def mistakes(material: Material) -> Section | None:
    """Return the most confident mistakes with their texts."""
    predictions = material.predictions
    if predictions is None:
        return None
    wrong = np.flatnonzero(~predictions.right)
    if not len(wrong):
        said = f"There is none among {texts(len(predictions.texts))}."
        return Section("mistakes", "Most confident mistakes", (Paragraph(said),))
    sure = _confidence_of_mistakes(predictions, wrong)
    worst = wrong[np.argsort(-sure, kind="stable")][:MISTAKES]
    by_row = dict(zip(wrong.tolist(), sure.tolist(), strict=True))
    items = tuple(
        Mistake(
            shorten(predictions.texts[row], MISTAKE_CHARACTERS),
            _labels(predictions.targets[row], material),
            _labels(predictions.predicted[row], material),
            by_row[row],
        )
        for row in worst.tolist()
    )
    said = f"{len(wrong):,} of {texts(len(predictions.texts))} are classified wrongly"
    said += f"; here are the {len(items)} that it is most sure of." if len(wrong) > len(items) else "."
    said += " Look at the true labels too: some may be wrong in the data."
    if predictions.multi:
        said += " The confidence is that of the surest wrong decision on a label."
    return Section("mistakes", "Most confident mistakes", (Paragraph(said), Mistakes(items)))


def _confidence_of_mistakes(predictions: Predictions, wrong: Ids) -> Floats:
    if not predictions.multi:
        return np.asarray(predictions.confidence[wrong])
    # Of the decisions on a text's labels, the surest of those that are wrong.
    predicted, probs = predictions.predicted[wrong], predictions.probs[wrong]
    sure = np.where(predicted == 1, probs, 1 - probs)
    return np.asarray(np.where(predicted != predictions.targets[wrong], sure, 0).max(axis=1))


def _labels(own: Ids, material: Material) -> str:
    if material.task != "multi-label":
        return material.class_names[int(own)]
    chosen = [name for name, on in zip(material.class_names, own, strict=True) if on]
    return ", ".join(chosen) or "(no label)"
