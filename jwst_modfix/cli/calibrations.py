"""``modfix rebase`` and the exports of ``modfix convert``: tables and the user's CRDS reference files."""

import click

from jwst_modfix.table.describe import wrap
from jwst_modfix.table.table import OffsetTable, ZeroPointRow
from jwst_modfix.text import align


def write_photom(table: OffsetTable, photom: str, output: str, *, drop_slope: bool) -> None:
    """Export a table into a photom file, and print what was changed."""
    from jwst_modfix.table.calibration import export_photom  # late, as it imports astropy

    export = export_photom(table, photom, output, drop_slope=drop_slope)
    rows = []
    for line, z in export.changed:
        factor = f"PHOTMJSR times {10 ** (0.4 * z):.6f}"
        rows.append([line.filter, line.pupil, *filter(None, [line.subarray]), f"z {1e3 * z:+.2f} mmag", factor])
    click.echo("\n".join(align(rows)))
    for row in export.dropped:
        part = "field" if isinstance(row, ZeroPointRow) else f"slope, {1e3 * row.slope:+.2f} mmag/arcmin,"
        click.echo(f"warning: {row.label}: its {part} is left out", err=True)
    if not table.valid_for.photom:
        note = f"{table.name} names no photom file; check that this one is of the calibration it is valid for"
        click.echo("\n".join(wrap(note, "note: ")))
