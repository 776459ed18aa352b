"""``modfix convert``: a table in another format."""

from pathlib import Path

import click

from jwst_modfix.table.describe import wrap
from jwst_modfix.table.table import OffsetTable
from jwst_modfix.text import align

__all__ = ["command"]

_EXAMPLES = """\b
Examples:
  modfix convert packaged table2.ecsv                     ASDF to ECSV
  modfix convert table2.ecsv table2_moduleoffset.asdf     and back
  modfix convert idf_zpcor_1130_pmap.ecsv recipe.asdf     the released recipe's table
  modfix convert packaged photom_nrca1.fits --photom jwst_nircam_photom_0155.fits
  strun calwebb_image2 name_rate.fits --steps.photom.override_photom=photom_nrca1.fits
"""


@click.command("convert", epilog=_EXAMPLES)
@click.argument("source", metavar="IN")
@click.argument("output", metavar="OUT")
@click.option("--photom", metavar="FITS", help="A photom reference file of one detector: write it with the offsets in.")
@click.option("--drop-slope", is_flag=True, help="With --photom: leave slopes out, which such a file cannot carry.")
@click.option("--context", metavar="PMAP", help="The recipe's table: CRDS context, if its name has none.")
@click.option("--recipe-gradient", is_flag=True, help="The recipe's table: the gradient as the recipe applies it.")
def command(source, output, photom, drop_slope, context, recipe_gradient):  # numpydoc ignore=PR01
    """Write a table in another format.

    ASDF and ECSV are converted without loss, except for comments. With --photom, OUT is a photom reference file for
    the stock photom step (--steps.photom.override_photom): no plugin is needed, and the correction must not be
    applied again. There is one photom file for each detector.
    """
    from jwst_modfix.table import formats  # late, as it imports astropy

    kinds = (Path(source).suffix.lower(), Path(output).suffix.lower())
    if photom:
        table = OffsetTable.read(source)
        _print_export(table, formats.export_photom(table, photom, output, drop_slope=drop_slope))
    elif kinds == (".ecsv", ".asdf"):
        is_recipe = formats.is_recipe(source)
        read = (
            formats.read_recipe(source, context, as_recipe=recipe_gradient) if is_recipe else formats.read_ecsv(source)
        )
        read.write(output)
    elif kinds[1] == ".ecsv" and kinds[0] != ".ecsv":
        formats.write_ecsv(OffsetTable.read(source), output)
    else:
        raise click.UsageError("IN and OUT must be an ASDF and an ECSV file, in either order, unless --photom is given")
    click.echo(f"wrote {output}")


def _print_export(table, export):
    rows = [
        [row.filter, row.pupil, f"z {1e3 * z:+.2f} mmag", f"PHOTMJSR times {10 ** (0.4 * z):.6f}"]
        for row, z in export.changed
    ]
    click.echo("\n".join(align(rows)))
    for row in export.dropped:
        click.echo(f"warning: {row.label}: its slope, {1e3 * row.slope:+.2f} mmag/arcmin, is left out", err=True)
    if not table.valid_for.photom:
        note = f"{table.name} names no photom file; check that this one is of the calibration it is valid for"
        click.echo("\n".join(wrap(note, "note: ")))
