"""``modfix check``: is a table valid, and what would the correction do with exposures."""

import os
from collections import Counter
from pathlib import Path

import click

from jwst_modfix.errors import ExposureError
from jwst_modfix.table.describe import describe_validity, wrap
from jwst_modfix.table.table import OffsetTable
from jwst_modfix.table.validity import explain_photmjsr

__all__ = ["command"]

_EXAMPLES = """\b
Examples:
  modfix check my_moduleoffset.asdf                     is the table valid?
  modfix check packaged name_asn.json                   the table that comes with the package
  modfix check my_moduleoffset.asdf *_cal.fits --on-invalid error
"""


@click.command("check", epilog=_EXAMPLES)
@click.argument("table")
@click.argument("inputs", metavar="[FITS|ASN]...", nargs=-1)
@click.option("--on-invalid", type=click.Choice(["skip", "warn", "error"]), default="skip", show_default=True,
              help="What the step does with exposures that the table is not meant for.")  # fmt: skip
@click.option("--on-missing", type=click.Choice(["skip", "error"]), default="skip", show_default=True,
              help="What the step does where the table has no row.")  # fmt: skip
@click.option("--no-offset", is_flag=True, help="As the step with apply_offset = False.")
@click.option("--no-slope", is_flag=True, help="As the step with apply_slope = False.")
def command(table, inputs, on_invalid, on_missing, no_offset, no_slope):  # numpydoc ignore=PR01
    """Show what the correction would do with exposures.

    TABLE is a file, or the word 'packaged'. Each exposure, or member of an association, is judged by its headers,
    as the step judges it, and without loading pixels: applied, skipped (passed on unchanged) or refused (the step
    would end with an error). The exit status is 1 where the table is not valid or one exposure is refused.
    """
    if no_offset and no_slope:
        raise click.UsageError("--no-offset and --no-slope together leave nothing to apply")
    table = OffsetTable.read(table)
    summary = f"{table.name} is valid: {len(table.rows)} rows, hash {table.digest}; "
    click.echo("\n".join(wrap(f"{summary}for {describe_validity(table.valid_for)}")))
    if inputs:
        options = {"on_invalid": on_invalid, "on_missing": on_missing}
        _check(inputs, table, apply_offset=not no_offset, apply_slope=not no_slope, **options)


def _check(inputs, table, **options):
    from jwst_modfix.apply.decide import Correction

    correction, counts = Correction(table=table, **options), Counter()
    for path in _find_exposures(inputs):
        decision, exposure = _preview(path, correction)
        counts[decision.action] += 1
        click.echo("\n" + "\n".join(_lines(path, decision, exposure, table)))
    total = counts.total()
    click.echo(f"\n{total} exposures: {counts['apply']} apply, {counts['skip']} skip, {counts['refuse']} refuse")
    if counts["refuse"]:
        raise ExposureError(
            f"the step would refuse {counts['refuse']} of {total}, and write none of them: see the list above"
        )


def _find_exposures(inputs):
    """List the exposures and the members of associations, each once."""
    from jwst_modfix.exposure import EXPOSURE_SUFFIXES
    from jwst_modfix.steps.associations import read_association  # imports jwst

    exposures = {}
    for name in inputs:
        if name.lower().endswith(EXPOSURE_SUFFIXES):
            exposures[Path(os.path.abspath(name))] = None  # noqa: PTH100 - keeps links
        else:
            association = read_association(name)
            exposures |= dict.fromkeys(association.science)
            association.warn_of_missing()
    return list(exposures)


def _preview(path, correction):
    """Decide as the step would; the description of the exposure is None where it cannot be read."""
    from jwst_modfix.apply.decide import Decision
    from jwst_modfix.exposure import open_exposure

    try:
        with open_exposure(path) as opened:
            return correction.preview(opened), opened.exposure
    except ExposureError as error:
        return Decision("refuse", str(error).removeprefix(f"{path}: ").removeprefix(f"{path.name}: ")), None


def _lines(path, decision, exposure, table):
    """Describe one exposure: action, name and optics; what would be taken out, or why nothing is; warnings."""
    optics = [str(getattr(exposure, name, None) or "-") for name in ("detector", "filter", "pupil")]
    yield f"{decision.action:6}  {path.name}  {'  '.join(optics)}"
    yield from wrap(decision.reason, " " * 8)
    if decision.action == "apply":
        row = table.row(exposure.array, exposure.filter, exposure.pupil)
        if warning := explain_photmjsr(row, exposure):
            yield from wrap(warning, "        warning: ", " " * 8)
