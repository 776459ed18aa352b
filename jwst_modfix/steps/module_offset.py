"""ModuleOffsetStep: put the exposures of NIRCam's two modules on one flux scale."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from jwst.datamodels import ModelLibrary
from stdatamodels.jwst.datamodels import JwstDataModel

from jwst_modfix.apply.decide import Correction, Decision, Output, correct_members, nothing_changed, refuse_together
from jwst_modfix.errors import ModuleOffsetError
from jwst_modfix.exposure import open_model
from jwst_modfix.files import check_writable, locate, written_whole
from jwst_modfix.steps import runs
from jwst_modfix.steps.associations import Association
from jwst_modfix.table.file import choose_table
from jwst_modfix.text import count_nouns, log_result

__all__ = ["ModuleOffsetStep"]


class ModuleOffsetStep(runs.OfflineStep):
    """
    Take the module A/B flux offsets and gradients out of NIRCam images.

    Input is a calibrated image (``_cal``) or several, a folder, a list, a container or a library of them, or an
    association. Run by ``strun``, it writes ``<root>_modfix.fits`` for each exposure, and an association of these.
    Exposures that the table is not meant for are returned unchanged, marked as skipped. Pixels are multiplied by
    ``10**(0.4 (z + g u))``: z is the zero-point error of the array, g the gradient along the coordinate u of the field.
    """

    class_alias = "module_offset"
    _suffix = "modfix"
    _written: Any = ()  # files of results that are written, by id
    _product = ""  # the association of the outputs, in words
    is_part = False  # of a pipeline that ends with the last lines itself
    decisions: tuple[Decision, ...] = ()  # on the exposures of the run

    spec = """
    override_moduleoffset = is_string_or_datamodel(default=None)  # Module offset table (ASDF file or ModuleOffsetModel); else $JWST_MODFIX_REFERENCE, else the packaged Table 2 of Ma et al. (2023)
    apply_offset = boolean(default=True)  # Take out the offset between the modules?
    apply_slope = boolean(default=True)  # Take out the gradient across the field?
    inverse = boolean(default=False)  # Undo the correction that a file records, instead of applying one?
    on_invalid = option('skip', 'warn', 'error', default='skip')  # An exposure that the table is not meant for (no imaging, another calibration, no WCS): pass it on unchanged, do so with a warning, or end with an error
    on_missing = option('skip', 'error', default='skip')  # An instrument, filter or pupil that the table has no row for: pass it on unchanged, or end with an error
    on_nothing = option('warn', 'error', default='warn')  # Not one exposure is corrected: end with a warning that says what to do, or with an error before anything is written
    on_existing = option('overwrite', 'skip', 'error', default='overwrite')  # An output that exists: write it again, keep it if it is the finished output of this very input, table and parameters (to resume), or end with an error before anything is written
    workers = integer(default=1)  # Processes that correct the members of an association; 1 for this process alone, which works on two files at a time; 0 for one on each core
    scheduler = string(default=None)  # Address of the scheduler of a Dask cluster that corrects the members of an association, instead of processes on this machine
    in_memory = boolean(default=True)  # Keep the exposures of a returned library in memory? If False, they live in files
    suffix = string(default='modfix')  # Suffix of output files; with inverse, 'unmodfix' unless another is given
    output_use_model = boolean(default=True)  # Name output files after each exposure
    """  # noqa: E501

    def process(self, input_data: Any = None, *more: Any) -> Any:
        """
        Correct the input.

        Parameters
        ----------
        input_data : str, pathlib.Path, JwstDataModel, list, ModelContainer, ModelLibrary or Association
            A file, a folder, a model, several of these, or an association (its file, or a mapping).
        *more : str, pathlib.Path or JwstDataModel
            More files, folders or models.

        Returns
        -------
        JwstDataModel, list, ModelContainer or ModelLibrary
            The same kind: a model for a file or model, a library for a library or association.

        Raises
        ------
        ModuleOffsetError
            An input, the table or a parameter breaks a rule. What is wrong with inputs is found before anything is
            written; should writing itself fail, the files that were complete by then stay.
        """
        if getattr(self.parent, "class_alias", None) == "photom":
            raise ModuleOffsetError(
                "module_offset cannot be a hook of photom: a hook sees CRDS_CTX and R_PHOTOM of the rate file; use the "
                "pipeline calwebb_image2_modfix, or the hook --steps.tweakreg.pre_hooks of calwebb_image3"
            )
        self.decisions, self._product, self._written = self.decisions if self.is_part else (), "", {}
        if not (self.apply_offset or self.apply_slope or self.inverse):
            raise ModuleOffsetError("apply_offset and apply_slope are both False: there is nothing to apply")
        if not re.fullmatch(r"[A-Za-z0-9_-]+", self.suffix):
            raise ModuleOffsetError(f"suffix must be letters, digits, - and _, at least one; got {self.suffix!r}")
        # The table is not found by stpipe, which would put the folder before ~ and $VAR.
        table, self._table = (None, "") if self.inverse else choose_table(self.override_moduleoffset)
        names = [field.name for field in fields(Correction) if field.name != "table"]
        correction = Correction(table=table, **{name: getattr(self, name) for name in names})
        given = runs.read_input([input_data, *more] if more else input_data, self.make_input_path)
        self._suffix = "unmodfix" if self.inverse and self.suffix == "modfix" else self.suffix
        if isinstance(given, Association):
            given.warn_of_missing()
            if not self.in_memory:
                check_writable(Path.cwd())  # where a library on disk keeps its files
        elif isinstance(given, ModelLibrary):
            runs.rename_product_of(getattr(self.parent, "parent", None), given, self._suffix)
        return self._process(given, correction)

    def finalize_result(self, result: Any, *args: Any) -> None:  # numpydoc ignore=PR01
        """Record the step's log; leave CAL_VER, the version of the calibration."""
        meta = result.meta
        version, revision = meta.calibration_software_version, meta.calibration_software_revision
        super().finalize_result(result, *args)
        meta.calibration_software_version, meta.calibration_software_revision = version, revision

    def remove_suffix(self, name: str) -> Any:  # numpydoc ignore=PR01,RT01
        """Remove a known suffix from a file's name, or one of this package."""
        ours = re.fullmatch(r"(.+)([_-])(?:un)?modfix", name)
        return ours.groups() if ours else super().remove_suffix(name)

    def save_model(self, model: Any, suffix: Any = None, idx: Any = None, output_file: Any = None, force: bool = False,
                   **components: Any) -> Any:  # numpydoc ignore=PR01,RT01 # fmt: skip
        """Save results as stpipe does, each whole or not at all, and only once."""
        if id(model) in self._written:
            return self._written[id(model)]
        output_file = output_file or self.output_file
        if isinstance(model, Sequence | ModelLibrary) or not (force or self.save_results or output_file):
            return super().save_model(model, suffix, idx, output_file, force, **components)
        target = self._locate_output((output_file if idx is None else None) or model.meta.filename)
        with written_whole(target) as partial:
            model.save(str(partial))
        return str(target)

    def _locate_output(self, name: str | None) -> Path:
        """Find where the result for an input of this name is written."""
        name = runs.PACKED.sub(r"\1", str(name or self.default_output_file()))
        return locate(self.make_output_path(basepath=name, suffix=self._suffix))

    def _process(self, given: Any, correction: Correction) -> Any:
        """Correct files and models; the result is of the kind of the input."""
        association, product = given if isinstance(given, Association) else None, None
        is_one = isinstance(given, Path | JwstDataModel)
        members = [given] if is_one else association.science if association else given
        if association and self.save_results:
            stem = self.remove_suffix(association.stem)[0] if self.inverse else association.stem
            product = self._locate_output("any").with_name(f"{stem}_{self._suffix}_asn.json")
        outputs = self._plan(members, association, product, correction) if self.save_results else []
        if not is_one or self.on_nothing == "error":  # one is refused when it is corrected
            where = association.stem if association else ""
            refuse_together(runs.each(members, of_science=True, modify=False), correction, where=where)
        if association and not product:
            members = runs.AssociationLibrary(association.corrected(self._suffix), on_disk=not self.in_memory)
        elif self.parent is None and not isinstance(given, Path):  # a pipeline's models are its own
            members = runs.copy_members(members, self._suffix)
        decisions, results = correct_members(
            runs.each(members, of_science=True), correction, total=len(members), outputs=outputs, product=product,
            workers=self.workers, scheduler=self.scheduler,
        )  # fmt: skip
        self.decisions += tuple(decisions)
        if association and product:
            corrected = association.corrected(self._suffix, product, {out.source: out.path for out in outputs})
            library = runs.write_corrected(corrected, outputs, results, on_disk=not self.in_memory)
            self._product = f"Association of {count_nouns(len(outputs), 'member')}: {runs.shorten(product)}"
            self._written[id(library)] = [str(output.path) for output in outputs]
            return library
        if not isinstance(members, list):
            return members
        for number, output in enumerate(outputs):
            if output.source:
                results[number] = open_model(output.path)
                self._written[id(results[number])] = str(output.path)
        return results[0] if is_one else results

    def _plan(self, members: Any, association: Association | None, product: Path | None,
              correction: Correction) -> list[Output]:  # fmt: skip
        """Plan the output of each member."""
        if self.output_file and (association or len(members) > 1):
            what = "an association has" if association else f"{len(members)} exposures have"
            raise ModuleOffsetError(
                f"output_file is {self.output_file!r}, but {what} one for each member: set output_dir"
            )
        targets, protected = [], association.files if association else []
        for item in runs.each(members, modify=False):
            name = item.name if isinstance(item, Path) else item.meta.filename
            source, target = item if isinstance(item, Path) else None, self._locate_output(self.output_file or name)
            targets.append((source, target))
            # A model does not say where it was opened from: a file of its name in the output folder may be its own.
            protected.append(source or target.with_name(Path(str(name)).name))
        return runs.plan_outputs(targets, protected, correction, self.on_existing, product)

    def conclude(self, given: Sequence[Any]) -> None:  # numpydoc ignore=PR01
        """Log where the association is, or that nothing was corrected and what to do."""
        if self._product:
            log_result(self._product, is_whole=True)
        if self.is_part or not self.decisions or any(decision.is_changed for decision in self.decisions):
            return
        advice = "" if self.inverse else f"; {runs.advise_on_tables(given, self._table)}"
        log_result(f"{nothing_changed(self.decisions, self.inverse)}{advice}", logging.WARNING, is_whole=True)
