"""``modfix rebase`` and exports of ``modfix convert``, with CRDS reference files."""

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from jwst_modfix.cli.options import FILES, ManyFiles, new_table
from jwst_modfix.errors import OutputError, ReferenceTableError
from jwst_modfix.files import check_writable, explained, part_folder, refuse_existing
from jwst_modfix.table import calibration
from jwst_modfix.table.describe import describe_validity, describe_value
from jwst_modfix.table.rebase import KINDS, Change, read_calibration, read_values, rebase_table
from jwst_modfix.table.table import OffsetTable
from jwst_modfix.table.validity import EXPORTED
from jwst_modfix.text import align, describe_band, wrap


def list_files(names: Sequence[str], kind: str) -> list[Path]:
    """List files, and the reference files of a kind in folders."""
    found: list[Path] = []
    for path in (Path(name).expanduser() for name in names):
        mine = [path]
        if path.is_dir():
            mine = [file for file in sorted(path.glob("*.fits")) if calibration.is_of_kind(file, kind)]
        if not mine:
            raise ReferenceTableError(f"{path}: the folder has no {kind} file (*.fits with REFTYPE {kind.upper()})")
        found += mine
    return found


@click.command("rebase", cls=ManyFiles)
@click.argument("table")
@click.option("--from-photom", **FILES, help="Photom files of the derivation, one of each detector, or a folder.")
@click.option("--to-photom", **FILES, help="Photom files of the new calibration.")
@click.option("--from-flat", **FILES, help="Flats of the old calibration, if they changed.")
@click.option("--to-flat", **FILES, help="Flats of the new calibration.")
@click.option("--from-area", **FILES, help="Pixel area files of the old calibration, if they changed.")
@click.option("--to-area", **FILES, help="Pixel area files of the new calibration.")
@click.option("--photmjsr", metavar="CSV", help="In place of files: columns detector, filter, pupil, from, to.")
@click.option("--date", metavar="DATE", help="Date at which PHOTMJSR that depends on time is compared, as 2026-03-01.")
@click.option("--context", metavar="PMAP", help="CRDS context of the new calibration, which files do not name.")
@click.option("--drop-missing", is_flag=True, help="Leave out rows that the files or the CSV file have no values for.")
@new_table
def rebase_command(table: str, output: str, photmjsr: str | None, date: str | None, context: str | None,
                   drop_missing: bool, **files: tuple[str, ...]) -> None:  # numpydoc ignore=PR01  # fmt: skip
    """Carry a table from one calibration to another.

    The flux of a detector changes by PHOTMJSR x PIXAR_SR / flat, new over old. Give
    your own files of CRDS, one of each detector that the table is for. Errors are kept. Nothing is changed where a file
    does not fit the table.

    For example:
      modfix rebase my_moduleoffset.asdf --from-photom old/*photom*.fits --to-photom new/*photom*.fits -o new.asdf
      modfix rebase my_moduleoffset.asdf --from-photom old/*photom*.fits --to-photom new/*photom*.fits
          --from-flat old/*flat*.fits --to-flat new/*flat*.fits --date 2026-03-01 -o new.asdf
      modfix rebase packaged --photmjsr photmjsr.csv -o new.asdf
    """
    if bool(photmjsr) == any(files.values()):
        raise click.UsageError("give either --from-photom and --to-photom, or --photmjsr")
    refuse_existing([output], ReferenceTableError)
    old, new = read_values(photmjsr) if photmjsr else (
        read_calibration(side, **{kind: list_files(files[f"{side}_{kind}"], kind) for kind in KINDS})
        for side in ("from", "to")
    )  # fmt: skip
    done = rebase_table(OffsetTable.read(table), old, new, date=date, context=context, drop_missing=drop_missing,
                        name=Path(output).name)  # fmt: skip
    done.table.write(output)
    click.echo("\n".join(_describe_changes(done.changes)))
    for line in done.notes:
        click.echo("\n".join(wrap(line, "note: ")))
    click.echo(f"wrote {output} (hash {done.table.digest}), valid for {describe_validity(done.table.valid_for)}")


def _describe_changes(changes: Sequence[Change]) -> Iterator[str]:
    rows = [["row", "filter", "before [mmag]", "after [mmag]", "change", ""]]
    for change in changes:
        before, row = change.before, change.after
        cells = [row.key[0] + (f" {row.subarray}" if row.subarray else ""), describe_band(row.filter, row.pupil)]
        cells += [describe_value(side.value, side.error) for side in (before, row)]
        cells.append(f"{1e3 * (row.value - before.value):+z.2f}")
        left = [] if change.remainder is None else [f"flat leaves {1e3 * change.remainder:.2f} rms"]
        left += [] if change.is_needed else ["within its error of 0: no longer needed"]
        rows.append([*cells, ", ".join(left)])
    yield from align(rows)


# ---- exports of modfix convert ----


def export_files(kind: str, table: OffsetTable, files: Sequence[str], output: str, **options: Any) -> None:
    """Export a table into photom or flat files: none if one of them is refused."""
    paths = list_files(files, "flat" if kind == "flat" else "photom")
    single = len(paths) == 1 and output.lower().endswith(".fits")
    targets = [Path(output) if single else Path(output) / f"{path.stem}{EXPORTED}" for path in paths]
    if twice := [name for name, count in Counter(target.name for target in targets).items() if count > 1]:
        raise OutputError(f"{output}: {', '.join(twice)} would be written for several files; rename them")
    refuse_existing(targets, ReferenceTableError)
    export, problems, lines = getattr(calibration, f"export_{kind}"), [], []
    folder = targets[0].parent
    is_new = not folder.exists()
    check_writable(folder)
    try:
        with part_folder(folder) as hidden:
            for path, target in zip(paths, targets, strict=True):
                try:
                    lines += [*export(table, path, hidden / target.name, **options), f"wrote {target}"]
                except ReferenceTableError as error:
                    problems.append(str(error))
            if problems:
                raise ReferenceTableError(problems=problems)
            for target in targets:
                with explained(target):
                    (hidden / target.name).replace(target)
    finally:
        if is_new:
            with contextlib.suppress(OSError):  # it has files: ours, or those of another process
                folder.rmdir()
    for line in lines:
        click.echo(line, err=line.startswith("warning: "))
