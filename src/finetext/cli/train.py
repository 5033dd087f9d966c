"""`finetext train`."""

from pathlib import Path
from typing import Annotated

from finetext.cli.app import given_options
from finetext.options import Flat, also, fields_with_values
from finetext.training.config import TrainConfig


def train(
    source: str | None = None,
    /,
    *,
    config: Path | None = None,
    resume: Path | None = None,
    output: Annotated[Path | None, also("--output-dir")] = None,
    options: Annotated[TrainConfig, Flat] = TrainConfig(),
) -> None:
    """Fine-tune a pretrained model on labelled text, and evaluate it beside simple baselines.

    Args:
        source: A CSV, TSV, JSON Lines or Parquet file (also gzipped), a folder with train, validation and
            test files, `hf:owner/name`, or a built-in name: `sample` (synthetic) or `sms-spam`.
        config: TOML file with the tables [data], [model], [train] and [decision]; flags go before it.
        resume: Go on with the interrupted run in this folder.
        output: Run folder to create; by default runs/SOURCE-MODEL-N.
        options: Every other option.
    """
    from finetext import training
    from finetext.cli.progress import ConsoleProgress, print_run
    from finetext.engine import prepare_cpu
    from finetext.errors import UsageError

    given = {name: value for name, value in fields_with_values(options) if name in given_options()}
    if source is not None:
        given["source"] = source
    prepare_cpu()
    with ConsoleProgress() as progress:
        if resume is not None:
            if config is not None or output is not None:
                raise UsageError(
                    "--resume goes on with a run as it was started: leave out --config and --output."
                )
            run = training.resume(resume, progress=progress, **given)
        else:
            start = training.TrainConfig() if config is None else training.read_config(config)
            run = training.train(config=start, output=output, progress=progress, **given)
    print_run(run)
