"""A table in words and columns, at most 78 wide."""

from collections.abc import Iterator, Mapping
from typing import Any

from jwst_modfix.table.table import OffsetRow, OffsetTable, Row, Validity
from jwst_modfix.table.validity import contexts_in_words
from jwst_modfix.text import align, count_nouns, describe_band, wrap

_FRAMES = {
    "focal_plane": ("V2, V3", "from +V3 toward +V2", "arcsec"),
    "detector": ("x, y", "from +x toward +y of the detector", "pixel"),
    "sky": ("RA, Dec", "east of north", "deg"),
}


def describe_table(table: OffsetTable, path: str) -> list[str]:
    """Describe a table: what it is, its rows, and how it was made."""
    meta = table.meta
    facts = [
        ("file", path),
        ("hash", f"{table.digest} (of the numbers, as in MODFHASH)"),
        *((name, str(meta[name])) for name in ("author", "pedigree", "useafter") if name in meta),
        ("valid for", describe_validity(table.valid_for)),
        ("baseline", _describe_baseline(table)),
    ]
    if gradient := table.gradient:
        names, sense, unit = _FRAMES[gradient.frame]
        first, second = gradient.origin
        place, share = f"{names} = {first:g}, {second:g} {unit}", f"{gradient.exposure_share:g} of slope"
        facts += [
            ("gradient", f"fixed to the {gradient.frame}; grows toward {gradient.direction:g} deg ({sense})"),
            ("", f"zero at {place}; one exposure has {share}"),
        ]
    lines = [line for name, fact in facts for line in wrap(fact, f"  {name:11}", " " * 13)]
    return [
        *wrap(str(meta.get("description", table.name))),
        "",
        *lines,
        "",
        *_describe_rows(table),
        *_section("history", meta.get("history")),
        *_section("derivation", list(_describe_derivation(meta.get("derivation", {})))),
    ]


def describe_value(value: float | None, error: float | None) -> str:
    """Write a value in mag as mmag, with its error."""
    known = "" if error is None else f" ± {1e3 * error:.2f}"
    return "" if value is None else f"{1e3 * value:+z7.2f}{known}"


def describe_validity(validity: Validity) -> str:
    """Describe the calibration that a table is valid for."""
    parts = [
        contexts_in_words(validity) and f"CRDS context {contexts_in_words(validity)}",
        validity.photom and f"photom {', '.join(validity.photom)}",
        validity.flat and f"flat {', '.join(validity.flat)}",
    ]
    return "; ".join(part for part in parts if part) or "any calibration (it names none)"


def _describe_baseline(table: OffsetTable) -> str:
    kept = table.baseline
    if kept is None:
        return "none: zero points as they were published"
    if table.zero_points:
        kept = {"mean": "all detectors", "A": "module A's detectors", "B": "module B's detectors"}.get(kept, kept)
        return f"{table.baseline}: the mean flux scale of {kept} is kept"
    if kept == "mean":
        return "mean: both modules are brought to the mean of their flux scales"
    return f"{kept}: the flux scale of module {kept} is kept"


_HEADERS = {
    "offset": ["array", "filter", "pupil", "subarray", "offset A - B [mmag]", "slope [mmag/arcmin]", "direction"],
    "zero_point": ["detector", "filter", "pupil", "subarray", "zero point [mmag]", "field [mmag rms]", "group"],
}


def _describe_rows(table: OffsetTable) -> list[str]:
    """List the rows of each kind in columns; a column that no row fills is left out."""
    lines: list[str] = []
    for kind in dict.fromkeys(row.kind for row in table.rows) or ["offset"]:
        rows = [_HEADERS[kind], *(list(_cells(table, row)) for row in table.rows if row.kind == kind)]
        columns = [column for column in zip(*rows, strict=True) if any(column[1:]) or len(rows) == 1]
        lines += [*([""] if lines else []), *align(list(zip(*columns, strict=True)))]
    return lines


def _cells(table: OffsetTable, row: Row) -> Iterator[str]:
    yield from (*row.key, row.subarray or "", describe_value(row.value, row.error))
    if isinstance(row, OffsetRow):
        yield describe_value(row.slope, row.slope_error)
        yield "" if row.slope is None else f"{table.direction(row):g} deg"
    else:
        error = "" if row.field_error is None else f" ± {1e3 * row.field_error:.1f}"
        yield "" if row.field is None else f"order {row.field.order}, {1e3 * row.field.rms:.1f}{error}"
        yield "" if row.group is None else str(row.group)


def _section(title: str, lines: list[str] | None) -> list[str]:
    return ["", title, *(part for line in lines for part in wrap(line, "  ", "    "))] if lines else []


def _describe_derivation(derivation: Mapping[str, Any]) -> Iterator[str]:
    """List the numbers of sources and measurements of a derived table."""
    if "exposures" in derivation and "epochs" in derivation:
        exposures, epochs = (count_nouns(len(derivation[f"{noun}s"]), noun) for noun in ("exposure", "epoch"))
        yield f"{exposures} of {epochs}"
    for name, other in derivation.get("tables", {}).items():
        yield from (f"{name}: {line}" for line in _describe_derivation(other))
    for band in derivation.get("bands", ()):
        name = describe_band(band.get("filter", "?"), band.get("pupil") or "CLEAR")
        if band.get("failure"):
            yield f"{name}: left out: {band['failure']}"
        elif "sources" in band:
            scatter = 1e3 * band.get("intrinsic_scatter_mag", 0.0)
            per_dof = band["chi2"] / max(band["degrees_of_freedom"], 1)
            counts = [count_nouns(band[f"{noun}s"], noun) for noun in ("source", "measurement")]
            yield (
                f"{name}: {', '.join(counts)}; intrinsic scatter "
                f"{scatter:.2f} mmag; chi2 / degrees of freedom {per_dof:.2f}"
            )
