"""``modfix check``, ``group`` and ``plan``: exposures, before anything is done to them."""

from collections import Counter
from pathlib import Path

import click

from jwst_modfix.errors import ExposureError, ModuleOffsetError
from jwst_modfix.files import locate
from jwst_modfix.table.describe import describe_band, describe_validity, wrap
from jwst_modfix.table.table import OffsetTable
from jwst_modfix.table.validity import explain_photmjsr
from jwst_modfix.text import align

_CHECK_EXAMPLES = """\b
Examples:
  modfix check my_moduleoffset.asdf                     is the table valid?
  modfix check packaged name_asn.json                   the table that comes with the package
  modfix check my_moduleoffset.asdf *_cal.fits --on-invalid error
"""


@click.command("check", epilog=_CHECK_EXAMPLES)
@click.argument("table")
@click.argument("inputs", metavar="[FITS|ASN]...", nargs=-1)
@click.option("--on-invalid", type=click.Choice(["skip", "warn", "error"]), default="skip", show_default=True,
              help="What the step does with exposures that the table is not meant for.")  # fmt: skip
@click.option("--on-missing", type=click.Choice(["skip", "error"]), default="skip", show_default=True,
              help="What the step does where the table has no row.")  # fmt: skip
@click.option("--no-offset", is_flag=True, help="As the step with apply_offset = False.")
@click.option("--no-slope", is_flag=True, help="As the step with apply_slope = False.")
def check_command(table, inputs, on_invalid, on_missing, no_offset, no_slope):  # numpydoc ignore=PR01
    """Show what the correction would do with exposures.

    TABLE is a file, or the word 'packaged'. Each exposure, or member of an association, is judged by its headers,
    as the step judges it, and without loading pixels: applied, skipped (passed on unchanged) or refused (the step
    would end with an error). The exit status is 1 where the table is not valid or one exposure is refused.
    """
    if no_offset and no_slope:
        raise click.UsageError("--no-offset and --no-slope together leave nothing to apply")
    table = OffsetTable.read(table)
    summary = f"{table.name} is valid: {len(table.all_rows)} rows, hash {table.digest}; "
    click.echo("\n".join(wrap(f"{summary}for {describe_validity(table.valid_for)}")))
    if inputs:
        options = {"on_invalid": on_invalid, "on_missing": on_missing}
        _check(inputs, table, apply_offset=not no_offset, apply_slope=not no_slope, **options)


def _check(inputs, table, **options):
    from jwst_modfix.apply.decide import Correction

    correction, counts = Correction(table=table, **options), Counter()
    for path in find_exposures(inputs):
        decision, exposure = _preview(path, correction)
        counts[decision.action] += 1
        click.echo("\n" + "\n".join(_describe_preview(path, decision, exposure, table)))
    total = counts.total()
    click.echo(f"\n{total} exposures: {counts['apply']} apply, {counts['skip']} skip, {counts['refuse']} refuse")
    if counts["refuse"]:
        raise ExposureError(
            f"the step would refuse {counts['refuse']} of {total}, and write none of them: see the list above"
        )


def find_exposures(inputs):
    """List exposures, those in folders, and the members of associations, each once."""
    from jwst_modfix.steps.associations import Association  # imports jwst
    from jwst_modfix.steps.inputs import read_input

    exposures = {}
    for name in inputs:
        found = read_input(name)
        if isinstance(found, Association):
            found.warn_of_missing()
            found = found.science
        exposures |= dict.fromkeys(locate(path) for path in ([found] if isinstance(found, Path) else found))
    return list(exposures)


def _preview(path, correction):
    """Decide as the step would; the description of the exposure is None where it cannot be read."""
    from jwst_modfix.apply.decide import Decision
    from jwst_modfix.exposure import open_exposure

    try:
        with open_exposure(path) as opened:
            return correction.preview(opened), opened.exposure
    except ExposureError as error:
        return Decision("refuse", str(error).removeprefix(f"{path}: ").removeprefix(f"{path.name}: ")), None


def _describe_preview(path, decision, exposure, table):
    """Describe one exposure: action, name and optics; what would be taken out, or why nothing is; warnings."""
    optics = [str(getattr(exposure, name, None) or "-") for name in ("detector", "filter", "pupil")]
    yield f"{decision.action:6}  {path.name}  {'  '.join(optics)}"
    yield from wrap(decision.reason, " " * 8)
    if decision.action == "apply" and (warning := explain_photmjsr(table.row_of(exposure), exposure)):
        yield from wrap(warning, "        warning: ", " " * 8)


_GROUP_EXAMPLES = """\b
Examples:
  modfix group data -o field_asn.json                 the exposures in the folder data and below
  modfix group ep1/*_cal.fits ep2/*_cal.fits -o field_asn.json
  modfix group data -o field_asn.json --by-filter     field_f200w_asn.json, field_f444w_asn.json, ...
"""


@click.command("group", epilog=_GROUP_EXAMPLES)
@click.argument("files", metavar="FILES|DIR...", nargs=-1, required=True)
@click.option("-o", "--output", default="modfix_asn.json", show_default=True, help="Its name gives the product's.")
@click.option("--by-filter", is_flag=True, help="One association for each filter and pupil, not one for all.")
@click.option("--gap-days", type=float, default=30.0, show_default=True,
              help="Longest time between exposures of one epoch [day].")  # fmt: skip
@click.option("--roll-tolerance", type=float, default=5.0, show_default=True,
              help="Largest difference of roll within one epoch [deg].")  # fmt: skip
def group_command(files, output, by_filter, gap_days, roll_tolerance):  # numpydoc ignore=PR01
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
        rows.append([name, str(len(mine)), *_describe_epoch(mine)])
    click.echo("\n".join(align(rows)))
    click.echo("\n".join(["", *(f"note: {line}" for line in grouping.notes)]))
    click.echo("\n".join(f"wrote {path}" for path in written))


def _describe_epoch(headers):
    rolls = sorted({f"{header.roll:.1f}" for header in headers}, key=float)
    modules = " ".join(sorted({header.module for header in headers}))
    bands = {describe_band(header.filter, header.pupil) for header in headers}
    roll = rolls[0] if len(rolls) == 1 else f"{rolls[0]} to {rolls[-1]}"
    return [roll, modules, " ".join(sorted(bands))]


_PLAN_EXAMPLES = """\b
Examples:
  modfix plan name_asn.json                                 exposures that there are
  modfix plan --roll 161 --roll 341 --dithers 6             two epochs that turn the field by 180 deg
  modfix plan --roll 30 --roll 95 --dithers 4 --filter F444W --density 5
"""


@click.command("plan", epilog=_PLAN_EXAMPLES)
@click.argument("asn", metavar="[ASN|FITS]...", nargs=-1)
@click.option("--roll", "rolls", type=float, multiple=True, help="V3 position angle of an epoch [deg]; one each.")
@click.option("--dithers", type=click.IntRange(1), default=6, show_default=True, help="Exposures per epoch and filter.")
@click.option("--filter", "filters", multiple=True, default=["F200W", "F444W"], show_default=True, help="With --roll.")
@click.option("--density", type=click.FloatRange(0.1), default=20.0, show_default=True,
              help="Sources that are good enough, per arcmin^2; 20 reach about 22 AB.")  # fmt: skip
@click.option("--scatter", type=click.FloatRange(0.01), default=3.0, show_default=True,
              help="Error of one measurement [mmag], photon noise included.")  # fmt: skip
@click.option("--fit-slope", type=click.Choice(["long", "all", "none"]), default="long", show_default=True,
              help="Arrays with a slope.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Places the sources.")
def plan_command(asn, rolls, dithers, filters, density, scatter, fit_slope, seed):  # numpydoc ignore=PR01
    """Forecast the errors of a table derived from exposures.

    The exposures are those of an association, by their headers, or those that roll angles and dithers would make.
    Sources are spread over them at random; how well offsets and slopes can then be told apart follows from the
    pointings alone. The fifth of the sources that the derivation keeps for validation is left out.
    """
    if bool(asn) == bool(rolls):
        raise click.UsageError("give either exposures (ASN or FITS) or --roll for each epoch")
    import numpy as np  # late, as all that needs time to import

    from jwst_modfix.derivation.forecast import plan_bands
    from jwst_modfix.fitting.separability import Choice

    pointings = _read_pointings(asn) if asn else _lay_out(rolls, dithers, filters)
    rng, options = np.random.default_rng(seed), {"density": density, "scatter": 1e-3 * scatter}
    plans = plan_bands(pointings, rng, **options, choice=Choice(fit_slope=fit_slope))
    click.echo("\n\n".join("\n".join(_describe_plan(plan)) for plan in plans))
    found = [status for plan in plans if not plan.failure for status in plan.forecast.status if status.is_fitted]
    if not any(status.term.kind == "offset" for status in found):
        raise ModuleOffsetError("these exposures determine no offset")


def _read_pointings(names):
    from jwst_modfix.derivation.derive import read_members
    from jwst_modfix.derivation.forecast import pointings_of_exposures
    from jwst_modfix.photometry.epochs import group_epochs
    from jwst_modfix.photometry.frames import read_geometry
    from jwst_modfix.steps.module_offset_derive import find_members

    members = find_members(names[0] if len(names) == 1 else list(names))
    headers, _ = read_members(members, allow_mixed=True)
    epochs = group_epochs([h.mjd for h in headers], [h.roll for h in headers], members.epochs)
    return pointings_of_exposures(headers, [read_geometry(header) for header in headers], epochs.number)


def _lay_out(rolls, dithers, filters):
    from jwst_modfix.simulate.filters import BANDS
    from jwst_modfix.simulate.magnitudes import plan_pointings

    unknown = [name for name in filters if name not in BANDS]
    if unknown:
        raise click.BadParameter(f"known are {', '.join(BANDS)}; got {', '.join(unknown)}", param_hint="--filter")
    return plan_pointings(rolls, dithers=dithers, filters=filters)


def _describe_plan(plan):
    """Errors of the terms of one filter, and in words what is not determined."""
    band = describe_band(plan.filter, plan.pupil)
    yield f"{band}: {plan.exposures} exposures, {plan.sources} sources, {plan.measurements} measurements"
    if plan.failure:
        yield f"  no solution: {plan.failure}"
        return
    known = [status for status in plan.forecast.status if status.is_fitted]
    yield from align([["", status.term.words, *_error(status), _remark(status)] for status in known])
    yield from (f"  not determined: {s.words}" for s in plan.forecast.status if s.is_degenerate)
    yield from (f"  note: {sentence}" for sentence in plan.forecast.links.sentences())


def _error(status):
    unit = "mmag/arcmin" if status.term.is_slope else "mmag"
    return [f"±{1e3 * status.expected_error:6.2f}", unit]


def _remark(status):
    if status.correlation > 0.9:
        return f"correlated with another term: {status.correlation:.2f}"
    return "linked through other arrays" if status.status == "indirect" else ""
