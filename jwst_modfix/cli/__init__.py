"""The command line: ``modfix``, one module for each subcommand."""

from jwst_modfix.cli.commands import main

__all__ = ["main"]
