"""Outputs: names that can be written, never an input's, and what is finished."""

from __future__ import annotations

import contextlib
import io
import json
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.io import fits
from astropy.table import Table

from jwst_modfix.apply.decide import Correction, Output
from jwst_modfix.apply.record import job_card
from jwst_modfix.errors import AssociationError, ExposureError, OutputError
from jwst_modfix.exposure import JOB_KEYWORD, open_exposure
from jwst_modfix.files import check_writable, explained, find_existing, identify, part_folder, remove_leftovers
from jwst_modfix.steps.associations import read_association
from jwst_modfix.text import log

if TYPE_CHECKING:
    from jwst_modfix.derivation.derive import Derivation
    from jwst_modfix.table.model import ModuleOffsetModel

_MAX_NAME = 255  # bytes, of most file systems
_ENDS = (".fits", ".asdf", "_asn.json")
_LARGE = 200_000  # measurements: as many take seconds to read from text
_PIECE = 100_000  # rows written at once, which bounds the memory
_BLOCK = 2880  # bytes, of a FITS file


def check_targets(
    targets: Collection[Path], inputs: Iterable[Any], *, ends: tuple[str, ...] = ("",), allow_existing: bool = True
) -> None:
    """Refuse outputs that cannot be written, or would overwrite each other or inputs."""
    protected, bad, problems = set(map(identify, inputs)) - {None}, [], []
    # Two names that differ in case only are one file on some systems.
    counts = Counter((target.parent, target.name.lower()) for target in targets)
    for target in dict.fromkeys(targets):
        count = counts[target.parent, target.name.lower()]
        if not target.name.endswith(ends):
            bad.append(f"{target}: outputs are .fits or .asdf files; set output_ext to one of them")
        elif target.suffix == ".fits" and not (target.name.isascii() and target.name.isprintable()):
            bad.append(f"{target}: a FITS header holds names of printable ASCII only; rename the input")
        elif len(target.name.encode("utf-8", "surrogateescape")) > _MAX_NAME:
            bad.append(f"{target}: the name has more than {_MAX_NAME} bytes; rename the input")
        if count > 1:
            problems.append(f"{target} would be written for {count} exposures")
        if identify(target) in protected:
            problems.append(f"{target} is an input, which is never overwritten")
    if bad:
        raise OutputError("; ".join(bad))
    if problems:
        raise AssociationError(problems=[*problems[:-1], f"{problems[-1]}: set output_dir or suffix"])
    existing = [] if allow_existing else find_existing(targets)
    if existing:
        exist = "exists" if len(existing) == 1 else "exist"
        raise OutputError(f"{', '.join(existing)}: {exist}, and on_existing is 'error'")


def plan_outputs(
    sources: Iterable[Path | None],
    targets: Collection[Path],
    protected: Iterable[Any],
    correction: Correction,
    on_existing: str,
    product: Path | None = None,
) -> dict[Path, Output]:
    """Find which outputs are finished; prepare the folders of the others.

    ``sources`` are files, or None for models in memory; ``product`` is the association of the outputs.
    """
    everything = [*targets, *([product] if product else [])]
    check_targets(everything, protected, ends=_ENDS, allow_existing=on_existing != "error")
    outputs: dict[Path, Output] = {}
    folders: dict[Path, set[str]] = {}
    for source, target in zip(sources, targets, strict=True):
        job = None
        if source is not None:
            with contextlib.suppress(OSError, ValueError):  # reported when it is opened
                status = source.stat()
                job = f"{correction.identity} {source.name} {status.st_size} {status.st_mtime_ns}"
        reason = _find_unfinished(target, job) if on_existing == "skip" and find_existing([target]) else "-"
        folders.setdefault(target.parent, set()).update([target.name] if reason else [])
        if len(reason) > 1:
            log.info("%s is written again: %s", target, reason)
        if source is not None:
            outputs[source] = Output(target, job, is_finished=not reason)
    for folder, unfinished in folders.items():
        if unfinished:
            check_writable(folder)
            _refuse_mixtures(folder, unfinished, correction.identity, product)
        for path in remove_leftovers([folder]):
            log.info("Removed %s, which a run that was killed had left", path)
    return outputs


def _find_unfinished(target: Path, job: str | None) -> str:
    """Find why a file is not the finished output of a job; empty where it is."""
    if job is None:
        return "an exposure in memory does not say what file it is"
    if target.suffix != ".fits":
        return "only a FITS file says what it is the output of"
    try:
        with open_exposure(target):
            return _find_foreign(target, job)
    except ExposureError as error:
        return str(error).removeprefix(f"{target}: ")


def _find_foreign(target: Path, job: str | None) -> str:
    header = _read_header(target)
    if JOB_KEYWORD not in header:
        return f"it has no {JOB_KEYWORD}, so nothing says what it is the output of"
    if header[JOB_KEYWORD] != job_card(str(job), header)[1] or header.get("FILENAME") != target.name:
        return "it is of another input, table, parameter or version, or was changed or saved again since"
    return ""


def _read_header(target: Path) -> fits.Header:
    try:
        return fits.getheader(target)
    except (OSError, fits.VerifyError, ValueError):  # no FITS file, or none any more
        return fits.Header()


def refuse_replaced(outputs: Iterable[Output]) -> None:
    """Refuse outputs that another run has replaced by others."""
    replaced = [
        str(out.path) for out in outputs if out.path.suffix == ".fits" and _find_foreign(out.path, str(out.job))
    ]
    if replaced:
        raise OutputError(
            f"{', '.join(replaced)}: replaced or removed by another run meanwhile, so no association is written: "
            "give each run its own output_dir"
        )


def _refuse_mixtures(folder: Path, names: Collection[str], correction: str, product: Path | None) -> None:
    """Refuse to mix outputs of two corrections in one association of the folder."""
    for path in sorted(folder.iterdir()):
        # The own one is withdrawn with the first output that is replaced, and written again at the end.
        if path.suffix.lower() != ".json" or path == product:
            continue
        try:
            association = read_association(path)
        except AssociationError:
            continue
        members = [member for member in association.science if identify(member.parent) == identify(folder)]
        shared = sorted({member.name for member in members}.intersection(names))
        others = [
            member.name
            for member in members
            if identify(member) and str(_read_header(member).get(JOB_KEYWORD)).partition("-")[0] != correction
        ]
        if shared and others:
            others.sort(key=shared.__contains__)  # name one that stays, where there is one
            raise OutputError(
                f"{path}: names {', '.join(shared)}, to be written now, and {others[0]} of another table, parameters "
                f"or version: set output_dir, or remove {path.name}"
            )


def write_products(
    derivation: Derivation, model: ModuleOffsetModel, folder: Path, *, report: bool = True
) -> list[Path]:
    """Write all products to a hidden folder, then move them, the reference file last."""
    check_writable(folder)
    reference = folder / derivation.table.name
    remove_leftovers([folder])
    with contextlib.ExitStack() as stack:
        with explained(reference):
            partial = stack.enter_context(part_folder(folder))
            written = [Path(model.save(partial / reference.name))]
        stem = f"{derivation.product}_modfix_measurements"
        with explained(folder / stem):
            written.append(_write_measurements(derivation.measurements, partial / stem))
        if report:
            page = f"{derivation.product}_modfix_report.html"
            with explained(folder / page):
                written += derivation.report(partial / page)
        targets = [folder / path.name for path in written]
        check_targets(targets, derivation.options.catalogs)
        for path, target in reversed(list(zip(written, targets, strict=True))):
            with explained(target):
                path.replace(target)
    return targets


def _write_measurements(table: Table, stem: Path) -> Path:
    if len(table) <= _LARGE:
        path = stem.with_name(stem.name + ".ecsv")
        with path.open("w", encoding="utf-8") as stream:  # which astropy leaves open if the disk is full
            table.write(stream, format="ascii.ecsv")
        return path
    from jwst_modfix.derivation.joined import FITS_META  # which needs scipy

    path, n = stem.with_name(stem.name + ".fits"), len(table)
    # A header has no place for lists and dicts.
    first = Table(table[:1], meta={FITS_META: json.dumps(table.meta)})
    hdu, buffer = fits.table_to_hdu(first, character_as_bytes=True), io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(buffer)  # the primary HDU is one block
    hdu.header["NAXIS2"] = n
    # astropy would copy the columns several times, those of text value by value.
    record = np.empty(min(n, _PIECE), hdu.data.dtype.newbyteorder(">"))
    with path.open("wb") as stream:
        stream.write(buffer.getbuffer()[:_BLOCK])
        stream.write(hdu.header.tostring().encode("ascii"))
        for start in range(0, n, _PIECE):
            piece = record[: n - start]
            for name in table.colnames:
                values = np.asarray(table[name])[start : start + _PIECE]
                piece[name] = np.where(values, ord("T"), ord("F")) if values.dtype == bool else values
            stream.write(piece.data)
        stream.write(bytes(-n * record.itemsize % _BLOCK))
    return path
