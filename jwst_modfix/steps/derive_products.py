"""Files of a derivation: the reference file, the measurements and the report."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table

from jwst_modfix.derivation.derive import Derivation
from jwst_modfix.derivation.joined import FITS_META
from jwst_modfix.files import check_writable, explained, part_folder, remove_leftovers
from jwst_modfix.steps.outputs import check_targets
from jwst_modfix.table.model import ModuleOffsetModel

_LARGE = 200_000  # measurements: as many take seconds to read from text
_PIECE = 100_000  # rows written at once, which bounds the memory
_BLOCK = 2880  # bytes, of a FITS file


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
