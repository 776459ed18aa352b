"""``modfix plan``: the errors that a derivation would have."""

import click

from jwst_modfix.errors import ModuleOffsetError
from jwst_modfix.text import align

__all__ = ["command"]

_EXAMPLES = """\b
Examples:
  modfix plan name_asn.json                                 exposures that there are
  modfix plan --roll 161 --roll 341 --dithers 6             two epochs that turn the field by 180 deg
  modfix plan --roll 30 --roll 95 --dithers 4 --filter F444W --density 5
"""


@click.command("plan", epilog=_EXAMPLES)
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
def command(asn, rolls, dithers, filters, density, scatter, fit_slope, seed):  # numpydoc ignore=PR01
    """Forecast the errors of a table derived from exposures.

    The exposures are those of an association, by their headers, or those that roll angles and dithers would make.
    Sources are spread over them at random; how well offsets and slopes can then be told apart follows from the
    pointings alone. The fifth of the sources that the derivation keeps for validation is left out.
    """
    if bool(asn) == bool(rolls):
        raise click.UsageError("give either exposures (ASN or FITS) or --roll for each epoch")
    import numpy as np  # late, as all that needs time to import

    from jwst_modfix.derivation.forecast import plan_bands

    pointings = _read(asn) if asn else _lay_out(rolls, dithers, filters)
    rng, options = np.random.default_rng(seed), {"density": density, "scatter": 1e-3 * scatter}
    plans = plan_bands(pointings, rng, **options, fit_slope=fit_slope)
    click.echo("\n\n".join("\n".join(_describe(plan)) for plan in plans))
    if not any(_is_determined(plan) for plan in plans):
        raise ModuleOffsetError("these exposures determine no offset")


def _is_determined(plan):
    return not plan.failure and any(s.is_fitted and s.term.kind == "offset" for s in plan.forecast.status)


def _read(names):
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


def _describe(plan):
    """Errors of the terms of one filter, and in words what is not determined."""
    name = plan.filter if plan.pupil == "CLEAR" else f"{plan.filter}+{plan.pupil}"
    yield f"{name}: {plan.exposures} exposures, {plan.sources} sources, {plan.measurements} measurements"
    if plan.failure:
        yield f"  no solution: {plan.failure}"
        return
    known = [status for status in plan.forecast.status if status.is_fitted]
    yield from align([["", status.term.words, *_error(status), _remark(status)] for status in known])
    yield from (f"  not determined: {s.words}" for s in plan.forecast.status if s.is_degenerate)
    yield from (f"  note: {sentence}" for sentence in plan.forecast.links.sentences())


def _error(status):
    unit = "mmag/arcmin" if status.term.is_slope else "mmag"
    return [f"+-{1e3 * status.expected_error:6.2f}", unit]


def _remark(status):
    if status.correlation > 0.9:
        return f"correlated with another term: {status.correlation:.2f}"
    return "linked through other arrays" if status.status == "indirect" else ""
