"""A table as a person reads it."""

from jwst_modfix.text import align

__all__ = ["describe_table", "describe_validity", "describe_value"]


_FRAMES = {
    "focal_plane": ("V2, V3", "from +V3 toward +V2", "arcsec"),
    "detector": ("x, y", "from +x toward +y of the detector", "pixel"),
    "sky": ("RA, Dec", "east of north", "deg"),
}


def describe_table(file):
    """Put a table into words and columns."""
    table, meta = file.table, file.meta
    facts = [
        ("file", str(file.path)),
        ("hash", f"{table.digest} (of the numbers, as in MODFHASH)"),
        *((name, meta[name]) for name in ("author", "pedigree", "useafter")),
        ("valid for", describe_validity(table.valid_for)),
        ("baseline", _describe_baseline(table.baseline)),
        *_describe_gradient(table.gradient),
    ]
    return [
        meta["description"],
        "",
        *align([["", *fact] for fact in facts]),
        "",
        *_describe_rows(table),
        *_section("history", meta.get("history")),
        *_section("derivation", list(_describe_derivation(meta.get("derivation", {})))),
    ]


def describe_value(value, error, digits=2):
    """Write a value in mag as mmag, with its error."""
    return "" if value is None else f"{1e3 * value:+7.{digits}f} +- {1e3 * error:.{digits}f}"


def describe_validity(validity):
    """Say in words what calibration a table is valid for."""
    first, last = validity.context_first, validity.context_last
    contexts = first if first == last else f"{first or 'any'} to {last or 'any'}"
    parts = [
        contexts and f"CRDS context {contexts}" if first or last else "",
        validity.photom and f"photom {', '.join(validity.photom)}",
        validity.flat and f"flat {', '.join(validity.flat)}",
    ]
    return "; ".join(filter(None, parts)) or "any calibration (it names none)"


def _describe_baseline(baseline):
    if baseline == "mean":
        return "mean: both modules are brought to the mean of their flux scales"
    return f"{baseline}: the flux scale of module {baseline} is kept"


def _describe_gradient(gradient):
    if gradient is None:
        return
    names, sense, unit = _FRAMES[gradient.frame]
    first, second = gradient.origin
    yield ("gradient", f"fixed to the {gradient.frame}; grows toward {gradient.direction:g} deg ({sense})")
    yield ("", f"zero at {names} = {first:g}, {second:g} {unit}; one exposure has {gradient.exposure_share:g} of slope")


def _describe_rows(table):
    has_slope = any(row.slope is not None for row in table.rows)
    header = ["array", "filter", "pupil", "offset A - B [mmag]", *(("slope [mmag/arcmin]", "direction") * has_slope)]
    rows = [header]
    for row in table.rows:
        cells = [row.array, row.filter, row.pupil, describe_value(row.offset, row.offset_error)]
        if has_slope:
            direction = "" if row.slope is None else f"{table.direction(row):g} deg"
            cells += [describe_value(row.slope, row.slope_error), direction]
        rows.append(cells)
    return align(rows)


def _section(title, lines):
    return ["", title, *(f"  {line}" for line in lines)] if lines else []


def _describe_derivation(derivation):
    """Say on how much a derived table rests."""
    if "exposures" in derivation and "epochs" in derivation:
        yield f"{len(derivation['exposures'])} exposures of {len(derivation['epochs'])} epochs"
    for name, other in derivation.get("tables", {}).items():
        yield from (f"{name}: {line}" for line in _describe_derivation(other))
    for band in derivation.get("bands", ()):
        name = band.get("filter", "?") + ("" if band.get("pupil") in (None, "CLEAR") else f"+{band['pupil']}")
        if band.get("failure"):
            yield f"{name}: left out: {band['failure']}"
        elif "sources" in band:
            scatter = 1e3 * band.get("intrinsic_scatter_mag", 0.0)
            per_dof = band["chi2"] / max(band["degrees_of_freedom"], 1)
            yield (
                f"{name}: {band['sources']} sources, {band['measurements']} measurements; intrinsic scatter "
                f"{scatter:.2f} mmag; chi2 / degrees of freedom {per_dof:.2f}"
            )
