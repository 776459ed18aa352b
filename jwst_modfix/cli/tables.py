"""``modfix show``, ``init``, ``set``, ``diff``, ``merge``, ``convert``: tables."""

import os
import re
import shlex
from importlib import resources
from pathlib import Path

import click

from jwst_modfix.cli.options import FILES, Command, ManyFiles, chosen, new_table
from jwst_modfix.errors import ModuleOffsetError
from jwst_modfix.files import refuse_existing, write_text
from jwst_modfix.table.combine import compare_tables, edit_row, merge_tables
from jwst_modfix.table.describe import describe_table, describe_validity, describe_value
from jwst_modfix.table.file import ENVIRONMENT_VARIABLE, PACKAGED_TABLE, expand
from jwst_modfix.table.table import ARRAYS, BASELINES, DETECTORS, OffsetTable
from jwst_modfix.text import align, count_nouns, describe_band, wrap

_EXPOSURE = re.compile(r"\.fits(\.\w+)?$|_(cal|jhat|tweakreg|match|crf|(un)?modfix)\.asdf$", re.IGNORECASE)


@click.command("show", cls=Command)
@click.argument("paths", metavar="[TABLE|FITS|DIR]...", nargs=-1)
def show_command(paths):  # numpydoc ignore=PR01
    """Print a table, or what was done to exposures.

    Of a table: offsets, slopes and their errors, the calibration that it is valid for, and how it was made.
    Of a FITS file: which table was applied to it, when, and what it took out.

    For example:
      modfix show                          the table that the correction uses by default
      modfix show my_moduleoffset.asdf
      modfix show *_modfix.fits            what was done to exposures
      modfix show corrected                what was done to those in a folder and below
    """
    problems, named = [], []
    for path in paths or [os.environ.get(ENVIRONMENT_VARIABLE) or "packaged"]:
        if os.path.isdir(path):  # noqa: PTH112 - any text
            from jwst_modfix.steps.runs import list_exposures  # imports jwst

            named += map(str, list_exposures(Path(path)))
        else:
            named.append(path)
    for number, path in enumerate(named):
        try:
            lines = _describe(path)
        except ModuleOffsetError as error:
            problems.append(str(error))
        else:
            click.echo("\n" * (number > 0) + "\n".join(lines))
    if problems:
        raise ModuleOffsetError(problems=problems)


def _describe(path):
    if not _EXPOSURE.search(path):
        return describe_table(OffsetTable.read(path), str(expand(path, is_table=True)))
    from jwst_modfix.apply.record import describe_applied

    return describe_applied(Path(path))


_TABLE_NAME = "my_moduleoffset.asdf"
_UNSET = re.compile(rf'# (override_moduleoffset\W+)"{_TABLE_NAME}"')  # in a .cfg or .asdf file
_PURPOSE = {
    ("modfix.cfg", "modfix.asdf"): "parameters of the correction; with the table below",
    ("modfix_derive.cfg", "modfix_derive.asdf"): "parameters of the derivation of a table of your own",
    ("calwebb_image3_modfix.cfg", "calwebb_image3_modfix.asdf"): "parameters of calwebb_image3 with the correction",
    (_TABLE_NAME,): "a copy of the packaged table, to edit as text or by 'modfix set'",
}


@click.command("init", cls=Command)
@click.argument("folder", metavar="[DIR]", default=".")
def init_command(folder):  # numpydoc ignore=PR01
    """Put parameter files and a table of your own in a folder.

    Then 'strun modfix.cfg name_asn.json' corrects the members of an association with that table. Nothing is
    overwritten. The .cfg and .asdf files have the same parameters; releases of the pipeline after 3.0 prefer .asdf.

    For example:
      modfix init                      in this folder
      modfix init offsets              in the folder offsets, which is made
    """
    folder = Path(folder).expanduser()
    table = str((folder / _TABLE_NAME).absolute())
    if any(character in table for character in "\"'\n$%"):
        raise ModuleOffsetError(f"{table}: a path with quotes, $ or % cannot be used in a parameter file")
    sources = {name: resources.files("jwst_modfix") / "config" / name for names in _PURPOSE for name in names}
    sources[_TABLE_NAME] = PACKAGED_TABLE
    texts = {name: source.read_text(encoding="utf-8") for name, source in sources.items()}
    contents = {name: _UNSET.sub(lambda found: f'{found[1]}"{table}"', text) for name, text in texts.items()}
    refuse_existing(folder / name for name in contents)
    for name, content in contents.items():
        write_text(folder / name, content)
    for names, purpose in _PURPOSE.items():
        paths = ", ".join(str(folder / name) for name in names)
        click.echo("\n".join([f"wrote {paths}", *wrap(purpose, "      ")]))
    config, table = (shlex.quote(str(folder / name)) for name in ("modfix.cfg", _TABLE_NAME))
    click.echo(f"\nWhat it would do:  modfix check {table} name_asn.json")
    click.echo(f"To do it:          strun {config} name_asn.json")


_OF_OFFSETS = ("offset", "offset_error", "slope", "slope_error", "direction")


@click.command("set", cls=Command)
@click.argument("table")
@click.option("--array", type=click.Choice(ARRAYS), help="Array ID of an offset between the modules.")
@click.option("--detector", help="Detector of a zero point, as in the DETECTOR keyword.")
@click.option("--filter", required=True, help="As in the FILTER keyword.")
@click.option("--pupil", default="CLEAR", help="As in the PUPIL keyword.")
@click.option("--subarray", help="As in the SUBARRAY keyword.  [default: every subarray without a row of its own]")
@click.option("--offset", type=float, help="z_A - z_B [mag]; positive where A measures fainter than B.")
@click.option("--offset-error", type=float, help="[mag]")
@click.option("--slope", type=float, help="k of Ma et al. (2023), Eq. 9 [mag/arcmin].")
@click.option("--slope-error", type=float, help="[mag/arcmin]")
@click.option("--direction", type=float, help="This row's own direction of the gradient [deg].")
@click.option("--zero-point", type=float, help="z [mag]; positive where the detector measures faint.")
@click.option("--zero-point-error", type=float, help="[mag]")
@click.option("-o", "--output", metavar="OUT", help="Write here, and leave TABLE unchanged; never overwritten.")
def set_command(table, array, detector, filter, pupil, subarray, output, **values):  # numpydoc ignore=PR01
    """Change a row of a table, or add one.

    The rest of the file is kept, comments included, and a line is added to its history. A new offset needs --array,
    --offset and --offset-error; a new zero point needs --detector and --zero-point. A value that breaks a rule is
    refused, as is a filter that the array does not have, and the file is left unchanged.

    For example:
      modfix set my_moduleoffset.asdf --array long --filter F444W --offset -0.0165
      modfix set my_moduleoffset.asdf --array long --filter F444W --slope 0.004 --slope-error 0.001
      modfix set my_moduleoffset.asdf --array long --filter F444W --pupil F405N --offset 0.01 --offset-error 0.002
      modfix set my_moduleoffset.asdf --detector NRCA1 --filter F115W --zero-point 0.02 --zero-point-error 0.002
      modfix set packaged --array 1 --filter F150W --offset 0.013 -o my_moduleoffset.asdf
    """
    if (array is None) == (detector is None):
        raise click.UsageError("give either --array, for an offset, or --detector, for a zero point")
    changes = {name: value for name, value in values.items() if value is not None}
    allowed = [name for name in values if (name in _OF_OFFSETS) == (array is not None)]
    if not changes or set(changes) - set(allowed):
        options = ", ".join(f"--{name.replace('_', '-')}" for name in allowed)
        raise click.UsageError(
            f"with --{'array' if array else 'detector'}, give at least one of {options}, and no other"
        )
    key = {"array": array, "detector": detector, "filter": filter, "pupil": pupil, "subarray": subarray}
    key = {name: value if name == "array" else value.upper() for name, value in key.items() if value is not None}
    line, changed = edit_row(table, key, changes, output)
    click.echo(f"{line}\nwrote {output or table} (hash {changed.digest})")


@click.command("diff", cls=Command)
@click.argument("first", metavar="T1")
@click.argument("second", metavar="T2")
def diff_command(first, second):  # numpydoc ignore=PR01
    """Compare two tables, row by row.

    Differences are T2 - T1, in mmag (offsets and zero points), mmag/arcmin (slopes) and in sigmas. Baselines and
    conventions of the gradient are converted to those of T1, or refused where they cannot be.

    For example:
      modfix diff packaged field_moduleoffset.asdf        the published table and one of your own
      modfix diff old_moduleoffset.asdf new_moduleoffset.asdf
    """
    one, other = OffsetTable.read(first), OffsetTable.read(second)
    comparison = compare_tables(one, other)
    click.echo(f"T1  {one.name} (hash {one.digest})\nT2  {other.name} (hash {other.digest})")
    points, offsets = ([pair for pair in comparison.pairs if (pair.first.kind == "zero_point") == is_point]
                       for is_point in (True, False))  # fmt: skip
    sloped = [pair for pair in offsets if (pair.first.slope, pair.second.slope) != (None, None)]
    head = ["filter", "T1", "T2", "T2 - T1", "sigmas"]
    for name, unit, pairs in (("offset", "mmag", offsets), ("slope", "mmag/arcmin", sloped),
                              ("zero_point", "mmag", points)):  # fmt: skip
        rows = [[pairs[0].first.part, *head], *(_line(pair, name) for pair in pairs)] if pairs else []
        _print(f"{name.replace('_', ' ')} [{unit}]", rows)
    fields = [pair for pair in points if pair.first.field or pair.second.field]
    rows = [[*_name(pair.first), f"{1e3 * pair.field:.2f}"] for pair in fields]
    _print("field, T2 - T1 [mmag rms over the detector]", rows)
    for name, rows in (("T1", comparison.only_first), ("T2", comparison.only_second)):
        kinds = dict.fromkeys(row.kind.replace("_", " ") for row in rows)
        cells = [["", *_name(row), describe_value(row.value, row.error)] for row in rows]
        _print(f"only in {name}, {' and '.join(kinds)} [mmag]", cells)
    click.echo("\n" + "\n".join(line for note in comparison.notes for line in wrap(note, "note: ")))


def _print(title, rows):
    """Print a title and aligned rows, if there are any."""
    if rows:
        click.echo("\n".join([f"\n{title}", *align(rows)]))


def _name(row):
    band = describe_band(*row.band)
    return [row.name, f"{band} {row.subarray}" if row.subarray else band]


def _line(pair, name):
    """Make the cells of a row of both tables, with the difference where both have it."""
    difference = pair.slope if name == "slope" else pair.value
    values = [(getattr(item, name), getattr(item, f"{name}_error")) for item in (pair.first, pair.second)]
    cells = [*_name(pair.first), *(describe_value(*v) or "   none" for v in values)]
    if difference is not None:
        sigmas = "" if difference.error is None else f"{difference.sigmas:+z6.1f}"
        cells += [describe_value(difference.value, difference.error), sigmas]
    return cells


@click.command("merge", cls=Command)
@click.argument("tables", metavar="T1 T2...", nargs=-1, required=True)
@new_table
@chosen("--prefer", "first last", "Which row to take where two tables have one.  [default: refuse]", default=None)
@chosen("--baseline", " ".join([*BASELINES, *DETECTORS]),
        "Module or detector whose flux scale is kept; needed where the tables differ.", default=None)  # fmt: skip
@click.option("--valid-for", "validity", type=click.Choice(["intersection", "union"]), default="intersection",
              help="Calibrations that all tables allow, or that any does.")  # fmt: skip
def merge_command(tables, output, **options):  # numpydoc ignore=PR01
    """Join the rows of several tables.

    Tables that contradict each other (in rows, baseline, gradient or validity) are refused, with the reason.

    For example:
      modfix merge f200w_moduleoffset.asdf f444w_moduleoffset.asdf -o field_moduleoffset.asdf
      modfix merge packaged f444w_moduleoffset.asdf -o new.asdf --prefer last     the second table's row, if in both
    """
    if len(tables) < 2:
        raise click.UsageError("give at least two tables")
    merged = merge_tables([OffsetTable.read(name) for name in tables], **options, name=output)
    merged.write(output)
    click.echo(
        f"wrote {output}: {count_nouns(len(merged.rows), 'row')}, hash {merged.digest}; "
        f"{describe_validity(merged.valid_for)}"
    )
    if options["validity"] == "union":
        click.echo("note: every row is now valid for the calibrations of all tables: check that this is meant")


_YAML = (".yaml", ".yml")
_FROM_LISTS = (".ecsv", ".csv", *_YAML)


@click.command("convert", cls=ManyFiles)
@click.argument("source", metavar="IN")
@click.argument("output", metavar="OUT")
@click.option("--photom", **FILES, help="Photom files, one of each detector: write copies with the zero points.")
@click.option("--flat", **FILES, help="Flat files: write copies divided by the factor, with fields and slopes.")
@click.option("--timecoeff", **FILES, help="Photom files: write copies with the drift of the table's epoch terms.")
@click.option("--wcs", **FILES, help="With --flat: an exposure of each detector with a slope, for its WCS.")
@click.option("--drop-slope", is_flag=True, help="With --photom: leave out slopes and fields, which it cannot hold.")
@click.option("--context", metavar="PMAP", help="CRDS context of the recipe's table or of a list of zero points.")
@click.option("--recipe-gradient", is_flag=True, help="The recipe's table: the gradient as the recipe applies it.")
def convert_command(source, output, drop_slope, context, recipe_gradient, wcs, **files):  # numpydoc ignore=PR01
    """Write a table in another format.

    ASDF and ECSV are converted without loss, except for comments. Lists of zero points by detector are read from CSV,
    ECSV and YAML: a factor multiplies fluxes, so 1.05 is a zero point of +53 mmag; photmjsr / photmjsr_ref is such a
    factor, with photmjsr_ref that of the data. With --photom, --flat or --timecoeff, OUT is a copy of
    a reference file for the stock steps (--steps.photom.override_photom, --steps.flat_field.override_flat), or the
    folder of the copies: no plugin is needed, and the correction must not be applied again.

    For example:
      modfix convert packaged table2.ecsv                     ASDF to ECSV
      modfix convert table2.ecsv table2_moduleoffset.asdf     and back
      modfix convert idf_zpcor_1130_pmap.ecsv recipe.asdf     the released recipe's table
      modfix convert zero_points.csv mine_moduleoffset.asdf   columns detector, filter, pupil, and zero_point or factor
      modfix convert zero_points.yaml mine_moduleoffset.asdf  lines NRCA1-F115W-CLEAR: [mjsr, scale, pixar_sr]
      modfix convert packaged photom_nrca1.fits --photom jwst_nircam_photom_0155.fits
      strun calwebb_image2 name_rate.fits --steps.photom.override_photom=photom_nrca1.fits
      modfix convert mine.asdf new --photom old/*photom*.fits all detectors, to new/*_modfix.fits
      modfix convert mine.asdf new --flat old/*flat*.fits     for --steps.flat_field.override_flat
    """
    from jwst_modfix.cli.calibrations import export_files  # late, as both import astropy
    from jwst_modfix.table import formats

    kinds = (Path(source).suffix.lower(), Path(output).suffix.lower())
    exports = {kind: names for kind, names in files.items() if names}
    is_import = not exports and kinds[1] == ".asdf" and kinds[0] in _FROM_LISTS
    used = {"--context": is_import, "--recipe-gradient": is_import and kinds[0] not in _YAML,
            "--drop-slope": "photom" in exports, "--wcs": "flat" in exports}  # fmt: skip
    given = dict(zip(used, (context, recipe_gradient, drop_slope, wcs), strict=True))
    if ignored := [name for name, value in given.items() if value and not used[name]]:
        raise click.UsageError(f"{', '.join(ignored)}: has no effect on this conversion")
    if len(exports) > 1:
        raise click.UsageError(f"give one of {', '.join(f'--{kind}' for kind in exports)} at a time")
    for kind, names in exports.items():
        options = {"photom": {"drop_slope": drop_slope}, "flat": {"wcs": wcs}}.get(kind, {})
        export_files(kind, OffsetTable.read(source), names, output, **options)
        return
    if is_import:
        if kinds[0] in _YAML:
            table = formats.read_yaml_list(source, context)
        else:
            table = formats.read_columns(source, context, as_recipe=recipe_gradient)
        table.write(output)
        click.echo("\n".join(_describe_import(table)))
    elif kinds[1] == ".ecsv" and kinds[0] not in _FROM_LISTS:
        formats.write_ecsv(OffsetTable.read(source), output)
    elif kinds[1] in _YAML and kinds[0] not in _FROM_LISTS:
        formats.write_yaml_list(OffsetTable.read(source), output)
    else:
        raise click.UsageError(
            "IN and OUT must be an ASDF file and an ECSV or YAML file, in either order, or IN a CSV file, unless "
            "--photom, --flat or --timecoeff is given"
        )
    click.echo(f"wrote {output}")


def _describe_import(table):
    """Describe the rows and the sign of one as an example: a list may be inverted."""
    yield f"{count_nouns(len(table.rows), 'row')}, hash {table.digest}"
    if table.zero_points:
        row = max(table.zero_points, key=lambda row: abs(row.zero_point))
        verb, factor = "brightened" if row.zero_point >= 0 else "dimmed", 10 ** (0.4 * row.zero_point)
        words = f"for example {row.label}: {1e3 * row.zero_point:+z.2f} mmag, its pixels are {verb} by a factor of "
        words += f"{factor:.5g}"
        if row.photmjsr is not None:
            words += f", from PHOTMJSR {row.photmjsr:.5g} of the data to {row.photmjsr * factor:.5g}"
        yield from wrap(words)
