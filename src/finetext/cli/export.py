"""`finetext export`."""

from pathlib import Path
from typing import Annotated, Any, Literal

from finetext import inference
from finetext.cli.arguments import ClassifierPath, Data
from finetext.cli.console import say, write
from finetext.data import DataConfig
from finetext.options import Parameter


def export(
    model: ClassifierPath,
    /,
    *,
    output: Annotated[Path, Parameter(name=("--output", "-o"))],
    format: Literal["onnx"] = "onnx",
    int8: bool = False,
    data: str | None = None,
    reading: Data = DataConfig(),
) -> None:
    """Export a trained classifier as an ONNX model and compare it with the original; optionally in int8.

    `finetext predict` and `finetext.load` run the folder with ONNX Runtime.

    Args:
        output: Folder to create.
        format: The format.
        int8: Quantise the matrices to int8. The export is refused if fewer than 99.5% of the validation texts keep
            the original's label, or more than 0.3 points of accuracy are lost.
        data: Labelled texts to compare on, as for `finetext train`; by default the run's own splits.
    """
    say("exporting, and comparing with the original …")
    report = inference.export_onnx(model, output, data, reading, int8=int8)
    write(*_lines(report, output))
    say(f'try it     finetext predict {output} "a text"')


def _lines(report: dict[str, Any], output: Path) -> list[str]:
    check, low = report["check"], report.get("int8")
    size = report["bytes"] if low is None else low["bytes"]
    names = {"pytorch": "PyTorch", "onnx": "ONNX", "int8": "int8"}
    speeds = (f"{names[name]} {speed:,.0f}" for name, speed in report["texts_per_second"].items())
    lines = [
        f"export     {output}: model.onnx, {size / 1e6:,.1f} MB",
        f"check      {check['texts']:,} texts: logits differ by at most {check['largest_difference']:.1e} "
        f"of {check['largest_logit']:.1f}",
    ]
    if low is not None:
        lines.append(
            f"int8       {low['share_of_matrices']:.1%} of the matrix parameters · {low['texts']:,} validation texts: "
            f"{low['agreement']:.2%} labelled as by the original, "
            f"accuracy {low['accuracy']:.4f}, the original {low['accuracy_of_original']:.4f}"
        )
    return [*lines, f"texts/s    {' · '.join(speeds)}"]
