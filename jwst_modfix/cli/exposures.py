"""``modfix check``, ``group`` and ``plan``: exposures before they are processed."""

from collections import Counter
from functools import partial
from pathlib import Path

import click

from jwst_modfix.cli.options import Command, Finite, chosen, epoch_options, model_options
from jwst_modfix.errors import ExposureError, ModuleOffsetError
from jwst_modfix.files import locate
from jwst_modfix.table.describe import describe_validity
from jwst_modfix.table.table import OffsetTable
from jwst_modfix.text import align, annotate, count_nouns, describe_band, wrap


@click.command("check", cls=Command)
@click.argument("table")
@click.argument("inputs", metavar="[FITS|ASN]...", nargs=-1)
@chosen("--on-invalid", "skip warn error", "What the step does with exposures that the table is not meant for.")
@chosen("--on-missing", "skip error", "What the step does where the table has no row.")
@click.option("--no-offset", is_flag=True, help="As the step with apply_offset = False.")
@click.option("--no-slope", is_flag=True, help="As the step with apply_slope = False.")
def check_command(table, inputs, no_offset, no_slope, **options):  # numpydoc ignore=PR01
    """Show what the correction would do with exposures.

    TABLE is a file, or the word 'packaged'. Each exposure, or member of an association, is judged by its headers,
    as the step judges it, and without loading pixels: applied, skipped (passed on unchanged) or refused (the step
    would end with an error). The exit status is 1 where the table is not valid or one exposure is refused.

    For example:
      modfix check my_moduleoffset.asdf                     is the table valid?
      modfix check packaged name_asn.json                   the table that comes with the package
      modfix check my_moduleoffset.asdf *_cal.fits --on-invalid error
    """
    if no_offset and no_slope:
        raise click.UsageError("--no-offset and --no-slope together leave nothing to apply")
    table = OffsetTable.read(table)
    summary = f"{table.name} is valid: {count_nouns(len(table.rows), 'row')}, hash {table.digest}; "
    click.echo("\n".join(wrap(f"{summary}for {describe_validity(table.valid_for)}")))
    if not inputs:
        return
    from jwst_modfix.apply.decide import Correction  # late, as all that needs time to import

    correction = Correction(table=table, apply_offset=not no_offset, apply_slope=not no_slope, **options)
    counts = Counter()
    rows = [["", "exposure", "detector", "filter", ""]]
    for path in find_exposures(inputs):
        decision, exposure = _preview(path, correction)
        counts[decision.action] += 1
        band = describe_band(exposure.filter or "-", exposure.pupil or "CLEAR") if exposure else "-"
        warning = f"; warning: {decision.warning}" if decision.warning else ""
        detector = str(exposure.detector or "-") if exposure else "-"
        rows.append([decision.action, path.name, detector, band, decision.reason + warning])
    click.echo("\n" + "\n".join(annotate(rows)))
    total = count_nouns(counts.total(), "exposure")
    click.echo(f"\n{total}: {counts['apply']} apply, {counts['skip']} skip, {counts['refuse']} refuse")
    if counts["refuse"]:
        raise ExposureError(
            f"the step would refuse {counts['refuse']} of {counts.total()}, and write none of them: see the list above"
        )


def find_exposures(inputs):
    """List exposures, those in folders, and the members of associations, each once."""
    from jwst_modfix.steps.associations import Association  # imports jwst
    from jwst_modfix.steps.runs import read_input

    exposures = {}
    for name in inputs:
        found = read_input(name)
        if isinstance(found, Association):
            found.warn_of_missing()
            found = found.science
        exposures |= dict.fromkeys(locate(path) for path in ([found] if isinstance(found, Path) else found))
    return list(exposures)


def _preview(path, correction):
    """Decide as the step would; the metadata is None for an unreadable exposure."""
    from jwst_modfix.apply.decide import Decision
    from jwst_modfix.exposure import open_exposure

    try:
        with open_exposure(path) as opened:
            return correction.preview(opened), opened.exposure
    except ExposureError as error:
        return Decision("refuse", str(error).removeprefix(f"{path}: ").removeprefix(f"{path.name}: ")), None


@click.command("group", cls=Command)
@click.argument("files", metavar="FILES|DIR...", nargs=-1, required=True)
@click.option("-o", "--output", default="modfix_asn.json", help="Its name gives the product's.")
@click.option("--by-filter", is_flag=True, help="One association for each filter and pupil, not one for all.")
@epoch_options
def group_command(files, output, by_filter, gap_days, roll_tolerance):  # numpydoc ignore=PR01
    """Make an association of exposures of several epochs.

    Each member gets its epoch, found by time and roll as the derivation finds it. In a folder and those below,
    files named *_cal, *_jhat, *_tweakreg, *_match or *_crf (.fits or .fits.gz) are taken, one of each exposure, in
    this order of preference. Files that are not NIRCam imaging are left out, and named. Nothing is overwritten.

    For example:
      modfix group data -o field_asn.json                 the exposures in the folder data and below
      modfix group ep1/*_cal.fits ep2/*_cal.fits -o field_asn.json
      modfix group data -o field_asn.json --by-filter     field_f200w_asn.json, field_f444w_asn.json, ...
    """
    from jwst_modfix.steps.grouping import group_exposures, write_groups  # imports jwst

    grouping = group_exposures(files, gap_days=gap_days, roll_tolerance=roll_tolerance)
    written = write_groups(grouping, output, by_filter=by_filter)
    rows = [["epoch", "exposures", "V3 roll [deg]", "modules", "filters"]]
    for name, headers in zip(grouping.epochs.names, grouping.epochs.split(grouping.headers), strict=True):
        rolls = sorted({f"{header.roll:.1f}" for header in headers}, key=float)
        roll = rolls[0] if len(rolls) == 1 else f"{rolls[0]} to {rolls[-1]}"
        modules = " ".join(sorted({header.module for header in headers}))
        bands = " ".join(sorted({describe_band(header.filter, header.pupil) for header in headers}))
        rows.append([name, str(len(headers)), roll, modules, bands])
    click.echo("\n".join(align(rows)))
    click.echo("\n".join(["", *(f"note: {line}" for line in grouping.notes)]))
    click.echo("\n".join(f"wrote {path}" for path in written))


@click.command("plan", cls=Command)
@click.argument("asn", metavar="[ASN|FITS]...", nargs=-1)
@click.option("--roll", "rolls", type=Finite(-360, 360), multiple=True, help="V3 angle of an epoch [deg]; one each.")
@click.option("--dithers", type=click.IntRange(1), default=6, help="Exposures per epoch and filter.")
@click.option("--filter", "filters", multiple=True, default=["F200W", "F444W"], help="With --roll.")
@click.option("--density", type=Finite(0.1, 1000), default=20.0,
              help="Sources that are good enough, per arcmin^2; 20 reach about 22 AB.")  # fmt: skip
@click.option("--scatter", type=Finite(0.01), default=3.0, help="Error of a measurement [mmag], with photon noise.")
@model_options
@click.option("--field-order", type=click.IntRange(0, 3), default=0, help="Of each detector, with --scale detectors.")
@click.option("--reach", type=Finite(0.01), metavar="MMAG",
              help="List the cheapest sets of rolls and dithers in which every offset or zero point has at most this"
                   " error; with --roll, the fewest dithers.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=1, help="Places the sources.")
@epoch_options
def plan_command(
    asn, rolls, dithers, filters, density, scatter, reach, baseline, seed, gap_days, roll_tolerance, **terms
):  # numpydoc ignore=PR01
    """Forecast the errors of a table derived from exposures.

    The exposures are those of an association, by their headers, or those that roll angles and dithers would make.
    Sources are spread over them at random. The pointings determine how well offsets and slopes can be separated. The
    fifth of the sources that the derivation keeps for validation is left out.

    For example:
      modfix plan name_asn.json                                 exposures that there are
      modfix plan --roll 161 --roll 341 --dithers 6             two epochs that turn the field by 180 deg
      modfix plan --roll 30 --roll 95 --dithers 4 --filter F444W --density 5
      modfix plan --scale detectors --field-order 2 --reach 1 --filter F200W        cheapest rolls and dithers
    """
    if terms["field_order"] and terms["scale"] == "modules":
        raise click.UsageError("--field-order needs --scale detectors")
    if reach is not None and asn:
        raise click.UsageError("--reach needs no exposures: it lists rolls and dithers")
    if reach is None and bool(asn) == bool(rolls):
        raise click.UsageError("give either exposures (ASN or FITS) or --roll for each epoch")
    import numpy as np  # late, as all that needs time to import

    from jwst_modfix.derivation.forecast import plan_bands
    from jwst_modfix.fitting.design import Choice

    options = {"density": density, "scatter": 1e-3 * scatter, "choice": Choice(**terms), "baseline": baseline}
    if reach is not None:
        _show_reached(reach, rolls, filters, seed, options)
        return
    if asn:
        pointings = _read_pointings(asn, terms["scale"], gap_days=gap_days, roll_tolerance=roll_tolerance)
    else:
        pointings = _lay_out(rolls, dithers, filters)
    plans = plan_bands(pointings, np.random.default_rng(seed), **options)
    click.echo("\n\n".join("\n".join(_describe_plan(plan)) for plan in plans))
    found = [status for plan in plans if not plan.failure for status in plan.forecast.status if status.is_fitted]
    if not any(status.term.kind in ("offset", "zero_point") for status in found):
        what = "offset" if terms["scale"] == "modules" else "zero point"
        raise ModuleOffsetError(f"these exposures determine no {what}")


def _show_reached(reach, rolls, filters, seed, options):
    """List the cheapest sets that reach an error [mmag]."""
    from jwst_modfix.derivation.forecast import reach_error

    lay_out = partial(_lay_out, filters=filters)
    rows = [["exposures", "rolls [deg]", "dithers", "largest error [mmag]"]]
    for turns, dithers, plans in reach_error(lay_out, seed, 1e-3 * reach, rolls=rolls, **options):
        errors = ", ".join(f"{plan.filter} {1e3 * plan.largest_error():.2f}" for plan in plans)
        rows.append([str(len(turns) * dithers), " ".join(f"{turn:g}" for turn in turns), str(dithers), errors])
    if len(rows) == 1:
        raise ModuleOffsetError(f"no set of up to 3 rolls and 12 dithers reaches {reach:g} mmag; raise --reach")
    click.echo("\n".join(align(rows, right=[0, 2])))


def _read_pointings(names, scale, **limits):
    from jwst_modfix.derivation.derive import read_members
    from jwst_modfix.derivation.forecast import pointings_of_exposures
    from jwst_modfix.photometry.frames import group_epochs, read_geometry
    from jwst_modfix.steps.module_offset_derive import find_members

    members = find_members(names[0] if len(names) == 1 else list(names))
    headers, _ = read_members(members, allow_mixed=True, scale=scale)
    epochs = group_epochs(headers, members.epochs, **limits)
    return pointings_of_exposures(headers, [read_geometry(header) for header in headers], epochs.number)


def _lay_out(rolls, dithers, filters):
    from jwst_modfix.simulate.magnitudes import plan_pointings
    from jwst_modfix.simulate.observation import BANDS

    unknown = [name for name in filters if name not in BANDS]
    if unknown:
        raise click.BadParameter(f"known are {', '.join(BANDS)}; got {', '.join(unknown)}", param_hint="--filter")
    return plan_pointings(rolls, dithers=dithers, filters=list(dict.fromkeys(filters)))


def _describe_plan(plan):
    """List errors of the terms of one filter, and what is not determined."""
    from jwst_modfix.fitting.stability import describe_drifts

    band = describe_band(plan.filter, plan.pupil)
    counts = [count_nouns(getattr(plan, f"{noun}s"), noun) for noun in ("exposure", "source", "measurement")]
    yield f"{band}: {', '.join(counts)}"
    if plan.failure:
        yield f"  no solution: {plan.failure}"
        return
    rows = []
    for one in plan.detectors if plan.forecast.model.scale == "detectors" else ():
        error = ["-", ""] if one.error is None else [f"±{1e3 * one.error:6.2f}", "mmag"]
        field = "" if one.field_error is None else f"field ±{1e3 * one.field_error:.2f} mmag rms"
        name = f"zero point of {one.detector}"
        rows.append(["", name, *error, one.words.removeprefix(f"{name}: ") or field])
    for status in plan.forecast.status:
        # Fields, drifts and zero points have lines of their own.
        if status.is_fitted and status.term.kind not in ("field", "drift", "zero_point"):
            error = [f"±{1e3 * status.expected_error:6.2f}", f"mmag{'/arcmin' * status.term.is_slope}"]
            remark = "linked through other arrays" if status.status == "indirect" else ""
            if status.correlation > 0.9:
                remark = f"correlated with another term: {status.correlation:.2f}"
            rows.append(["", status.term.words, *error, remark])
    yield from align(rows)
    lost = [s.words for s in plan.forecast.status if not s.is_fitted and s.term.kind != "zero_point"]
    yield from (f"  not determined: {words}" for words in (*lost, *plan.forecast.refusals))
    notes = (*plan.forecast.links.sentences(), *plan.forecast.remarks, *describe_drifts(plan.drifts))
    yield from (f"  note: {sentence}" for sentence in notes)
