"""What was done to an exposure, in words."""

from jwst_modfix.steps.fits_exposure import open_fits

__all__ = ["describe_applied"]


def describe_applied(path):
    """Say what was applied to an exposure, by which table, when and by which version."""
    with open_fits(path) as opened:
        exposure = opened.describe(headers_only=True)
        optics = " ".join(str(value) for value in (exposure.detector, exposure.filter, exposure.pupil) if value)
        words = {"COMPLETE": _corrected, "SKIPPED": _skipped}.get(opened.status, _untouched)
        return [str(path), f"  {optics}, calibrated with {exposure.context or 'an unknown context'}", *words(opened)]


def _corrected(opened):
    try:
        record = opened.record()
    except KeyError as error:
        return [f"  corrected, but its record is incomplete: the card {error} is missing"]
    lines = [
        f"  corrected on {record.date} UTC by jwst_modfix {record.version}",
        f"  table {record.table} (hash {record.digest})",
        f"  taken out: zero-point error {1e3 * record.zero_point:+.2f} mmag",
    ]
    if record.slope:
        first, second = record.origin
        lines.append(
            f"             gradient {1e3 * record.slope:+.3f} mmag/arcmin toward {record.direction:g} deg in the "
            f"{record.frame}, zero at {first:g}, {second:g}"
        )
    return lines


def _skipped(opened):
    reasons = [line.partition("SKIPPED: ")[2] for line in opened.log_lines if "SKIPPED: " in line]
    return ["  not corrected: the correction skipped it", *(f"  because {reason}" for reason in reasons[:1])]


def _untouched(_opened):
    return ["  not corrected: the correction has not seen it"]
