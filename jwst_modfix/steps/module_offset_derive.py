"""Derive the table of module offsets from exposures: a function and a step."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from jwst_modfix.derivation.derive import Derivation, Members, Options, derive_members, list_results
from jwst_modfix.errors import AssociationError, MeasurementsError
from jwst_modfix.files import check_targets, check_writable, explained, part_folder, remove_leftovers
from jwst_modfix.fitting.stability import describe_drifts
from jwst_modfix.jobs import Cache, Workers
from jwst_modfix.photometry.columns import write_measurements
from jwst_modfix.steps.associations import Association, is_science
from jwst_modfix.steps.resample import make_mosaics
from jwst_modfix.steps.runs import OfflineStep, name_inputs, read_input, shorten
from jwst_modfix.table.file import expand
from jwst_modfix.table.model import ModuleOffsetModel
from jwst_modfix.text import annotate, log_result

__all__ = ["ModuleOffsetDeriveStep", "derive"]

SUFFIX = "moduleoffset"


def derive(
    exposures: Any,
    *,
    workers: int = 1,
    scheduler: str | None = None,
    cache: str | Path | None = None,
    **options: Any,
) -> Derivation:
    """
    Derive the table of module offsets from exposures that overlap on the sky.

    Parameters
    ----------
    exposures : str, pathlib.Path, Mapping, Association or list
        An association of ``_cal`` files, or files.
    workers : int, optional
        Processes that measure exposures; 0 for one on each core.
    scheduler : str, optional
        Address of the scheduler of a Dask cluster that measures exposures.
    cache : str or pathlib.Path, optional
        Folder that keeps the photometry of each exposure, for a repeated run.
    **options : dict
        Parameters of `~jwst_modfix.derivation.derive.Options`.

    Returns
    -------
    Derivation
        The table, the measurements and the solutions; nothing is written.

    Raises
    ------
    ModuleOffsetError
        An exposure, a catalogue or an option cannot be used, or no filter determines an offset.
    """
    chosen, folder = Options(**options), None if cache is None else Cache(Path(cache))
    return derive_members(
        find_members(exposures), chosen, make_mosaics=make_mosaics, cache=folder,
        workers=Workers(count=workers, scheduler=scheduler),
    )  # fmt: skip


class ModuleOffsetDeriveStep(OfflineStep):
    """
    Derive offsets and gradients of NIRCam's modules from overlapping exposures.

    Input is an association of ``_cal`` files, or a list of them, of one epoch or more; output is the reference file
    that `~jwst_modfix.ModuleOffsetStep` applies, a table of the measurements and a report.

    The model is that of Ma et al. (2023): ``m = M + z + g u + t`` for each source and exposure.
    """

    class_alias = "module_offset_derive"
    _pages: Sequence[Path] = ()  # that were written

    spec = """
    photometry = option('exposure', 'mosaic', 'catalog', default='exposure')  # Measure sources in single exposures, in mosaics of each epoch and array (the published method), or read your own photometry
    catalogs = force_list(default=None)  # Tables (ECSV, FITS, parquet) of your own photometry of single exposures, with photometry='catalog'
    method = option('network', 'pairs', 'sky', default='network')  # One robust fit of all measurements; medians and fits of pairs of epochs (the published method); or with scale='detectors' sky levels, with a floor of 15 mmag
    scale = option('modules', 'detectors', default='modules')  # What gets a zero point: the modules (offset and slope of each array, as published), or every linked detector
    field_order = option('0', '1', '2', '3', 'auto', default='0')  # With scale='detectors': order of a polynomial over each detector; auto takes the lowest for which no higher one predicts the reserved sources better
    exposure_terms = option('auto', 'fit', 'zero', default='auto')  # A term for each exposure instead of its epoch's: where it costs nothing; where it is separable; zero
    drift = option('report', 'fit', 'no', default='report')  # Changes of single detectors between epochs: reported; fitted, with scale=detectors; or not
    fit_slope = option('long', 'all', 'none', default='long')  # Arrays with a gradient across the field: long wavelength, all, none; with scale='detectors' their field_order is 1 or more
    fit_direction = boolean(default=False)  # Fit the direction of each gradient too, instead of taking +V2
    time_term = option('auto', 'fit', 'zero', default='auto')  # A term for each epoch: fitted, and reported where the data do not require it; fitted; zero
    baseline = option('B', 'A', 'mean', 'NRCA1', 'NRCA2', 'NRCA3', 'NRCA4', 'NRCALONG', 'NRCB1', 'NRCB2', 'NRCB3', 'NRCB4', 'NRCBLONG', default='B')  # Whose flux scale is kept: a module's, the mean, or with scale='detectors' that of one detector
    significance = float(default=3.0)  # Gaussian sigmas from which a correction is needed; rows have the values as measured, whatever the verdict
    epoch_gap_days = float(default=30.0)  # Longest time between exposures of one epoch [day], where the association names no epochs
    epoch_roll_tolerance = float(default=5.0)  # Largest difference of roll within one epoch [deg], where the association names no epochs
    min_snr = float(default=100.0)  # Smallest signal to noise of a source
    faintest = float(default=22.0)  # Faintest magnitude of a source [AB]
    isolation = float(default=None)  # Smallest distance to the nearest source of a tenth of the flux or more [arcsec]; by default 1.0, and no limit with photometry='catalog'
    compactness = float(default=None)  # Smallest share of the flux within half the aperture's radius; by default no limit
    reserve_share = float(default=0.2)  # Share of the sources that is reserved for validation
    seed = integer(default=1)  # Seed of the choice of reserved sources and of the bootstrap
    bootstrap = integer(default=0)  # Draws of a bootstrap over sources, to check the errors; 0 for none
    aperture = option('r', 'large', 'extrapolated', default='r')  # Magnitudes in the aperture of 0.30" (short) or 0.45" (long wavelengths), in 1.5 times that, or extrapolated from both
    colour_term = boolean(default=False)  # Fit the dependence of A - B on the colour of the sources, where they are measured in a second filter; offsets hold at the median colour
    allow_mixed = boolean(default=False)  # Accept exposures that were calibrated differently, or of which only some were corrected
    compare = string(default=None)  # Table of offsets (ASDF) that the report compares with, besides the packaged one
    workers = integer(default=1)  # Processes that measure exposures; 0 for one on each core
    scheduler = string(default=None)  # Address of the scheduler of a Dask cluster that measures exposures, instead of processes on this machine
    cache = string(default=None)  # Folder that keeps the photometry of each exposure for later runs, or 'no'; by default, if results are saved, <product>_modfix_cache beside the association
    report = boolean(default=True)  # Write the report and its figures beside the reference file
    suffix = string(default='moduleoffset')  # Suffix of the reference file
    output_ext = string(default='.asdf')  # A reference file is an ASDF file
    """  # noqa: E501

    def process(self, input_data: Any = None, *more: str) -> ModuleOffsetModel:
        """
        Derive the table.

        Parameters
        ----------
        input_data : str, pathlib.Path, Mapping, Association or list
            An association, or files.
        *more : str
            More files.

        Returns
        -------
        ModuleOffsetModel
            The reference file in memory.

        Raises
        ------
        ModuleOffsetError
            A member, a catalogue or a parameter breaks a rule, or nothing can be derived; nothing has been written.
        """
        catalogs = tuple(str(self.make_input_path(path)) for path in self.catalogs or ())
        options = Options(**{f.name: getattr(self, f.name) for f in fields(Options)} | {"catalogs": catalogs})
        if self.save_results:
            check_writable(self._folder)
        members = find_members([input_data, *more] if more else input_data, self.make_input_path)
        # Results are kept in the user's folder, or in one beside the association or the products.
        folder = members.folder if members.folder and os.access(members.folder, os.W_OK) else self._folder
        is_kept = self.save_results or self.output_file
        cache = Cache(folder / f"{members.product}_modfix_cache") if is_kept else None
        if self.cache is not None:
            if self.cache.strip().lower() in ("", "yes", "true"):
                raise MeasurementsError(f"cache must be the name of a folder, or 'no'; got {self.cache!r}")
            cache = None if self.cache.lower() in ("no", "false") else Cache(expand(self.cache))
        if self.output_file:
            members = replace(members, product=Path(self.output_file).stem.removesuffix(f"_{SUFFIX}"))
        self._derivation = derive_members(
            members, options, make_mosaics=make_mosaics, workers=Workers(count=self.workers, scheduler=self.scheduler),
            cache=cache,
        )  # fmt: skip
        _summarize(self._derivation)
        return self._derivation.model

    def finalize_result(self, *_: Any) -> None:  # numpydoc ignore=PR01
        """Leave the reference file as it is: it has no metadata of an exposure."""

    def save_model(self, model: ModuleOffsetModel, suffix: Any = None, idx: Any = None, output_file: Any = None,
                   force: bool = False, **components: Any) -> str | None:  # numpydoc ignore=PR01,RT01 # fmt: skip
        """Write table, measurements and report, all or none; return the first path."""
        if not (force or self.save_results or output_file or self.output_file):
            return None
        paths = write_products(self._derivation, model, self._folder, report=self.report)
        self._pages = [path for path in paths if path.suffix not in (".pdf", ".png")]
        return str(paths[0])

    def conclude(self, given: Sequence[Any]) -> None:  # numpydoc ignore=PR01
        """Log what was written, and how to apply it."""
        if not self._pages:
            return
        log_result(f"Wrote {', '.join(path.name for path in self._pages)}")
        for page in self._pages:
            if page.suffix == ".html":
                log_result(f"Report: {shorten(page)}", is_whole=True)
        table = f"--override_moduleoffset={shlex.quote(shorten(self._pages[0]))}"
        log_result(f"Apply with: strun module_offset {name_inputs(given, 'ASN')} {table}", is_whole=True)

    @property
    def _folder(self) -> Path:
        return Path(self.make_output_path(basepath="any.asdf")).parent.absolute()


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
            written.append(write_measurements(derivation.measurements, partial / stem))
        if report:
            page = f"{derivation.product}_modfix_report.html"
            with explained(folder / page):
                written += derivation.report(partial / page)
        targets = [folder / path.name for path in written]
        options = derivation.options
        check_targets(targets, [*options.catalogs, expand(options.compare or "packaged", is_table=True)])
        for path, target in reversed(list(zip(written, targets, strict=True))):
            with explained(target):
                path.replace(target)
    return targets


def _summarize(derivation: Derivation) -> None:
    """Log warnings, and the table of results."""
    for band in derivation.bands:
        for warning in band.warnings:
            log_result(warning, logging.WARNING)
        if band.failure:
            log_result(f"{band.name} gets no row in the table: {band.failure}", logging.WARNING)
    for band in derivation.bands:
        for sentence in describe_drifts(band.drifts):
            log_result(f"{band.name}: {sentence}")
        for remark in () if band.solution is None else (*band.solution.remarks, band.colour_words):
            if remark:
                log_result(f"{band.name}: {remark}")
    log_result("Results:")
    head, *rows = list_results(derivation)
    # Names of columns in two lines, to fit a terminal: what, and its unit.
    heads = [name.replace("effective", "eff.").rpartition(" ") for name in head]
    names = [
        [first or last for first, _, last in heads],
        [last if first else "" for first, _, last in heads[:-1]] + [""],
    ]
    for line in annotate([*names, *rows], right=[4]):
        log_result(line)


def find_members(given: Any, locate: Callable[[str], str | Path] = Path) -> Members:
    """Find the files that an input names: an association, files or folders."""
    found = read_input(given, locate)
    if isinstance(found, Association):
        epochs = {found.path(m["expname"]): m.get("epoch") for m in found.members if is_science(m)}
        product = re.sub("_modfix$", "_corrected", Path(found.content["products"][0]["name"]).name)
        return Members(tuple(epochs), tuple(epochs.values()), product, str(found.source or found.stem),
                       found.source and found.source.parent)  # fmt: skip
    paths = [found] if isinstance(found, Path) else found
    if not isinstance(paths, list) or not all(isinstance(path, Path) for path in paths):
        raise AssociationError("input must be an association, files or folders of exposures; got data models in memory")
    paths = tuple(dict.fromkeys(paths))
    return Members(
        paths, (None,) * len(paths), "derived", str(given) if isinstance(given, str | Path) else "list of files"
    )
