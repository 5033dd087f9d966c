"""A loaded bundle that labels texts, one by one or a whole table."""

from typing import TYPE_CHECKING

from finetext import lazy

if TYPE_CHECKING:
    from finetext.inference.bulk import Labelled, predict_rows, predict_table
    from finetext.inference.classifier import Classifier, load
    from finetext.inference.explanation import Explanation, Word, find_spans, variants
    from finetext.inference.exporting import export_onnx
    from finetext.inference.partial import Done, rows_kept
    from finetext.inference.predicting import Job, predict_file, predict_stream
    from finetext.inference.writing import Writing, output_writing, refuse_existing

_HOMES = {
    "Classifier": "classifier",
    "Done": "partial",
    "Explanation": "explanation",
    "Job": "predicting",
    "Labelled": "bulk",
    "Word": "explanation",
    "Writing": "writing",
    "export_onnx": "exporting",
    "find_spans": "explanation",
    "load": "classifier",
    "output_writing": "writing",
    "predict_file": "predicting",
    "predict_rows": "bulk",
    "predict_stream": "predicting",
    "predict_table": "bulk",
    "refuse_existing": "writing",
    "rows_kept": "partial",
    "variants": "explanation",
}

__all__ = [
    "Classifier",
    "Done",
    "Explanation",
    "Job",
    "Labelled",
    "Word",
    "Writing",
    "export_onnx",
    "find_spans",
    "load",
    "output_writing",
    "predict_file",
    "predict_rows",
    "predict_stream",
    "predict_table",
    "refuse_existing",
    "rows_kept",
    "variants",
]

__getattr__ = lazy.exports(__name__, _HOMES)
