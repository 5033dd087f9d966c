"""The application: its commands, and how errors become messages and exit codes."""

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from cyclopts import App, ArgumentCollection, CycloptsError

from finetext import __version__
from finetext.errors import FinetextError, first_line

COMMANDS = {
    "train": "Fine-tune a pretrained model on labelled text, and evaluate it beside simple baselines.",
    "inspect": "Check labelled text before training: counts, duplicates, conflicts, lengths, wrong labels.",
    "evaluate": "Evaluate a trained classifier on labelled texts.",
    "predict": "Label texts: those on the command line, those of a file, or those on stdin.",
    "explain": "Show which words of a text speak for its label and which against it.",
    "serve": "Serve trained classifiers over HTTP.",
    "baseline": "Evaluate baselines that need no fine-tuning: TF-IDF, frozen features, zero-shot prompting.",
    "probe": "Compare the depths of a model on a task, with a linear classifier on every layer.",
    "curve": "Plot a learning curve: performance against training-set size, beside a simple baseline.",
    "compare": "Compare finished runs, with paired differences on their common test texts.",
    "sweep": "Try many options, choose by validation, and evaluate the winner on the test split once.",
    "export": "Export a trained classifier as an ONNX model, compared with the original; optionally in int8.",
    "push": "Upload a model to the Hugging Face Hub, private by default; lists the files first.",
    "models": "List the models with a short name, or check one.",
    "cache": "List the cached activations of frozen layers, or remove them.",
}

SPINS = ("GOMP_SPINCOUNT", "3000")
"""How long the threads of GNU OpenMP, which torch uses, spin before they sleep: about 50 microseconds, enough on an
idle machine. By default they spin for milliseconds and so starve each other once other programs are busy: with two
trainings side by side on two cores a small step took 166 ms, and takes 8."""

HUGE_PAGES = ("THP_MEM_ALLOC_ENABLE", "1")
"""Lets torch ask for large pages for tensors of 2 MB and more: with them a tensor that is mapped anew for every step
costs a few page faults instead of thousands."""

_typed: set[str] = set()


def typed_options() -> frozenset[str]:
    """Return the names of the options that the user typed, as opposed to those left at their default."""
    return frozenset(_typed)


def _note_typed(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    _typed.clear()
    _typed.update(argument.field_info.name for argument in arguments if argument.tokens)


def build_app(command: str | None = None) -> App:
    """Return the application with its commands, each imported only when it is called.

    Args:
        command: The one that will be called; its help is its whole docstring, not the summary.
    """
    app = App(
        name="finetext",
        help="Fine-tune pretrained language models into text classifiers, fast and honestly evaluated.",
        version=__version__,
        config=_note_typed,
        help_format="markdown",
        result_action="return_value",
    )
    for name, summary in COMMANDS.items():
        app.command(f"finetext.cli.{name}:{name}", name=name, help=None if name == command else summary)
    return app


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0, 1 for a failure, 2 for usage and data.

    Args:
        arguments: The words after `finetext`; those of `sys.argv` by default.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault(*SPINS)  # torch, which is loaded later, reads it
    os.environ.setdefault(*HUGE_PAGES)
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    sys.exit(_run([word for word in words if word != "--debug"], debug))


def _run(words: Sequence[str], debug: bool) -> int:
    try:
        build_app(next(iter(words), None))(words, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        return _fail(f"{error} See `finetext --help`.".replace("\n", " "), 2)
    except FinetextError as error:
        if debug:
            raise
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _fail("interrupted.", 130)
    except BrokenPipeError:
        # The reader of our output is gone; without this, Python reports that once more as it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if debug:
            raise
        return _fail(
            f"unexpected {type(error).__name__}: {first_line(error)}. Repeat with --debug to see where.", 1
        )
    return 0


def _fail(message: str, exit_code: int) -> int:
    print(f"finetext: error: {message}", file=sys.stderr)  # noqa: T201
    return exit_code
