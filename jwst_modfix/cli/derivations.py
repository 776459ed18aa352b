"""``modfix derive-from``: a table from measurement files of several derivations."""

from pathlib import Path

import click

from jwst_modfix.cli.options import Command, chosen, model_options, new_table
from jwst_modfix.table.file import check_target
from jwst_modfix.text import count_nouns


@click.command("derive-from", cls=Command)
@click.argument("measurements", metavar="MEASUREMENTS...", nargs=-1, required=True)
@new_table
@model_options
@chosen("--field-order", "0 1 2 3 auto", "Order of a field over each detector, with --scale detectors.")
@click.option("--allow-mixed", is_flag=True, help="Accept files that were calibrated differently.")
def derive_from_command(measurements, output, **options):  # numpydoc ignore=PR01
    """Solve the measurement files of several derivations together.

    The files are those that module_offset_derive writes, ECSV or FITS, or the same as parquet, which is read in pieces
    where it holds more than 5 million measurements. Sources, exposures and epochs of two files are never the same; the
    detectors are. What was selected and reserved stays so.

    For example:
      modfix derive-from program1_modfix_measurements.ecsv program2_modfix_measurements.ecsv -o joined_moduleoffset.asdf
      modfix derive-from *_measurements.ecsv --scale detectors --field-order 1 -o joined_moduleoffset.asdf
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
