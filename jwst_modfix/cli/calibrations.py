"""``modfix rebase`` and the exports of ``modfix convert``: tables and the user's CRDS reference files."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jwst_modfix.table.describe import describe_band, describe_validity, describe_value, wrap
from jwst_modfix.table.file import refuse_overwriting
from jwst_modfix.table.table import OffsetRow, OffsetTable, ZeroPointRow
from jwst_modfix.text import align

if TYPE_CHECKING:
    from jwst_modfix.table.rebase import Change


class ManyFiles(click.Command):
    """A command whose options of several files take all words up to the next option, as the shell expands them."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Repeat the option before each of its words."""
        many = {name for option in self.params if isinstance(option, click.Option) and option.multiple
                for name in option.opts}  # fmt: skip
        words: list[str] = []
        current = None
        for word in args:
            if word.startswith("-"):
                current = word if word in many else None
                words += [] if current else [word]
            else:
                words += [current, word] if current else [word]
        return super().parse_args(ctx, words)


def list_files(names: Sequence[str]) -> list[Path]:
    """List files, and the FITS files of folders."""
    found: list[Path] = []
    for name in names:
        path = Path(name).expanduser()
        found += sorted(path.glob("*.fits")) if path.is_dir() else [path]
    return found


_REBASE_EXAMPLES = """\b
Examples:
  modfix rebase my_moduleoffset.asdf --from-photom old/*photom*.fits --to-photom new/*photom*.fits -o new.asdf
  modfix rebase my_moduleoffset.asdf --from-photom old/*photom*.fits --to-photom new/*photom*.fits
      --from-flat old/*flat*.fits --to-flat new/*flat*.fits --date 2026-03-01 -o new.asdf
  modfix rebase packaged --photmjsr photmjsr.csv -o new.asdf
"""
_FILES: dict[str, Any] = {"multiple": True, "metavar": "FITS..."}


@click.command("rebase", cls=ManyFiles, epilog=_REBASE_EXAMPLES)
@click.argument("table")
@click.option(
    "--from-photom", **_FILES, help="Photom files that TABLE was derived on, one of each detector, or a folder."
)
@click.option("--to-photom", **_FILES, help="Photom files of the new calibration.")
@click.option("--from-flat", **_FILES, help="Flats of the old calibration, if they changed.")
@click.option("--to-flat", **_FILES, help="Flats of the new calibration.")
@click.option("--from-area", **_FILES, help="Pixel area files of the old calibration, if they changed.")
@click.option("--to-area", **_FILES, help="Pixel area files of the new calibration.")
@click.option("--photmjsr", metavar="CSV", help="In place of files: columns detector, filter, pupil, from, to.")
@click.option("--date", metavar="DATE", help="Date at which PHOTMJSR that depends on time is compared, as 2026-03-01.")
@click.option("--context", metavar="PMAP", help="CRDS context of the new calibration, which files do not name.")
@click.option("--drop-missing", is_flag=True, help="Leave out rows that the files or the CSV file have no values for.")
@click.option("-o", "--output", metavar="NEW", required=True, help="The table to write; never overwritten.")
def rebase_command(table: str, output: str, photmjsr: str | None, date: str | None, context: str | None,
                   drop_missing: bool, **files: tuple[str, ...]) -> None:  # numpydoc ignore=PR01  # fmt: skip
    """Carry a table from one calibration to another.

    What a detector's flux changes by is PHOTMJSR x PIXAR_SR / flat of the new calibration over that of the old. Give
    your own files of CRDS, one of each detector that the table is for. Errors are kept. Nothing is changed where a file
    does not fit the table.
    """
    from jwst_modfix.table.rebase import read_calibration, read_values, rebase_table

    if bool(photmjsr) == any(files.values()):
        raise click.UsageError("give either --from-photom and --to-photom, or --photmjsr")
    refuse_overwriting(output)
    old, new = read_values(photmjsr) if photmjsr else (
        read_calibration(side, *(list_files(files[f"{side}_{kind}"]) for kind in ("photom", "flat", "area")))
        for side in ("from", "to")
    )  # fmt: skip
    options = {"date": date, "context": context, "drop_missing": drop_missing, "name": Path(output).name}
    done = rebase_table(OffsetTable.read(table), old, new, **options)
    done.table.write(output)
    click.echo("\n".join(_describe_changes(done.changes)))
    for line in done.notes:
        click.echo("\n".join(wrap(line, "note: ")))
    click.echo(f"wrote {output} (hash {done.table.digest}), valid for {describe_validity(done.table.valid_for)}")


def _describe_changes(changes: Sequence["Change"]) -> Iterator[str]:
    rows = [["row", "filter", "before [mmag]", "after [mmag]", "change", ""]]
    for change in changes:
        before, after = (_value(row) for row in (change.before, change.after))
        row = change.after
        name = row.array if isinstance(row, OffsetRow) else row.detector
        cells = [name + (f" {row.subarray}" if row.subarray else ""), describe_band(row.filter, row.pupil)]
        cells += [before[1], after[1], f"{1e3 * (after[0] - before[0]):+.2f}"]
        left = [] if change.remainder is None else [f"flat leaves {1e3 * change.remainder:.2f} rms"]
        left += [] if change.is_needed else ["within its error of 0: no longer needed"]
        rows.append([*cells, ", ".join(left)])
    yield from align(rows)


def _value(row: OffsetRow | ZeroPointRow) -> tuple[float, str]:
    value, error = (
        (row.offset, row.offset_error) if isinstance(row, OffsetRow) else (row.zero_point, row.zero_point_error)
    )
    return value, describe_value(value, error) if error is not None else f"{1e3 * value:+7.2f}"


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
