"""The subcommands; each is imported when called, to keep ``modfix --help`` quick."""

import importlib
import importlib.metadata

import click

from jwst_modfix.errors import ModuleOffsetError

_COMMANDS = {  # the module of each, and its line of help
    "show": ("tables", "Print a table, or what was done to exposures."),
    "check": ("exposures", "Show what the correction would do with exposures."),
    "set": ("tables", "Change a row of a table, or add one."),
    "diff": ("tables", "Compare two tables, row by row."),
    "merge": ("tables", "Join the rows of several tables."),
    "convert": ("tables", "Convert a table to or from ECSV, or write it into photom files."),
    "rebase": ("calibrations", "Carry a table from one calibration to another."),
    "init": ("tables", "Put parameter files and a table of your own in a folder."),
    "group": ("exposures", "Make an association of exposures of several epochs."),
    "simulate": ("simulate", "Make exposures with a known error of the calibration."),
    "plan": ("exposures", "Forecast the errors of a table derived from exposures."),
    "derive-from": ("derivations", "One table from the measurement files of several derivations."),
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
    """Commands by name; an error of ours is printed as one line, not as a traceback."""

    def list_commands(self, _ctx):
        return list(_COMMANDS)

    def get_command(self, _ctx, name):
        if name not in _COMMANDS:
            return None
        module = importlib.import_module(f"jwst_modfix.cli.{_COMMANDS[name][0]}")
        return getattr(module, f"{name.replace('-', '_')}_command")

    def format_commands(self, _ctx, formatter):
        with formatter.section("Commands"):
            formatter.write_dl([(name, words) for name, (_, words) in _COMMANDS.items()])

    def invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # click ends quietly where the reader of a pipe has gone
        except (ModuleOffsetError, OSError) as error:
            lines = error.lines if isinstance(error, ModuleOffsetError) else [str(error)]
            raise click.ClickException("\n  ".join(" ".join(line.split()) for line in lines)) from error


# The settings are those of the subcommands, too.
@click.group(cls=_LazyGroup, epilog=_EXAMPLES,
             context_settings={"help_option_names": ["-h", "--help"], "show_default": True})  # fmt: skip
@click.version_option(package_name="jwst-modfix", prog_name="modfix")
def main():
    """Look at, edit and plan the flux offsets between NIRCam's modules A and B.

    The correction itself runs by 'strun': see 'modfix init'. Exit status: 0 done, 1 refused, 2 wrong usage.
    """
