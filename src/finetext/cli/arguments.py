"""Arguments that several commands share, each with its help text."""

import re
from pathlib import Path
from typing import Annotated, Any

from finetext.cli.app import typed_options
from finetext.data import DataConfig
from finetext.errors import UsageError
from finetext.options import Parameter, also, fields_with_values, section
from finetext.training import TrainConfig

_OPTION = re.compile(r"--?[A-Za-z][\w-]*(=.*)?", re.DOTALL)

SOURCE = Parameter(
    help="A CSV, TSV, JSON Lines or Parquet file (also gzipped), a folder with train, validation and test files, "
    "`hf:owner/name`, or a built-in name: `sample` (synthetic) or `sms-spam`."
)
Source = Annotated[str, SOURCE]
Data = Annotated[DataConfig, section("Data")]
ClassifierPath = Annotated[
    Path,
    Parameter(help="A run folder, a saved model, or any Hugging Face folder with a sequence classifier."),
]
BACKBONE = "An alias (`finetext models` lists them), a model folder, or a Hugging Face Hub id."
Seed = Annotated[int, Parameter(help="Random seed, also of the splits.")]
TextArgument = Annotated[str, Parameter(allow_leading_hyphen=True)]
AllowPickle = Annotated[bool, Parameter(negative=(), help="Accept a model folder without safetensors.")]
Config = Annotated[
    Path | None,
    Parameter(help="TOML file with the tables [data], [model], [train] and [decision]; flags override it."),
]
OutputFolder = Annotated[Path | None, also("--output-dir")]


def training_options(config: TrainConfig, source: str | None) -> dict[str, Any]:
    """Return the options of a training that the user typed, as opposed to those left at their default."""
    options = {name: value for name, value in fields_with_values(config) if name in typed_options()}
    return options if source is None else {**options, "source": source}


def refuse_with_resume(kind: str, *others: object) -> None:
    """Raise UsageError if options are given that a resumed run or experiment cannot take."""
    if any(value is not None for value in others):
        raise UsageError(
            f"--resume continues a {kind} as it was started: leave out --config, --output and other data."
        )


def refuse_options(*texts: str) -> None:
    """Refuse texts that were meant as options; any other text may begin with a dash.

    Raises:
        UsageError: A text looks like an option, which the command does not have.
    """
    for text in texts:
        if _OPTION.fullmatch(text):
            raise UsageError(
                f"Unknown option: {text}. If it is a text, pass it on stdin. See `finetext --help`."
            )
