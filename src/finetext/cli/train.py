"""`finetext train`."""

from pathlib import Path
from typing import Annotated

from finetext import training
from finetext.cli.arguments import SOURCE, Config, OutputFolder, refuse_with_resume, training_options
from finetext.cli.progress import ConsoleProgress, print_run
from finetext.options import Flat
from finetext.training import TrainConfig


def train(
    source: Annotated[str | None, SOURCE] = None,
    /,
    *,
    config: Config = None,
    resume: Path | None = None,
    output: OutputFolder = None,
    options: Annotated[TrainConfig, Flat] = TrainConfig(),
) -> None:
    """Fine-tune a pretrained model on labelled text, and evaluate it beside simple baselines.

    Args:
        resume: Resume the interrupted run in this folder.
        output: Run folder to create; by default runs/SOURCE-MODEL-N.
    """
    typed = training_options(options, source)
    with ConsoleProgress() as progress:
        if resume is not None:
            refuse_with_resume("run", config, output)
            run = training.resume(resume, progress=progress, **typed)
        else:
            start = TrainConfig() if config is None else training.read_config(config)
            run = training.train(config=start, output=output, progress=progress, **typed)
    print_run(run)
