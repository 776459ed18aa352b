"""``modfix group``: an association of exposures of several epochs."""

import click

from jwst_modfix.text import align

__all__ = ["command"]

_EXAMPLES = """\b
Examples:
  modfix group data -o field_asn.json                 the exposures in the folder data and below
  modfix group ep1/*_cal.fits ep2/*_cal.fits -o field_asn.json
  modfix group data -o field_asn.json --by-filter     field_f200w_asn.json, field_f444w_asn.json, ...
"""


@click.command("group", epilog=_EXAMPLES)
@click.argument("files", metavar="FILES|DIR...", nargs=-1, required=True)
@click.option("-o", "--output", default="modfix_asn.json", show_default=True, help="Its name gives the product's.")
@click.option("--by-filter", is_flag=True, help="One association for each filter and pupil, not one for all.")
@click.option("--gap-days", type=float, default=30.0, show_default=True,
              help="Longest time between exposures of one epoch [day].")  # fmt: skip
@click.option("--roll-tolerance", type=float, default=5.0, show_default=True,
              help="Largest difference of roll within one epoch [deg].")  # fmt: skip
def command(files, output, by_filter, gap_days, roll_tolerance):  # numpydoc ignore=PR01
    """Make an association of exposures of several epochs.

    Each member gets its epoch, found by time and roll as the derivation finds it. In a folder and those below,
    files named *_cal, *_jhat, *_tweakreg, *_match or *_crf (.fits or .fits.gz) are taken, one of each exposure, in
    this order of preference. Files that are not NIRCam imaging are left out, and named. Nothing is overwritten.
    """
    from jwst_modfix.steps.grouping import group_exposures, write_groups  # imports jwst

    grouping = group_exposures(files, gap_days=gap_days, roll_tolerance=roll_tolerance)
    written = write_groups(grouping, output, by_filter=by_filter)
    rows = [["epoch", "exposures", "V3 roll [deg]", "modules", "filters"]]
    for number, name in enumerate(grouping.epochs.names):
        mine = [h for h, i in zip(grouping.headers, grouping.epochs.number, strict=True) if i == number]
        rows.append([name, str(len(mine)), *_summary(mine)])
    click.echo("\n".join(align(rows)))
    click.echo("\n".join(["", *(f"note: {line}" for line in grouping.notes)]))
    click.echo("\n".join(f"wrote {path}" for path in written))


def _summary(headers):
    rolls = sorted({f"{header.roll:.1f}" for header in headers}, key=float)
    modules = " ".join(sorted({header.module for header in headers}))
    bands = {h.filter if h.pupil == "CLEAR" else f"{h.filter}+{h.pupil}" for h in headers}
    roll = rolls[0] if len(rolls) == 1 else f"{rolls[0]} to {rolls[-1]}"
    return [roll, modules, " ".join(sorted(bands))]
