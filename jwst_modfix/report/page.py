"""One page that needs no network: results in words and numbers, and the figures."""

import base64
import io
from dataclasses import asdict
from importlib import resources

import jinja2
import numpy as np

from jwst_modfix.derivation.provenance import describe_versions
from jwst_modfix.report.figures import draw_band, draw_overview

__all__ = ["render_page", "write_report"]

_RESOLUTION = 150  # dots per inch
_PIXELS = 96  # of the page, per inch


def write_report(derivation, folder):
    """Write the page and, beside it, its figures as PNG and PDF files."""
    stem = f"{derivation.product}_modfix_report"
    names = derivation.epochs.names
    drawn = {"": draw_overview(derivation)}
    drawn |= {band.name: draw_band(band, names) for band in derivation.bands if band.solution is not None}
    figures, files = {}, []
    for group, pictures in drawn.items():
        figures[group] = []
        for picture in pictures:
            name = "_".join(part for part in (stem, group.replace("+", "_"), picture.name) if part)
            png, paths = _save(picture.figure, folder / name)
            files += paths
            width = round(_PIXELS * picture.figure.get_figwidth())
            figures[group].append({"png": png, "caption": picture.caption, "file": paths[0].name, "width": width})
    page = folder / f"{stem}.html"
    page.write_text(render_page(derivation, figures), encoding="utf-8")
    return [page, *files]


def render_page(derivation, figures):
    """Fill the template; whatever comes from a header is escaped."""
    source = (resources.files("jwst_modfix.report") / "template.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["mmag"] = _in_milli
    return environment.from_string(source).render(
        derivation=derivation,
        bands=[_describe_band(band, derivation.epochs.names) for band in derivation.bands],
        figures=figures,
        epochs=_describe_epochs(derivation),
        options=asdict(derivation.options),
        versions=describe_versions(),
        calibrations=_describe_calibrations(derivation.headers),
        failed={rule: count for rule, count in derivation.selection.rejected.items() if count},
        selected=int(derivation.selection.mask.sum()),
        measured=len(derivation.selection.mask),
    )


def _save(figure, stem):
    """Save a figure twice, and give it as text for the page."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_RESOLUTION)
    paths = [stem.with_name(stem.name + suffix) for suffix in (".png", ".pdf")]
    paths[0].write_bytes(buffer.getvalue())
    figure.savefig(paths[1], format="pdf")
    return base64.b64encode(buffer.getvalue()).decode("ascii"), paths


def _in_milli(value):
    return "-" if value is None or not np.isfinite(value) else f"{1e3 * value:+.2f}"


def _describe_band(band, epoch_names):
    """Gather what the page says of a filter."""
    known = {"name": band.name, "failure": band.failure, "warnings": band.warnings, "results": band.results}
    known |= {"residuals": {r.array: r for r in band.residuals}, "sky": {s.array: s for s in band.sky}}
    known |= {"solution": band.solution, "module_slopes": band.module_slopes, "terms": [], "said": [], "epochs": []}
    known["pairs"] = {array: dict(zip(p.names, map(p.value, p.names), strict=True)) for array, p in band.pairs.items()}
    known["bootstrap"] = _ratios(band.bootstrap)
    if band.solution is not None:
        known["terms"] = [(_words(status.term, epoch_names), status) for status in band.solution.status]
        known["said"] = band.solution.links.sentences()
        known["epochs"] = list(band.solution.epoch_terms().items())
        known["rejected"] = np.bincount(band.solution.rejected, minlength=4).tolist()
    return known


def _words(term, epoch_names):
    return f"{term.words} ({epoch_names[term.epoch]})" if term.kind == "epoch" else term.words


def _ratios(bootstrap):
    return {} if bootstrap is None else dict(zip(bootstrap.names, bootstrap.ratio, strict=True))


def _describe_epochs(derivation):
    for number, name in enumerate(derivation.epochs.names):
        mine = [h for h, epoch in zip(derivation.headers, derivation.epochs.number, strict=True) if epoch == number]
        rolls = sorted({f"{header.roll:.1f}" for header in mine})
        yield {"name": name, "count": len(mine), "mjd": min(header.mjd for header in mine), "rolls": ", ".join(rolls)}


def _describe_calibrations(headers):
    """List the values of each calibration keyword."""
    for keyword, field in (("CRDS_CTX", "context"), ("R_PHOTOM", "photom"), ("R_FLAT", "flat"), ("S_MODOFF", "status")):
        values = sorted({str(getattr(header, field) or "not given") for header in headers})
        yield keyword, ", ".join(values)
