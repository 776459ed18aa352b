"""The command line: ``modfix``, its subcommands, by what they work on."""

from jwst_modfix.cli.commands import main

__all__ = ["main"]
