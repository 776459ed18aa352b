"""The group of subcommands, each imported when it is called, so that ``modfix --help`` is quick."""

import importlib
import importlib.metadata

import click

from jwst_modfix.errors import ModuleOffsetError

__all__ = ["main"]

_COMMANDS = {
    "show": "Print a table, or what was done to exposures.",
    "check": "Tell what the correction would do with exposures.",
    "set": "Change a row of a table, or add one.",
    "diff": "Compare two tables, row by row.",
    "merge": "Join the rows of several tables.",
    "convert": "ECSV to table and back; photom files with the offsets in.",
    "init": "Put parameter files and a table of your own in a folder.",
    "group": "Make an association of exposures of several epochs.",
    "simulate": "Make exposures with a known error of the calibration.",
    "plan": "Forecast the errors of a table derived from exposures.",
}

_EXAMPLES = """\b
Examples:
  modfix show                             the table that comes with the package
  modfix check packaged name_asn.json     what it would do with your exposures
  modfix init                             a table and parameter files to edit
  modfix set my_moduleoffset.asdf --array long --filter F444W --offset -0.0165

'modfix COMMAND --help' has examples of each command.
"""


class _LazyGroup(click.Group):
    """Commands by name; an error that we raise on purpose is one line, and no traceback."""

    def list_commands(self, _ctx):
        return list(_COMMANDS)

    def get_command(self, _ctx, name):
        return importlib.import_module(f"jwst_modfix.cli.{name}").command if name in _COMMANDS else None

    def format_commands(self, _ctx, formatter):
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))

    def invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # click ends quietly where the reader of a pipe has gone
        except (ModuleOffsetError, OSError) as error:
            raise click.ClickException(" ".join(str(error).split())) from error


@click.group(cls=_LazyGroup, epilog=_EXAMPLES, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="jwst-modfix", prog_name="modfix")
def main():
    """Look at, edit and plan the flux offsets between NIRCam's modules A and B.

    The correction itself runs by 'strun': see 'modfix init'. Exit status: 0 done, 1 refused, 2 wrong usage.
    """
