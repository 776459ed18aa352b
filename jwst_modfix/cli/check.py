"""``modfix check``: is a table valid, and what would the correction do with exposures."""

from collections import Counter

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
    from jwst_modfix.steps.dry_run import preview  # imports jwst

    previews = preview(inputs, Correction(table=table, **options))
    for item in previews:
        click.echo("\n" + "\n".join(_lines(item, table)))
    counts = Counter(item.decision.action for item in previews)
    click.echo(
        f"\n{len(previews)} exposures: {counts['apply']} apply, {counts['skip']} skip, {counts['refuse']} refuse"
    )
    if counts["refuse"]:
        raise ExposureError(
            f"the step would refuse {counts['refuse']} of {len(previews)}, and write none of them: see the list above"
        )


def _lines(item, table):
    """Describe one exposure: action, name and optics; what would be taken out, or why nothing is; warnings."""
    exposure, decision = item.exposure, item.decision
    optics = [str(getattr(exposure, name, None) or "-") for name in ("detector", "filter", "pupil")]
    yield f"{decision.action:6}  {item.path.name}  {'  '.join(optics)}"
    yield from wrap(decision.reason, " " * 8)
    if decision.action == "apply":
        row = table.row(exposure.array, exposure.filter, exposure.pupil)
        if warning := explain_photmjsr(row, exposure):
            yield from wrap(warning, "        warning: ", " " * 8)
