"""ModuleOffsetStep: put the exposures of NIRCam's two modules on one flux scale."""

from __future__ import annotations

import logging
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from jwst.datamodels import ModelLibrary
from stdatamodels.jwst.datamodels import JwstDataModel

from jwst_modfix.apply.decide import Correction, Decision, Output, correct_members, nothing_changed, refuse_together
from jwst_modfix.errors import ModuleOffsetError
from jwst_modfix.exposure import open_model
from jwst_modfix.files import check_writable, locate, written_whole
from jwst_modfix.steps import inputs
from jwst_modfix.steps.associations import Association, rename_product, write_association
from jwst_modfix.steps.inputs import AssociationLibrary, each
from jwst_modfix.steps.outputs import plan_outputs, refuse_replaced
from jwst_modfix.table.file import choose_table
from jwst_modfix.table.model import ModuleOffsetModel
from jwst_modfix.text import count_nouns, log, log_result

__all__ = ["ModuleOffsetStep"]

# stpipe writes the parameters of a step into the log as YAML: a table is named there, and not written out.
yaml.add_representer(ModuleOffsetModel, lambda dumper, model: dumper.represent_str(model.override_handle))


class ModuleOffsetStep(inputs.OfflineStep):
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
    _table = "packaged"  # its name, for a command
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
        self.decisions = self.decisions if self.is_part else ()
        correction = self._make_correction()
        given = inputs.read_input([input_data, *more] if more else input_data, self.make_input_path)
        self._suffix, self._written = "unmodfix" if self.inverse and self.suffix == "modfix" else self.suffix, {}
        self._product = ""
        association = given if isinstance(given, Association) else None
        if association:
            association.warn_of_missing()
            if not self.in_memory:
                check_writable(Path.cwd())  # where a library on disk keeps its files
        elif isinstance(given, ModelLibrary):
            self._rename_product(given)
        return self._process(given, association, correction)

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
        name = inputs.PACKED.sub(r"\1", str(name or self.default_output_file()))
        return locate(self.make_output_path(basepath=name, suffix=self._suffix))

    def _rename_product(self, library: ModelLibrary) -> None:
        """Rename the product of the pipeline in which this step is a hook."""
        name = library.asn["products"][0].get("name")
        pipeline: Any = getattr(self.parent, "parent", None)
        if name and getattr(pipeline, "output_file", None) == name:  # else the user has named it
            pipeline.output_file = rename_product(name, self._suffix)
            log.info("The product is named %s, not to replace an uncorrected %s", pipeline.output_file, name)

    def _make_correction(self) -> Correction:
        """Gather the parameters, refuse contradictions, and log which table is used."""
        if not (self.apply_offset or self.apply_slope or self.inverse):
            raise ModuleOffsetError("apply_offset and apply_slope are both False: there is nothing to apply")
        if not re.fullmatch(r"[A-Za-z0-9_-]+", self.suffix):
            raise ModuleOffsetError(f"suffix must be letters, digits, - and _, at least one; got {self.suffix!r}")
        table = None
        if not self.inverse:
            # Not by stpipe, which would put the folder before ~ and $VAR.
            table, self._table = choose_table(self.override_moduleoffset)
        return Correction(
            table=table, apply_offset=self.apply_offset, apply_slope=self.apply_slope, inverse=self.inverse,
            on_invalid=self.on_invalid, on_missing=self.on_missing, on_nothing=self.on_nothing,
        )  # fmt: skip

    def _process(self, given: Any, association: Association | None, correction: Correction) -> Any:
        """Correct files and models; the result is of the kind of the input."""
        is_one, product = isinstance(given, Path | JwstDataModel), None
        members = [given] if is_one else association.science if association else given
        if association and self.save_results:
            stem = self.remove_suffix(association.stem)[0] if self.inverse else association.stem
            product = self._locate_output("any").with_name(f"{stem}_{self._suffix}_asn.json")
        outputs = self._plan(members, association, product, correction)
        if not is_one or self.on_nothing == "error":  # one is refused when it is corrected
            where = association.stem if association else ""
            refuse_together(each(members, of_science=True, modify=False), correction, where=where)
        if association and not product:
            members = AssociationLibrary(association.corrected(self._suffix, None, {}), on_disk=not self.in_memory)
        elif self.parent is None and not isinstance(given, Path):  # a pipeline's models are its own
            members = inputs.copy_members(members, self._suffix)
        decisions, results = correct_members(
            each(members, of_science=True), correction, total=len(members), outputs=outputs, product=product,
            workers=self.workers, scheduler=self.scheduler,
        )  # fmt: skip
        self.decisions += tuple(decisions)
        if association and product:
            return self._write_association(association, product, outputs, results)
        if not isinstance(members, list):
            return members
        for number, item in enumerate(members):
            if isinstance(item, Path) and item in outputs:
                results[number] = open_model(outputs[item].path)
                self._written[id(results[number])] = str(outputs[item].path)
        return results[0] if is_one else results

    def _plan(self, members: Any, association: Association | None, product: Path | None,
              correction: Correction) -> dict[Path, Output]:  # fmt: skip
        """Find the output of each member, where outputs are saved."""
        if self.save_results and self.output_file and (association or len(members) > 1):
            what = "an association has" if association else f"{len(members)} exposures have"
            raise ModuleOffsetError(
                f"output_file is {self.output_file!r}, but {what} one for each member: set output_dir"
            )
        sources, targets, protected = [], [], association.files if association else []
        for item in each(members, modify=False) if self.save_results else ():
            name = item.name if isinstance(item, Path) else item.meta.filename
            source, target = item if isinstance(item, Path) else None, self._locate_output(self.output_file or name)
            sources.append(source)
            targets.append(target)
            # A model does not say where it was opened from: a file of its name in the output folder may be its own.
            protected.append(source or target.with_name(Path(str(name)).name))
        return plan_outputs(sources, targets, protected, correction, self.on_existing, product)

    def _write_association(self, association: Association, product: Path, outputs: dict[Path, Output],
                           groups: list[Any]) -> ModelLibrary:  # fmt: skip
        """Write the association of the outputs; the result is their library."""
        refuse_replaced(outputs.values())
        targets = {path: output.path for path, output in outputs.items()}
        corrected = association.corrected(self._suffix, product, targets)
        write_association(corrected)
        self._product = f"Association of {count_nouns(len(targets), 'member')}: {inputs.shorten(product)}"
        groups_by_path = dict(zip(targets.values(), groups, strict=True))
        library = AssociationLibrary(corrected, on_disk=not self.in_memory, groups=groups_by_path)
        self._written[id(library)] = list(map(str, groups_by_path))
        return library

    def conclude(self, given: Sequence[Any]) -> None:  # numpydoc ignore=PR01
        """Log where the association is, or that nothing was corrected and what to do."""
        if self._product:
            log_result(self._product, is_whole=True)
        if self.is_part or not self.decisions or any(decision.is_changed for decision in self.decisions):
            return
        text = nothing_changed(self.decisions, self.inverse)
        if not self.inverse:
            text += (
                f"; derive a table: strun module_offset_derive {inputs.name_inputs(given, 'ASN')}; or carry one over: "
                f"modfix rebase {shlex.quote(self._table)} --from-photom OLD --to-photom NEW -o new_moduleoffset.asdf"
            )
        log_result(text, logging.WARNING, is_whole=True)
