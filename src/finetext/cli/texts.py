"""Texts among the words of a command."""

import re

_OPTION = re.compile(r"--?[A-Za-z][\w-]*(=.*)?", re.DOTALL)


def refuse_unknown(*texts: str) -> None:
    """Refuse what was meant as an option; any other text may begin with a dash.

    Raises:
        UsageError: A text looks like an option, which the command does not have.
    """
    from finetext.errors import UsageError

    for text in texts:
        if _OPTION.fullmatch(text):
            raise UsageError(
                f"Unknown option: {text}. If it is a text, give it on stdin. See `finetext --help`."
            )
