"""The files that a derivation leaves: the reference file, the measurements and the report."""

from __future__ import annotations

import contextlib
import importlib.util
from pathlib import Path

from jwst_modfix.derivation.derive import Derivation
from jwst_modfix.errors import ModuleOffsetError
from jwst_modfix.files import check_writable, explained, part_folder, remove_leftovers
from jwst_modfix.table.model import ModuleOffsetModel

__all__ = ["write_products"]

_PARQUET = ("pandas", "pyarrow")  # astropy needs both
_LARGE = 200_000  # measurements: as many take seconds to read from text


def write_products(
    derivation: Derivation, model: ModuleOffsetModel, folder: Path, *, report: bool = True
) -> list[Path]:
    """Write all products to a hidden folder, then move them into place, the reference file last."""
    check_writable(folder)
    reference = folder / derivation.table.name
    remove_leftovers([folder])
    with contextlib.ExitStack() as stack:
        with explained(reference):
            partial = stack.enter_context(part_folder(folder))
        written = _write_all(derivation, model, partial, folder, report=report)
        targets = [folder / path.name for path in written]
        _refuse_inputs(targets, derivation.options.catalogs)
        for path, target in reversed(list(zip(written, targets, strict=True))):
            with explained(target):
                path.replace(target)
    return targets


def _write_all(
    derivation: Derivation, model: ModuleOffsetModel, partial: Path, folder: Path, *, report: bool
) -> list[Path]:
    """Write into the hidden folder; an error names the place where the file would be."""
    with explained(folder / derivation.table.name):
        written = [Path(model.save(partial / derivation.table.name))]
    stem = f"{derivation.product}_modfix_measurements"
    with explained(folder / stem):
        written.append(_write_measurements(derivation, partial / stem))
    if report:
        page = f"{derivation.product}_modfix_report.html"
        with explained(folder / page):
            written += derivation.report(partial / page)
    return written


def _write_measurements(derivation: Derivation, stem: Path) -> Path:
    table = derivation.measurements
    if len(table) > _LARGE and all(map(importlib.util.find_spec, _PARQUET)):
        path = stem.with_name(stem.name + ".parquet")
        table.write(path, format="parquet")
    else:
        path = stem.with_name(stem.name + ".ecsv")
        with path.open("w", encoding="utf-8") as stream:  # which astropy leaves open if the disk is full
            table.write(stream, format="ascii.ecsv")
    return path


def _refuse_inputs(targets: list[Path], catalogs: tuple[str, ...]) -> None:
    inputs = {Path(path).resolve() for path in catalogs}
    for target in targets:
        if target.resolve() in inputs:
            raise ModuleOffsetError(f"{target}: is an input, which is never overwritten: set output_dir")
