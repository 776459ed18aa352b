"""``modfix check``: is a table valid, and what would the correction do with exposures."""

from collections import Counter

import click

from jwst_modfix.cli.tables import open_table
from jwst_modfix.errors import ExposureError
from jwst_modfix.table.describe import describe_validity
from jwst_modfix.text import align

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
    """Tell what the correction would do with exposures.

    TABLE is a file, or the word 'packaged'. Each exposure, or member of an association, is judged by its headers,
    as the step judges it, and without loading pixels: applied, skipped (passed on unchanged) or refused (the step
    would end with an error). The exit status is 1 where the table is not valid or one exposure is refused.
    """
    if no_offset and no_slope:
        raise click.UsageError("--no-offset and --no-slope together leave nothing to apply")
    file = open_table(table)
    validity = describe_validity(file.table.valid_for)
    click.echo(f"{file.table.name} is valid: {len(file.table.rows)} rows, hash {file.table.digest}; for {validity}")
    if inputs:
        options = {"on_invalid": on_invalid, "on_missing": on_missing}
        _check(inputs, file.table, apply_offset=not no_offset, apply_slope=not no_slope, **options)


def _check(inputs, table, **options):
    from jwst_modfix.apply.decide import Correction  # imports jwst
    from jwst_modfix.steps.dry_run import preview

    previews = preview(inputs, Correction(table=table, **options))
    rows = [["action", "exposure", "detector", "filter", "pupil", "what would be taken out, or why nothing is"]]
    rows += [_cells(item) for item in previews]
    click.echo("\n" + "\n".join(align(rows)))
    counts = Counter(item.decision.action for item in previews)
    click.echo(
        f"\n{len(previews)} exposures: {counts['apply']} apply, {counts['skip']} skip, {counts['refuse']} refuse"
    )
    if counts["refuse"]:
        raise ExposureError(
            f"the step would refuse {counts['refuse']} of {len(previews)}, and then writes none: see the list above"
        )


def _cells(item):
    exposure, decision = item.exposure, item.decision
    optics = [str(getattr(exposure, name, None) or "-") for name in ("detector", "filter", "pupil")]
    return [decision.action, item.path.name, *optics, decision.reason]
