"""ModuleOffsetDeriveStep: derive the table of module offsets from a user's own exposures."""

from functools import partial
from pathlib import Path

from jwst_modfix.derivation.derive import Options, derive, read_members
from jwst_modfix.derivation.provenance import make_model
from jwst_modfix.files import check_writable
from jwst_modfix.jobs import Workers
from jwst_modfix.photometry import Cache, find_sources, find_wide_epochs, group_epochs, measure_sources, read_catalogues
from jwst_modfix.photometry.mosaics import measure_mosaics
from jwst_modfix.steps.derive_inputs import find_members
from jwst_modfix.steps.derive_products import write_products
from jwst_modfix.steps.offline import OfflineStep
from jwst_modfix.steps.resample import make_mosaics
from jwst_modfix.steps.summary import format_table
from jwst_modfix.text import get_logger, show_progress

__all__ = ["ModuleOffsetDeriveStep"]

log = get_logger(__name__)

SUFFIX = "moduleoffset"
# Sources this much fainter than the selection's limit are measured too, so that the limit cuts no one's half.
_MARGIN = 1.0  # mag


class ModuleOffsetDeriveStep(OfflineStep):
    """
    Derive the offsets between NIRCam's modules, and gradients, from exposures that overlap on the sky.

    Input is an association of ``_cal`` files, or a list of them, of one epoch or more; output is the reference file
    that `~jwst_modfix.ModuleOffsetStep` applies, a table of the measurements and a report.

    The model is that of Ma et al. (2023): ``m = M + z + g u + t`` for each source and exposure.
    """

    class_alias = "module_offset_derive"

    spec = """
    photometry = option('exposure', 'mosaic', 'catalog', default='exposure')  # Measure sources in single exposures, in mosaics of each epoch and array (the published way), or read a user's own photometry
    catalogs = force_list(default=None)  # Tables (ECSV, FITS, parquet) of your own photometry of single exposures, with photometry='catalog'
    method = option('network', 'pairs', default='network')  # One robust fit of all measurements, or medians and fits of pairs of epochs (the published way)
    fit_slope = option('long', 'all', 'none', default='long')  # Which arrays have a gradient across the field: long wavelength, all, none
    fit_direction = boolean(default=False)  # Fit the direction of each gradient too, instead of taking +V2
    time_term = option('auto', 'fit', 'zero', default='auto')  # A term for each epoch: yes, and say where the data do not demand it; yes; no
    baseline = option('B', 'A', 'mean', default='B')  # The module whose flux scale is kept
    significance = float(default=3.0)  # Gaussian sigmas from which an offset is non-zero in the reference file
    epoch_gap_days = float(default=30.0)  # Longest time between exposures of one epoch [day], where the association names no epochs
    epoch_roll_tolerance = float(default=5.0)  # Largest difference of roll within one epoch [deg], where the association names no epochs
    min_snr = float(default=100.0)  # Least signal to noise of a source
    faintest = float(default=22.0)  # Faintest magnitude of a source [AB]
    isolation = float(default=None)  # Least distance to the nearest source of a tenth of the flux or more [arcsec]; 1.0 unless given, and none with photometry='catalog'
    compactness = float(default=None)  # Least share of the flux within half the aperture's radius; any unless given
    reserve_share = float(default=0.2)  # Share of the sources kept out of the fit, for validation
    seed = integer(default=1)  # Seed of the choice of reserved sources and of the bootstrap
    bootstrap = integer(default=0)  # Draws of a bootstrap over sources, to check the errors; 0 for none
    allow_mixed = boolean(default=False)  # Take exposures that were calibrated differently, or of which only some were corrected
    workers = integer(default=1)  # Processes that measure exposures; 0 for one on each core
    scheduler = string(default=None)  # Address of the scheduler of a Dask cluster that measures exposures, instead of processes on this machine
    cache = boolean(default=None)  # Keep the photometry of each exposure in <product>_modfix_cache, for a run that is killed or repeated? Unless given, where results are saved
    report = boolean(default=True)  # Write the report and its figures beside the reference file?
    suffix = string(default='moduleoffset')  # Suffix of the reference file
    output_ext = string(default='.asdf')  # A reference file is an ASDF file
    """  # noqa: E501

    def process(self, input_data, *more):
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
        options = self._options()
        if self.save_results:
            check_writable(self._folder())
        members = find_members([input_data, *more] if more else input_data, self.make_input_path)
        workers = Workers(count=self.workers, scheduler=self.scheduler)
        headers, mixed = read_members(
            members.paths, where=members.where, allow_mixed=options.allow_mixed, workers=workers
        )
        epochs = self._group(headers, members, options)
        photometry = self._measure(headers, epochs, options, workers, self._cache(members))
        self._derivation = derive(photometry, headers, epochs, options, product=self._product(members), mixed=mixed)
        self._tell(self._derivation)
        return make_model(self._derivation)

    def finalize_result(self, result, reference_files_used):
        """
        Leave the reference file as it is: it has no place for an exposure's metadata.

        Parameters
        ----------
        result : ModuleOffsetModel
            The result.
        reference_files_used : list of tuple
            Empty: no reference file is used.
        """

    def save_model(self, model, suffix=None, idx=None, output_file=None, force=False, **components):
        """
        Write the reference file, the measurements and the report, all of them or none.

        Parameters
        ----------
        model : ModuleOffsetModel
            The result.
        suffix, idx, output_file, force, **components
            As for `stpipe.Step.save_model`.

        Returns
        -------
        str or None
            Path of the reference file; None where saving was not asked for.
        """
        if not (force or self.save_results or output_file or self.output_file):
            return None
        paths = write_products(self._derivation, model, self._folder(), report=self.report)
        log.info("Wrote %s", ", ".join(path.name for path in paths if path.suffix != ".pdf" and path.suffix != ".png"))
        return str(paths[0])

    def _folder(self):
        return Path(self.make_output_path(basepath="any.asdf")).parent.absolute()

    def _options(self):
        names = Options.__dataclass_fields__
        chosen = {name: getattr(self, name) for name in names if name != "catalogs"}
        catalogs = tuple(str(self.make_input_path(path)) for path in self.catalogs or ())
        return Options(**chosen, catalogs=catalogs)

    def _group(self, headers, members, options):
        times, rolls = [header.mjd for header in headers], [header.roll for header in headers]
        limits = {"gap_days": options.epoch_gap_days, "roll_tolerance": options.epoch_roll_tolerance}
        epochs = group_epochs(times, rolls, members.epochs, **limits)
        log.info("%d exposures in %d epochs: %s", len(headers), len(epochs.names), ", ".join(epochs.names))
        for sentence in find_wide_epochs(epochs, times, rolls, **limits):
            log.warning(sentence)
        return epochs

    def _measure(self, headers, epochs, options, workers, cache):
        limit = options.faintest + _MARGIN
        if options.photometry == "catalog":
            return read_catalogues(options.catalogs, headers, epochs)
        if options.photometry == "mosaic":
            resampling = partial(show_progress, stage="Resampling and measuring", what="mosaics")
            return measure_mosaics(make_mosaics(headers, epochs, progress=resampling), epochs, faintest=limit)
        finding, measuring = (partial(show_progress, stage=f"{verb} sources") for verb in ("Finding", "Measuring"))
        how = {"workers": workers, "cache": cache}
        sources = find_sources(headers, faintest=limit, progress=finding, **how)
        log.info("Found %d sources", len(sources))
        return measure_sources(headers, epochs, sources, progress=measuring, **how)

    def _cache(self, members):
        """Folder of what was measured in each exposure, beside the outputs; None where nothing is kept."""
        is_saved = self.save_results or self.output_file
        if not (is_saved if self.cache is None else self.cache):
            return None
        return Cache(self._folder() / f"{self._product(members)}_modfix_cache")

    def _product(self, members):
        if not self.output_file:
            return members.product
        return Path(self.output_file).stem.removesuffix(f"_{SUFFIX}")

    def _tell(self, derivation):
        for band in derivation.bands:
            for warning in band.warnings:
                log.warning(warning)
            if band.failure:
                log.warning("%s gets no row in the table: %s", band.name, band.failure)
        log.info("Results in mmag and mmag/arcmin:")
        for line in format_table([_row(band.name, result) for band in derivation.bands for result in band.results]):
            log.info("  %s", line)


def _row(band, result):
    """One line of the table of results."""
    return {
        "filter": band,
        "array": result.array,
        "offset": _measured(result.offset, result.offset_error),
        "slope": _measured(result.slope, result.slope_error),
        "sources in effect": round(result.n_sources),
        "correction": result.verdict,
        "why": result.words,
    }


def _measured(value, error):
    """Write a value in thousandths with its error, a dash where there is none."""
    return "-" if value is None else f"{1e3 * value:+.2f} +- {1e3 * error:.2f}"
