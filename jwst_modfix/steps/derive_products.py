"""The files that a derivation leaves: the reference file, the measurements and the report."""

import importlib.util
import tempfile
from pathlib import Path

from jwst_modfix.derivation.derive import annotate_measurements
from jwst_modfix.errors import ModuleOffsetError

__all__ = ["write_products"]

_PARQUET = ("pandas", "pyarrow")  # astropy asks for both
_LARGE = 200_000  # measurements: reading as many from text takes seconds


def write_products(derivation, model, folder, *, report=True):
    """
    Write all products into a hidden folder, and put them in place when they are complete.

    Parameters
    ----------
    derivation : Derivation
        The derivation.
    model : ModuleOffsetModel
        Its reference file.
    folder : pathlib.Path
        Where the files shall stand.
    report : bool, optional
        Whether to write the report and its figures.

    Returns
    -------
    list of pathlib.Path
        The files, the reference file first.

    Raises
    ------
    ModuleOffsetError
        A product would overwrite a catalogue that was read.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix=".modfix.") as name:
        partial = Path(name)
        written = [Path(model.save(partial / derivation.table.name))]
        written.append(_write_measurements(derivation, partial / f"{derivation.product}_modfix_measurements"))
        if report:
            from jwst_modfix.report.page import write_report

            written += write_report(derivation, partial)
        targets = [folder / path.name for path in written]
        _refuse_inputs(targets, derivation.options.catalogs)
        for path, target in zip(written, targets, strict=True):
            path.replace(target)
    return targets


def _write_measurements(derivation, stem):
    table = annotate_measurements(derivation)
    if len(table) > _LARGE and all(map(importlib.util.find_spec, _PARQUET)):
        path = stem.with_name(stem.name + ".parquet")
        table.write(path, format="parquet")
    else:
        path = stem.with_name(stem.name + ".ecsv")
        table.write(path, format="ascii.ecsv")
    return path


def _refuse_inputs(targets, catalogs):
    inputs = {Path(path).resolve() for path in catalogs}
    for target in targets:
        if target.resolve() in inputs:
            raise ModuleOffsetError(f"{target}: is an input, which is never overwritten: set output_dir")
