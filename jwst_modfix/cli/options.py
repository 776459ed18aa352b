"""Types of options, and options that several subcommands have."""

import inspect
import math
from collections.abc import Callable
from typing import Any

import click

from jwst_modfix.table.table import BASELINES, DETECTORS

FILES: dict[str, Any] = {"multiple": True, "metavar": "FITS..."}  # of an option of `ManyFiles`


class Command(click.Command):
    """A command whose docstring ends in examples, shown unchanged below the options."""

    def __init__(self, *args: Any, help: str = "", **more: Any) -> None:
        words, _, examples = inspect.cleandoc(help).partition("For example:\n")
        super().__init__(*args, **more, help=words, epilog=f"\b\nExamples:\n{examples}")


class ManyFiles(Command):
    """A command whose options take several files, as a shell expands a pattern."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Repeat the option before each of its words."""
        many = {name for option in self.params if getattr(option, "multiple", False) for name in option.opts}
        words: list[str] = []
        current = None
        for word in args:
            if word.startswith("-"):
                current = word if word in many else None
                words += [] if current else [word]
            else:
                words += [current, word] if current else [word]
        return super().parse_args(ctx, words)


class Finite(click.FloatRange):
    """A finite number in a range: NaN passes every comparison."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Refuse inf and nan."""
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{number} is not a finite number", param, ctx)
        return number


class Text(click.ParamType):
    """A value that a function reads; its ValueError says the rule."""

    name = "text"

    def __init__(self, read: Callable[[str], Any]) -> None:
        self.read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the value."""
        try:
            return self.read(value)
        except (ValueError, TypeError) as error:
            self.fail(f"{error}; got {value!r}", param, ctx)


def chosen(name: str, choices: str, words: str, **more: Any) -> Any:
    """Make an option of a few words, of which the first is the default."""
    listed = choices.split()
    return click.option(name, type=click.Choice(listed), help=words, **{"default": listed[0], **more})


def several(*options: Any) -> Callable[[Any], Any]:
    """Join options to one decorator."""

    def decorate(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


new_table = click.option("-o", "--output", metavar="OUT", required=True, help="The table to write; never overwritten.")
model_options = several(
    chosen("--fit-slope", "long all none", "Arrays with a slope; with --scale detectors, fields of order 1 or more."),
    chosen("--scale", "modules detectors", "What gets a zero point."),
    chosen("--exposure-terms", "auto fit zero", "Terms of exposures instead of those of epochs."),
    chosen("--baseline", " ".join([*BASELINES, *DETECTORS]), "Module or detector whose flux scale is kept."),
)
epoch_options = several(
    click.option("--gap-days", type=float, default=30.0, help="Longest time between exposures of one epoch [day]."),
    click.option("--roll-tolerance", type=float, default=5.0, help="Largest difference of rolls in an epoch [deg]."),
)
