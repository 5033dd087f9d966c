"""The sections on how well the classifier does on the test split."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from finetext.evaluation import RunMetrics
from finetext.reporting import curves, plots, verdict
from finetext.reporting.elements import Element, Mistakes, Number, Row, Table
from finetext.reporting.folder import Floats, Ids, Predictions, ReportInputs
from finetext.reporting.phrases import count, decimal_cell, listing, percent, quoted, shorten, texts
from finetext.reporting.rendering import sentences

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
    silent = [quoted(name) for name in _never_predicted(inputs)]
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
    return Table(
        "Metrics of each class",
        ("", "precision", "recall", "F1", "texts", *(("threshold",) if limits else ())),
        rows,
        f"Never predicted: {listing(silent)}; the precision counts as 0." if silent else "",
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
    one_hot, names, binary = predictions.one_hot(), metrics.class_names, metrics.task == "binary"
    ranked = [c for c in curves.varied(one_hot) if not binary or c == 1]
    if not ranked:
        return ["All test texts have the same labels: there is no ROC or precision-recall curve."]
    rocs, staircases = (
        {c: curve(one_hot[:, c], predictions.probs[:, c]) for c in ranked}
        for curve in (curves.roc, curves.precision_recall)
    )
    mean_roc = None if binary else curves.mean_curve(list(rocs.values()), staircase=False)
    mean_staircase = None if binary else curves.mean_curve(list(staircases.values()), staircase=True)
    prevalence = float(one_hot[:, 1].mean()) if binary else None
    drawn = sorted(sorted(ranked, key=lambda c: -int(one_hot[:, c].sum()))[:CURVES])
    recall = curves.recall_at(rocs[ranked[0]], 0.01)
    found = f"with at most 1 % of the other texts taken for it, {recall:.1%} of its own are found"
    chance = f"predicting it for every text has a precision of {one_hot[:, ranked[0]].mean():.3f}"
    positive = names[1] if binary else None
    finding = partial(sentences, "ranking", positive=positive, ranked=len(ranked), drawn=len(drawn))
    roc = finding(area="area under the ROC curve", value=metrics.test.roc_auc, compared=found)
    precision = finding(area="average precision", value=metrics.test.pr_auc, compared=chance)
    of_class = {names[c]: staircases[c] for c in drawn}
    return [
        plots.roc({names[c]: rocs[c] for c in drawn}, mean_roc, roc),
        plots.precision_recall(of_class, mean_staircase, prevalence, precision),
    ]


def probabilities(inputs: ReportInputs) -> list[Element]:
    """Return how good the probabilities are: ranking and calibration."""
    predictions, metrics = inputs.predictions, inputs.metrics
    if predictions is None or not len(predictions.texts):
        return []
    reliability = plots.reliability(curves.reliability(predictions), metrics.test.calibration_error)
    return [*_ranking(metrics, predictions), reliability]


def decision(inputs: ReportInputs) -> list[Element]:
    """Return what other thresholds and abstention limits would do."""
    predictions, metrics = inputs.predictions, inputs.metrics
    if predictions is None or not len(predictions.texts):
        return []
    elements: list[Element] = [*verdict.decision(metrics)]
    if metrics.task == "binary":
        elements.append(_thresholds(metrics, predictions))
    kept = curves.coverage(predictions)
    limit = None if predictions.multi else metrics.decision.abstain_below
    finding = sentences("coverage", curve=kept, half=kept.at(0.5))
    return [*elements, plots.coverage(kept, limit, finding), _coverage_table(kept)]


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
    wrong = np.flatnonzero(~predictions.right)
    if not len(wrong):
        return [f"There is none among {texts(len(predictions.texts))}."]
    confidence = _confidence_of_mistakes(predictions, wrong)
    worst = np.argsort(-confidence, kind="stable")[:MISTAKES]
    items = [
        (
            shorten(predictions.texts[row], MISTAKE_CHARACTERS),
            _label(predictions.targets[row], names),
            _label(predictions.predicted[row], names),
            sure,
        )
        for row, sure in zip(wrong[worst].tolist(), confidence[worst].tolist(), strict=True)
    ]
    text = sentences("mistakes", predictions=predictions, wrong=len(wrong), shown=len(items))
    return [text, Mistakes(items)]


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
