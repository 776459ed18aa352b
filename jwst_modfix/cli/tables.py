"""``modfix show``, ``init``, ``set``, ``diff``, ``merge`` and ``convert``: tables as files."""

import os
import re
import shlex
from importlib import resources
from pathlib import Path

import click

from jwst_modfix.errors import ModuleOffsetError
from jwst_modfix.files import find_existing, written_whole
from jwst_modfix.table.combine import compare_tables, merge_tables
from jwst_modfix.table.describe import describe_band, describe_table, describe_validity, describe_value, wrap
from jwst_modfix.table.edit import edit_row
from jwst_modfix.table.file import ENVIRONMENT_VARIABLE, PACKAGED_TABLE, locate_table
from jwst_modfix.table.table import ARRAYS, BASELINES, OffsetTable
from jwst_modfix.text import align

_SHOW_EXAMPLES = """\b
Examples:
  modfix show                          the table that the correction uses by default
  modfix show my_moduleoffset.asdf
  modfix show *_modfix.fits            what was done to exposures
  modfix show corrected                what was done to those in a folder and below
"""
_EXPOSURE = re.compile(r"\.fits(\.\w+)?$|_(cal|jhat|tweakreg|match|crf|(un)?modfix)\.asdf$", re.IGNORECASE)


@click.command("show", epilog=_SHOW_EXAMPLES)
@click.argument("paths", metavar="[TABLE|FITS|DIR]...", nargs=-1)
def show_command(paths):  # numpydoc ignore=PR01
    """Print a table, or what was done to exposures.

    Of a table: offsets, slopes and their errors, the calibration that it is valid for, and how it was made.
    Of a FITS file: which table was applied to it, when, and what it took out.
    """
    problems, named = [], []
    for path in paths or [os.environ.get(ENVIRONMENT_VARIABLE) or "packaged"]:
        named += _list_folder(path) if os.path.isdir(path) else [path]  # noqa: PTH112 - any text
    for number, path in enumerate(named):
        try:
            lines = _describe(path)
        except ModuleOffsetError as error:
            problems.append(str(error))
        else:
            click.echo("\n" * (number > 0) + "\n".join(lines))
    if problems:
        raise ModuleOffsetError("; ".join(problems))


def _list_folder(path):
    from jwst_modfix.steps.inputs import list_exposures  # imports jwst

    return map(str, list_exposures(Path(path)))


def _describe(path):
    if not _EXPOSURE.search(path):
        return describe_table(OffsetTable.read(path), str(locate_table(path)))
    from jwst_modfix.apply.record import describe_applied

    return describe_applied(Path(path))


_INIT_EXAMPLES = """\b
Examples:
  modfix init                      in this folder
  modfix init offsets              in the folder offsets, which is made
"""
_TABLE_NAME = "my_moduleoffset.asdf"
_UNSET = f'# override_moduleoffset = "{_TABLE_NAME}"'
_PURPOSE = {
    "modfix.cfg": "parameters of the correction; with the table below",
    "modfix_derive.cfg": "parameters of the derivation of a table of your own",
    "calwebb_image3_modfix.cfg": "parameters of calwebb_image3 with the correction in it",
    _TABLE_NAME: "a copy of the packaged table, to edit as text or by 'modfix set'",
}


@click.command("init", epilog=_INIT_EXAMPLES)
@click.argument("folder", metavar="[DIR]", default=".")
def init_command(folder):  # numpydoc ignore=PR01
    """Put parameter files and a table of your own in a folder.

    Then 'strun modfix.cfg name_asn.json' corrects the members of an association with that table. Nothing is
    overwritten.
    """
    folder = Path(folder).expanduser()
    contents = {name: _read_packaged(name, folder) for name in _PURPOSE}
    if existing := find_existing(folder / name for name in contents):
        raise ModuleOffsetError(f"{', '.join(existing)}: exists already and is not overwritten; nothing was written")
    for name, content in contents.items():
        with written_whole(folder / name) as partial:
            partial.write_text(content, encoding="utf-8", newline="\n")
        click.echo("\n".join([f"wrote {folder / name}", *wrap(_PURPOSE[name], "      ")]))
    config, table = (shlex.quote(str(folder / name)) for name in ("modfix.cfg", _TABLE_NAME))
    click.echo(f"\nWhat it would do:  modfix check {table} name_asn.json")
    click.echo(f"To do it:          strun {config} name_asn.json")


def _read_packaged(name, folder):
    """Read a file of the package; a parameter file names the table by its absolute path, to work from anywhere."""
    if name == _TABLE_NAME:
        return PACKAGED_TABLE.read_text(encoding="utf-8")
    table = str((folder / _TABLE_NAME).absolute())
    if any(character in table for character in "\"'\n$%"):
        raise ModuleOffsetError(f"{table}: a path with quotes, $ or % cannot be used in a parameter file")
    text = (resources.files("jwst_modfix") / "config" / name).read_text(encoding="utf-8")
    return text.replace(_UNSET, f'override_moduleoffset = "{table}"')


_SET_EXAMPLES = """\b
Examples:
  modfix set my_moduleoffset.asdf --array long --filter F444W --offset -0.0165
  modfix set my_moduleoffset.asdf --array long --filter F444W --slope 0.004 --slope-error 0.001
  modfix set my_moduleoffset.asdf --array long --filter F444W --pupil F405N --offset 0.01 --offset-error 0.002
  modfix set packaged --array 1 --filter F150W --offset 0.013 -o my_moduleoffset.asdf
"""


@click.command("set", epilog=_SET_EXAMPLES)
@click.argument("table")
@click.option("--array", type=click.Choice(ARRAYS), required=True, help="Array ID of the row.")
@click.option("--filter", required=True, help="As in the FILTER keyword.")
@click.option("--pupil", default="CLEAR", show_default=True, help="As in the PUPIL keyword.")
@click.option("--offset", type=float, help="z_A - z_B [mag]; positive where A measures fainter than B.")
@click.option("--offset-error", type=float, help="[mag]")
@click.option("--slope", type=float, help="k of Ma et al. (2023), Eq. 9 [mag/arcmin].")
@click.option("--slope-error", type=float, help="[mag/arcmin]")
@click.option("--direction", type=float, help="This row's own direction of the gradient [deg].")
@click.option("-o", "--output", metavar="OUT", help="Write here, and leave TABLE unchanged.")
def set_command(table, array, filter, pupil, output, **values):  # numpydoc ignore=PR01
    """Change a row of a table, or add one.

    The rest of the file is kept, comments included, and a line is added to its history. A new row needs --offset
    and --offset-error. A value that breaks a rule is refused, as is a filter that the array does not have, and the
    file is left unchanged.
    """
    changes = {name: value for name, value in values.items() if value is not None}
    if not changes:
        raise click.UsageError("give at least one of --offset, --offset-error, --slope, --slope-error, --direction")
    key = {"array": array, "filter": filter.upper(), "pupil": pupil.upper()}
    line, changed = edit_row(table, key, changes, output)
    click.echo(f"{line}\nwrote {output or table} (hash {changed.digest})")


_DIFF_EXAMPLES = """\b
Examples:
  modfix diff packaged field_moduleoffset.asdf        the published table and one of your own
  modfix diff old_moduleoffset.asdf new_moduleoffset.asdf
"""


@click.command("diff", epilog=_DIFF_EXAMPLES)
@click.argument("first", metavar="T1")
@click.argument("second", metavar="T2")
def diff_command(first, second):  # numpydoc ignore=PR01
    """Compare two tables, row by row.

    Differences are T2 - T1, in mmag (offsets), mmag/arcmin (slopes) and in sigmas. Baselines and conventions of the
    gradient are converted, or refused where they cannot be.
    """
    one, other = OffsetTable.read(first), OffsetTable.read(second)
    comparison = compare_tables(one, other)
    click.echo(f"T1  {one.name} (hash {one.digest})\nT2  {other.name} (hash {other.digest})")
    sloped = [pair for pair in comparison.pairs if (pair.first.slope, pair.second.slope) != (None, None)]
    for name, unit, pairs in (("offset", "mmag", comparison.pairs), ("slope", "mmag/arcmin", sloped)):
        if pairs:
            header = ["array", "filter", "T1", "T2", "T2 - T1", "sigmas"]
            click.echo("\n".join([f"\n{name} [{unit}]", *align([header, *(_line(pair, name) for pair in pairs)])]))
    for name, rows in (("T1", comparison.only_first), ("T2", comparison.only_second)):
        if rows:
            cells = [
                ["", row.array, describe_band(row.filter, row.pupil), describe_value(row.offset, row.offset_error)]
                for row in rows
            ]
            click.echo("\n".join([f"\nonly in {name}, offset [mmag]", *align(cells)]))
    click.echo("\n" + "\n".join(line for note in comparison.notes for line in wrap(note, "note: ")))


def _line(pair, name):
    """Cells of one row in both tables, with the difference where both have the value."""
    row, difference = pair.first, getattr(pair, name)
    values = [(getattr(item, name), getattr(item, f"{name}_error")) for item in (row, pair.second)]
    cells = [row.array, describe_band(row.filter, row.pupil), *(describe_value(*v) or "   none" for v in values)]
    if difference is not None:
        cells += [describe_value(difference.value, difference.error), f"{difference.sigmas:+6.1f}"]
    return cells


_MERGE_EXAMPLES = """\b
Examples:
  modfix merge f200w_moduleoffset.asdf f444w_moduleoffset.asdf -o field_moduleoffset.asdf
  modfix merge packaged f444w_moduleoffset.asdf -o new.asdf --prefer last     the second table's row, if in both
"""


@click.command("merge", epilog=_MERGE_EXAMPLES)
@click.argument("tables", metavar="T1 T2...", nargs=-1, required=True)
@click.option("-o", "--output", metavar="OUT", required=True, help="The table to write; never overwritten.")
@click.option("--prefer", type=click.Choice(["first", "last"]),
              help="Which row to take where two tables have one.  [default: refuse]")  # fmt: skip
@click.option("--baseline", type=click.Choice(BASELINES),
              help="Module whose flux scale is kept; needed where the tables differ.")  # fmt: skip
@click.option("--valid-for", "validity", type=click.Choice(["intersection", "union"]), default="intersection",
              show_default=True, help="Calibrations that all tables allow, or that any does.")  # fmt: skip
def merge_command(tables, output, prefer, baseline, validity):  # numpydoc ignore=PR01
    """Join the rows of several tables.

    Tables that contradict each other (in rows, baseline, gradient or validity) are refused, with the reason.
    """
    if len(tables) < 2:
        raise click.UsageError("give at least two tables")
    options = {"prefer": prefer, "baseline": baseline, "validity": validity}
    merged = merge_tables([OffsetTable.read(name) for name in tables], **options, name=output)
    merged.write(output)
    click.echo(f"wrote {output}: {len(merged.rows)} rows, hash {merged.digest}; {describe_validity(merged.valid_for)}")
    if validity == "union":
        click.echo("note: every row is now valid for the calibrations of all tables: check that this is meant")


_CONVERT_EXAMPLES = """\b
Examples:
  modfix convert packaged table2.ecsv                     ASDF to ECSV
  modfix convert table2.ecsv table2_moduleoffset.asdf     and back
  modfix convert idf_zpcor_1130_pmap.ecsv recipe.asdf     the released recipe's table
  modfix convert packaged photom_nrca1.fits --photom jwst_nircam_photom_0155.fits
  strun calwebb_image2 name_rate.fits --steps.photom.override_photom=photom_nrca1.fits
"""


@click.command("convert", epilog=_CONVERT_EXAMPLES)
@click.argument("source", metavar="IN")
@click.argument("output", metavar="OUT")
@click.option("--photom", metavar="FITS", help="A photom reference file of one detector: write it with the offsets in.")
@click.option("--drop-slope", is_flag=True, help="With --photom: leave slopes out, which such a file cannot carry.")
@click.option("--context", metavar="PMAP", help="The recipe's table: CRDS context, if its name has none.")
@click.option("--recipe-gradient", is_flag=True, help="The recipe's table: the gradient as the recipe applies it.")
def convert_command(source, output, photom, drop_slope, context, recipe_gradient):  # numpydoc ignore=PR01
    """Write a table in another format.

    ASDF and ECSV are converted without loss, except for comments. With --photom, OUT is a photom reference file for
    the stock photom step (--steps.photom.override_photom): no plugin is needed, and the correction must not be
    applied again. There is one photom file for each detector.
    """
    from jwst_modfix.cli.calibrations import write_photom
    from jwst_modfix.table import formats  # late, as it imports astropy

    kinds = (Path(source).suffix.lower(), Path(output).suffix.lower())
    if photom:
        write_photom(OffsetTable.read(source), photom, output, drop_slope=drop_slope)
    elif kinds == (".ecsv", ".asdf"):
        if formats.is_recipe(source):
            formats.read_recipe(source, context, as_recipe=recipe_gradient).write(output)
        else:
            formats.read_ecsv(source).write(output)
    elif kinds[1] == ".ecsv" and kinds[0] != ".ecsv":
        formats.write_ecsv(OffsetTable.read(source), output)
    else:
        raise click.UsageError("IN and OUT must be an ASDF and an ECSV file, in either order, unless --photom is given")
    click.echo(f"wrote {output}")
