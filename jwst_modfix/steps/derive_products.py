"""The files that a derivation leaves: the reference file, the measurements and the report."""

import contextlib
import importlib.util
from pathlib import Path

from jwst_modfix.derivation.derive import annotate_measurements
from jwst_modfix.errors import ModuleOffsetError
from jwst_modfix.files import check_writable, explained, part_folder, remove_leftovers

__all__ = ["write_products"]

_PARQUET = ("pandas", "pyarrow")  # astropy asks for both
_LARGE = 200_000  # measurements: reading as many from text takes seconds


def write_products(derivation, model, folder, *, report=True):
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


def _write_all(derivation, model, partial, folder, *, report):
    """Write into the hidden folder, and name a file that fails by the place where it would have stood."""
    with explained(folder / derivation.table.name):
        written = [Path(model.save(partial / derivation.table.name))]
    stem = f"{derivation.product}_modfix_measurements"
    with explained(folder / stem):
        written.append(_write_measurements(derivation, partial / stem))
    if report:
        from jwst_modfix.report.page import write_report

        with explained(folder / f"{derivation.product}_modfix_report.html"):
            written += write_report(derivation, partial)
    return written


def _write_measurements(derivation, stem):
    table = annotate_measurements(derivation)
    if len(table) > _LARGE and all(map(importlib.util.find_spec, _PARQUET)):
        path = stem.with_name(stem.name + ".parquet")
        table.write(path, format="parquet")
    else:
        path = stem.with_name(stem.name + ".ecsv")
        with path.open("w", encoding="utf-8") as stream:  # which astropy would leave open where the disk is full
            table.write(stream, format="ascii.ecsv")
    return path


def _refuse_inputs(targets, catalogs):
    inputs = {Path(path).resolve() for path in catalogs}
    for target in targets:
        if target.resolve() in inputs:
            raise ModuleOffsetError(f"{target}: is an input, which is never overwritten: set output_dir")
