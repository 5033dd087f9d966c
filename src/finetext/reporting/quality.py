"""The sections on how well the classifier does on the test split."""

from collections.abc import Sequence

import numpy as np

from finetext.evaluation import RunMetrics
from finetext.reporting import curves, plots
from finetext.reporting.elements import Element, Mistake, MistakeList, Number, Plot, Row, Table
from finetext.reporting.folder import Floats, Ids, Predictions, ReportInputs
from finetext.reporting.phrases import count, decimal, decimal_cell, listing, percent, quoted, shorten, texts

MATRIX_CLASSES = 20
"""With more classes the pairs that are confused most take the place of the confusion matrix."""
PAIRS = 20
BESIDE_CLASSES = 14
"""Up to how many classes their table stands beside the confusion matrix."""
CURVES = 10
"""For how many classes, the most frequent ones, a curve is drawn."""
MISTAKES = 20
MISTAKE_CHARACTERS = 500
COVERAGES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.5)


def confusion(inputs: ReportInputs) -> list[Element]:
    """Return which classes are confused, and the metrics of each class."""
    matrix, names = inputs.metrics.test.confusion, inputs.metrics.class_names
    classes = _classes(inputs)
    if matrix is None:
        return [classes]
    if len(names) <= MATRIX_CLASSES:
        return [plots.confusion(matrix, names), classes]
    return [plots.confusion_in_words(matrix, names), _pairs(matrix, names), classes]


def _pairs(matrix: Sequence[Sequence[int]], names: Sequence[str]) -> Table:
    pairs = plots.confused_pairs(matrix)
    rows = []
    for number, true, predicted in pairs[:PAIRS]:
        share, key = number / sum(matrix[true]), f"test.confusion.{true}.{predicted}"
        rows.append((names[true], names[predicted], count(number, key), Number(share, percent(share))))
    note = f"The first {PAIRS} of {len(pairs):,} pairs." if len(pairs) > PAIRS else ""
    return Table("Most confused pairs", ("true", "predicted", "texts", "of the true class"), rows, note)


def _classes(inputs: ReportInputs) -> Table:
    test = inputs.metrics.test
    limits = inputs.metrics.decision.thresholds if inputs.multi else None
    rows: list[Row] = []
    for index, label in enumerate(test.classes):
        key = f"test.classes.{index}"
        cells = [decimal_cell(label.precision, f"{key}.precision")]
        if label.support:
            cells += [decimal_cell(label.recall, f"{key}.recall"), decimal_cell(label.f1, f"{key}.f1")]
        else:  # not defined; scikit-learn counts 0
            cells += [decimal_cell(None)] * 2
        cells.append(count(label.support, f"{key}.support"))
        if limits:
            cells.append(decimal_cell(limits[index], f"decision.thresholds.{index}", 3))
        rows.append((label.name, *cells))
    notes = []
    if absent := [quoted(label.name) for label in test.classes if not label.support]:
        notes.append(
            f"The test split has no text of {listing(absent)}, which counts as 0 in the macro means."
        )
    if silent := [quoted(name) for name in _never_predicted(inputs)]:
        notes.append(f"Never predicted: {listing(silent)}; the precision counts as 0.")
    return Table(
        "Metrics of each class",
        ("", "precision", "recall", "F1", "texts", *(("threshold",) if limits else ())),
        rows,
        " ".join(notes),
        long=len(rows) > 30,
        half=test.confusion is not None and len(rows) <= BESIDE_CLASSES,
    )


def _never_predicted(inputs: ReportInputs) -> list[str]:
    matrix, names = inputs.metrics.test.confusion, inputs.metrics.class_names
    if matrix is not None:
        counts = [sum(column) for column in zip(*matrix, strict=True)]
    elif inputs.predictions is not None:
        counts = inputs.predictions.predicted.sum(axis=0).tolist()
    else:
        return []
    return [name for name, number in zip(names, counts, strict=True) if not number]


def _ranking(metrics: RunMetrics, predictions: Predictions) -> list[Element]:
    """Return the ROC and precision-recall curves of the classes that some texts have and some have not."""
    one_hot, names, test, binary = (
        predictions.one_hot(),
        metrics.class_names,
        metrics.test,
        metrics.task == "binary",
    )
    ranked = [c for c in curves.varied(one_hot) if not binary or c == 1]
    if not ranked:
        return ["All test texts have the same labels: there is no ROC or precision-recall curve."]
    rocs, staircases = (
        {c: curve(one_hot[:, c], predictions.probs[:, c]) for c in ranked}
        for curve in (curves.roc, curves.precision_recall)
    )
    if binary:
        name, prevalence = quoted(names[1]), float(one_hot[:, 1].mean())
        mean_roc = mean_staircase = None
        roc_finding = (
            f"For {name}, the area under the ROC curve is {decimal(test.roc_auc)}; with at most 1 % of the "
            f"other texts taken for {name}, {curves.recall_at(rocs[1], 0.01):.1%} of them are found."
        )
        pr_finding = (
            f"For {name}, the average precision is {decimal(test.pr_auc)}; predicting {name} for every text has a "
            f"precision of {prevalence:.3f}."
        )
    else:
        prevalence = None
        mean_roc = curves.mean_curve(list(rocs.values()), staircase=False)
        mean_staircase = curves.mean_curve(list(staircases.values()), staircase=True)
        left_out = f" Drawn are the {CURVES} most frequent." if len(ranked) > CURVES else ""
        roc_finding, pr_finding = (
            f"One class against the rest, the mean {score} over {len(ranked)} classes is {decimal(value)}.{left_out}"
            for score, value in (
                ("area under the ROC curve", test.roc_auc),
                ("average precision", test.pr_auc),
            )
        )
    drawn = sorted(sorted(ranked, key=lambda c: -int(one_hot[:, c].sum()))[:CURVES])
    return [
        plots.roc({names[c]: rocs[c] for c in drawn}, mean_roc, roc_finding),
        plots.precision_recall(
            {names[c]: staircases[c] for c in drawn}, mean_staircase, prevalence, pr_finding
        ),
    ]


def probabilities(inputs: ReportInputs) -> list[Element]:
    """Return how good the probabilities are: ranking and calibration."""
    predictions, metrics = inputs.predictions, inputs.metrics
    if predictions is None or not len(predictions.texts):
        return []
    reliability = plots.reliability(curves.reliability(predictions), metrics.test.calibration_error)
    elements = [*_ranking(metrics, predictions), reliability]
    if metrics.decision.temperature is not None:
        elements.append(f"The logits are divided by a temperature of {metrics.decision.temperature:.4g}.")
    return elements


def decision(inputs: ReportInputs) -> list[Element]:
    """Return what other thresholds and abstention limits would do."""
    predictions, metrics = inputs.predictions, inputs.metrics
    if predictions is None or not len(predictions.texts):
        return []
    elements: list[Element] = [_rule_in_words(metrics, predictions)]
    if metrics.best is not None:
        elements.append(_how_chosen(metrics))
    if metrics.task == "binary":
        elements.append(_thresholds(metrics, predictions))
    kept = curves.coverage(predictions)
    return [
        *elements,
        _coverage_plot(predictions, kept, metrics.decision.abstain_below),
        _coverage_table(kept),
    ]


def _rule_in_words(metrics: RunMetrics, predictions: Predictions) -> str:
    rule, limits = metrics.decision, metrics.decision.thresholds
    chosen = f", chosen for {rule.criterion}" if rule.criterion else ""
    if rule.chosen_on is not None:
        chosen += f" {'by' if rule.chosen_on == 'cross-fitting' else 'on'} {rule.chosen_on}"
    if metrics.task == "binary" and limits:
        text = f"A text is labelled {quoted(metrics.class_names[1])} from a probability of {limits[0]:.4g}{chosen}."
    elif metrics.task == "multi-label":
        level = f"its own threshold{chosen}" if limits else "0.5"
        text = f"A text gets every label whose probability reaches {level}."
    else:
        text = "A text gets its likeliest class."
    if rule.abstain_below is not None:
        text += f" Below a probability of {rule.abstain_below:.4g} it gets no label."
        if predictions.abstained is not None:
            text += (
                f" That is so for {int(predictions.abstained.sum()):,} of {texts(len(predictions.texts))}; the other "
                "sections count them with the label that they would get."
            )
    return text


def _how_chosen(metrics: RunMetrics) -> str:
    rule = metrics.decision
    text = "The weights were chosen on the validation split"
    choices = (("the temperature", rule.temperature), ("the threshold", rule.thresholds))
    chosen = " and ".join(name for name, value in choices if value is not None)
    if chosen and rule.chosen_on == "cross-fitting":
        number = texts(rule.examples) if rule.examples else "the texts"
        text += f", {chosen} by cross-fitting on {number} of training and validation"
    elif chosen:
        text += f", {chosen} too"
    return f"{text}. The test split was read once, after all of that."


def _thresholds(metrics: RunMetrics, predictions: Predictions) -> Table:
    limits = metrics.decision.thresholds
    used = float(limits[0]) if limits else 0.5
    at = curves.threshold_counts(predictions, used)
    predicted = at.tp + at.fp
    # Each metric with the texts that it is measured on: of none it is not defined.
    columns = (
        (at.precision, predicted),
        (at.recall, at.tp + at.fn),
        (at.f1, predicted + at.fn),
        (at.mcc, predicted + at.fn + at.tn),
    )
    rows: list[Row] = []
    for k, threshold in enumerate(at.thresholds):
        values = [float(metric[k]) if number[k] else None for metric, number in columns]
        cells = [decimal_cell(value, digits=3) for value in values]
        rows.append((f"{threshold:.4g}", *cells, count(int(predicted[k]))))
    return Table(
        f"Thresholds for {quoted(metrics.class_names[1])}",
        ("from", "precision", "recall", "F1", "MCC", "predicted"),
        rows,
        f"In use is {used:.4g}, marked. For information, not to choose from: a threshold chosen on the test split "
        "would make its metrics look better than they are.",
        marked=np.flatnonzero(at.thresholds == used).tolist(),
        half=True,
    )


def _coverage_plot(predictions: Predictions, kept: curves.CoverageCurve, limit: float | None) -> Plot:
    half = kept.at(0.5)
    finding = (
        f"Accuracy is {decimal(float(kept.accuracy[-1]))} on all texts and {decimal(float(kept.accuracy[half]))} on "
        f"the most confident {kept.share[half]:.0%}."
    )
    if predictions.multi:
        limit = None
    if limit is not None and (above := predictions.confidence >= limit).any():
        accuracy = float(predictions.right[above].mean())
        finding += f" With the limit of {limit:.4g}, {above.mean():.1%} are kept, at {decimal(accuracy)}."
    return plots.coverage(kept, limit, finding)


def _coverage_table(kept: curves.CoverageCurve) -> Table:
    places = dict.fromkeys(kept.at(share) for share in COVERAGES)
    rows: list[Row] = [
        (
            f"{kept.share[i] * 100:.1f} %",
            decimal_cell(float(kept.accuracy[i])),
            decimal_cell(float(kept.limit[i]), digits=3),
        )
        for i in places
    ]
    columns, note = ("kept", "accuracy", "confidence from"), "Texts of equal confidence are kept together."
    return Table("Accuracy on the texts kept", columns, rows, note, half=True)


def mistakes(inputs: ReportInputs) -> list[Element]:
    """Return the most confident mistakes with their texts."""
    predictions, names = inputs.predictions, inputs.metrics.class_names
    if predictions is None:
        return []
    wrong, total = np.flatnonzero(~predictions.right), texts(len(predictions.texts))
    if not len(wrong):
        return [f"There is none among {total}."]
    confidence = _confidence_of_mistakes(predictions, wrong)
    worst = np.argsort(-confidence, kind="stable")[:MISTAKES]
    items = [
        Mistake(
            shorten(predictions.texts[row], MISTAKE_CHARACTERS),
            _label(predictions.targets[row], names),
            _label(predictions.predicted[row], names),
            sure,
        )
        for row, sure in zip(wrong[worst].tolist(), confidence[worst].tolist(), strict=True)
    ]
    text = f"{len(wrong):,} of {total} are labelled wrongly"
    text += f"; here are the {len(items)} most confident ones." if len(wrong) > len(items) else "."
    text += " Check the true labels too: some of them may be wrong."
    if predictions.multi:
        text += " The confidence is that of the most confident wrong decision on a label."
    return [text, MistakeList(items)]


def _confidence_of_mistakes(predictions: Predictions, wrong: Ids) -> Floats:
    if not predictions.multi:
        return np.asarray(predictions.confidence[wrong])
    predicted, probs = predictions.predicted[wrong], predictions.probs[wrong]
    sure = np.where(predicted == 1, probs, 1 - probs)
    return np.asarray(np.where(predicted != predictions.targets[wrong], sure, 0).max(axis=1))


def _label(ids: Ids, names: Sequence[str]) -> str:
    if ids.ndim == 0:
        return names[int(ids)]
    return ", ".join(name for name, chosen in zip(names, ids, strict=True) if chosen) or "(no label)"
