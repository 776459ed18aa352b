"""One page that works offline: results in words and numbers, and the figures."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from jwst_modfix.derivation.bands import BandResult
from jwst_modfix.derivation.derive import Derivation
from jwst_modfix.derivation.provenance import describe_derivation
from jwst_modfix.photometry.frames import ExposureHeader
from jwst_modfix.report.figures import Picture, draw_band, draw_overview
from jwst_modfix.text import count_nouns, format_measured

_RESOLUTION = 150  # dots per inch
_PIXELS = 96  # of the page, per inch


def write_report(derivation: Derivation, page: Path) -> list[Path]:
    """Write the page and, beside it, its figures as PNG and PDF files."""
    names = derivation.epochs.names
    drawn = {"": draw_overview(derivation)}
    drawn |= {band.name: draw_band(band, names) for band in derivation.bands if band.solution is not None}
    figures: dict[str, list[dict[str, Any]]] = {}
    files: list[Path] = []
    for group, pictures in drawn.items():
        stems = ["_".join(part for part in (page.stem, group.replace("+", "_"), p.name) if part) for p in pictures]
        figures[group] = [_save(p, page.with_name(stem), files) for p, stem in zip(pictures, stems, strict=True)]
    page.write_text(_render(derivation, figures), encoding="utf-8")
    return [page, *files]


def _save(picture: Picture, stem: Path, files: list[Path]) -> dict[str, Any]:
    """Save a figure as PNG and PDF, and return what the page needs of it."""
    buffer = io.BytesIO()
    picture.figure.savefig(buffer, format="png", dpi=_RESOLUTION)
    png, pdf = (stem.with_name(stem.name + suffix) for suffix in (".png", ".pdf"))
    png.write_bytes(buffer.getvalue())
    picture.figure.savefig(pdf, format="pdf")
    files += [png, pdf]
    return {
        "png": base64.b64encode(buffer.getvalue()).decode("ascii"), "name": picture.name, "words": picture.words,
        "file": png.name, "width": round(_PIXELS * picture.figure.get_figwidth()),
    }  # fmt: skip


def _render(derivation: Derivation, figures: dict[str, list[dict[str, Any]]]) -> str:
    """Fill the template; text from headers is escaped."""
    source = (resources.files("jwst_modfix.report") / "template.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"measured": format_measured, "count": count_nouns}
    return environment.from_string(source).render(
        derivation=derivation,
        described=describe_derivation(derivation),
        bands=[_describe_band(band, derivation.epochs.names) for band in derivation.bands],
        figures=figures,
        calibrations=list(_describe_calibrations(derivation.headers)),
    )


def _describe_band(band: BandResult, epoch_names: Sequence[str]) -> dict[str, Any]:
    """Collect the content of the page for one filter, in addition to its `BandResult`."""
    known: dict[str, Any] = {
        "of": band,
        "residuals": {residual.array: residual for residual in band.residuals},
        "sky": {sky.array: sky for sky in band.sky},
        "pairs": {array: [(name, *p.value(name)) for name in p.names] for array, p in band.pairs.items()},
    }
    if band.solution is not None:
        known["rejected"] = np.bincount(band.solution.rejected, minlength=4).tolist()
        known["epochs"] = [(epoch_names[e], *value) for e, value in band.solution.epoch_terms().items()]
        words = [s.term.words if s.term.epoch is None else f"{s.term.words} ({epoch_names[s.term.epoch]})"
                 for s in band.solution.status]  # fmt: skip
        known["terms"] = list(zip(words, band.solution.status, strict=True))
    if band.bootstrap is not None:
        known["bootstrap"] = list(zip(band.bootstrap.names, band.bootstrap.ratio, strict=True))
    return known


def _describe_calibrations(headers: Sequence[ExposureHeader]) -> Iterator[tuple[str, str]]:
    """List the values of each calibration keyword."""
    for keyword, field in (("CRDS_CTX", "context"), ("R_PHOTOM", "photom"), ("R_FLAT", "flat"), ("S_MODOFF", "status")):
        values = sorted({str(getattr(header, field) or "not given") for header in headers})
        yield keyword, ", ".join(values)
