"""The command line: one module per command, which parses, calls one library function and prints."""

from finetext.cli.app import main

__all__ = ["main"]
