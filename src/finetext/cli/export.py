"""`finetext export`."""

from pathlib import Path
from typing import Annotated, Any, Literal

from finetext.data.config import DataConfig
from finetext.options import Parameter, section


def export(
    model: Path,
    /,
    *,
    output: Annotated[Path, Parameter(name=("--output", "-o"))],
    format: Literal["onnx"] = "onnx",
    int8: bool = False,
    data: str | None = None,
    reading: Annotated[DataConfig, section("Data")] = DataConfig(),
) -> None:
    """Write a trained classifier as an ONNX model, checked against the original; also in int8.

    `finetext predict` and `finetext.load` run the folder by ONNX Runtime.

    Args:
        model: A run folder, a saved model, or any Hugging Face folder with a sequence classifier.
        output: Folder to create.
        format: The format.
        int8: Quantise the matrices to int8. The export is refused where fewer than 99.5% of the validation texts get
            the original's label, or more than 0.3 points of accuracy are lost.
        data: Labelled texts to check the export on, as for `finetext train`; by default the run's own splits.
        reading: How these are read.
    """
    from finetext.cli.console import data as console
    from finetext.cli.console import prose
    from finetext.engine import prepare_cpu
    from finetext.inference import export_onnx

    prose().print("exporting, and comparing with the original …", markup=False)
    prepare_cpu()
    report = export_onnx(model, output, data, reading, int8=int8)
    for line in _lines(report, output):
        console().print(line, markup=False, soft_wrap=True)
    prose().print(f'try it     finetext predict {output} "a text"', markup=False)


def _lines(report: dict[str, Any], output: Path) -> list[str]:
    check, low = report["check"], report.get("int8")
    size = report["bytes"] if low is None else low["bytes"]
    names = {"pytorch": "PyTorch", "onnx": "ONNX", "int8": "int8"}
    speeds = (f"{names[name]} {own:,.0f}" for name, own in report["texts_per_second"].items())
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
