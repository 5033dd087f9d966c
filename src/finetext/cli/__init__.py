"""The command line: a module a command, each parses, calls one library function, and prints."""

from finetext.cli.app import main

__all__ = ["main"]
