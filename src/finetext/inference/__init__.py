"""A loaded bundle that labels texts, one by one or a whole table."""

from typing import TYPE_CHECKING

from finetext import lazy

if TYPE_CHECKING:
    from finetext.inference.bulk import predict_table, refuse_existing, table_bytes, table_format, write_table
    from finetext.inference.classifier import Classifier, load
    from finetext.inference.explanation import Explanation, Word
    from finetext.inference.exporting import export_onnx

__all__ = [
    "Classifier",
    "Explanation",
    "Word",
    "export_onnx",
    "load",
    "predict_table",
    "refuse_existing",
    "table_bytes",
    "table_format",
    "write_table",
]

__getattr__ = lazy.exports(
    __name__,
    {
        "Classifier": "classifier",
        "Explanation": "explanation",
        "Word": "explanation",
        "export_onnx": "exporting",
        "load": "classifier",
        "predict_table": "bulk",
        "refuse_existing": "bulk",
        "table_bytes": "bulk",
        "table_format": "bulk",
        "write_table": "bulk",
    },
)
