"""The command line: ``modfix``, one module a subcommand; the work stands in the other rooms."""

from jwst_modfix.cli.commands import main

__all__ = ["main"]
