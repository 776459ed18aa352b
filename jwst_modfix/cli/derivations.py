"""``modfix derive-from``: one table from the measurement files of several derivations."""

from pathlib import Path

import click

from jwst_modfix.table.file import check_target
from jwst_modfix.table.table import BASELINES, DETECTORS
from jwst_modfix.text import count_nouns

_EXAMPLES = """\b
Examples:
  modfix derive-from program1_modfix_measurements.ecsv program2_modfix_measurements.ecsv -o joined_moduleoffset.asdf
  modfix derive-from *_measurements.ecsv --scale detectors --field-order 1 -o joined_moduleoffset.asdf
"""


@click.command("derive-from", epilog=_EXAMPLES)
@click.argument("measurements", metavar="MEASUREMENTS...", nargs=-1, required=True)
@click.option("-o", "--output", metavar="OUT", required=True, help="The table to write; never overwritten.")
@click.option("--scale", type=click.Choice(["modules", "detectors"]), default="modules", show_default=True,
              help="What gets a zero point.")  # fmt: skip
@click.option("--field-order", type=click.Choice(["0", "1", "2", "3", "auto"]), default="0", show_default=True,
              help="Order of a field over each detector, with --scale detectors.")  # fmt: skip
@click.option("--exposure-terms", type=click.Choice(["auto", "fit", "zero"]), default="auto", show_default=True,
              help="Terms of exposures in the place of those of epochs.")  # fmt: skip
@click.option("--fit-slope", type=click.Choice(["long", "all", "none"]), default="long", show_default=True,
              help="Arrays with a slope.")  # fmt: skip
@click.option("--baseline", type=click.Choice([*BASELINES, *DETECTORS]), default="B", show_default=True,
              help="Module or detector whose flux scale is kept.")  # fmt: skip
@click.option("--allow-mixed", is_flag=True, help="Accept files that were calibrated differently.")
def derive_from_command(measurements, output, **options):  # numpydoc ignore=PR01
    """Solve the measurement files of several derivations together.

    The files are those that module_offset_derive writes, ECSV or FITS, or the same as parquet. Sources, exposures and epochs of two files
    are never the same; the detectors are. What was selected and reserved stays so.
    """
    from jwst_modfix.derivation.joined import derive_from  # late, as all that needs time to import

    check_target(output)
    joined = derive_from(measurements, name=Path(output).name, **options)
    for solution in joined.solutions.values():
        click.echo(solution.summary() + "\n")
    for band, why in joined.failures.items():
        click.echo(f"{band} gets no row: {why}")
    joined.table.write(output)
    click.echo(f"wrote {output}: {count_nouns(len(joined.table.rows), 'row')}, hash {joined.table.digest}")
