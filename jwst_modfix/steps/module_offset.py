"""ModuleOffsetStep: put the exposures of NIRCam's two modules on one flux scale."""

import contextlib
import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from jwst.datamodels import ModelContainer, ModelLibrary
from jwst.datamodels.utils import attrs_to_group_id
from stdatamodels.jwst.datamodels import JwstDataModel

from jwst_modfix.apply.decide import Correction, Decision
from jwst_modfix.errors import ModuleOffsetError
from jwst_modfix.jobs import Workers
from jwst_modfix.steps.associations import AssociationLibrary, copy_library, read_association, write_association
from jwst_modfix.steps.correct_file import correct_file
from jwst_modfix.steps.existing import refuse_existing, refuse_replaced
from jwst_modfix.steps.fits_exposure import open_fits
from jwst_modfix.steps.inputs import open_model, refuse_together
from jwst_modfix.steps.keywords import EXPOSURE_SUFFIXES
from jwst_modfix.steps.model_exposure import ModelExposure
from jwst_modfix.steps.offline import OfflineStep
from jwst_modfix.steps.outputs import SafeOutputs
from jwst_modfix.steps.summary import summarize
from jwst_modfix.table.model import REFTYPE, choose_reference, explain_choice
from jwst_modfix.text import get_logger

__all__ = ["ModuleOffsetStep"]

log = get_logger(f"stpipe.{__name__}")  # the name that a stock pipeline, of which we are a hook, shows


class ModuleOffsetStep(SafeOutputs, OfflineStep):
    """
    Take the module A/B flux offsets and gradients out of NIRCam images.

    Input is a calibrated image (``_cal``), a list, a container or a library of them, or an association; output is
    a data model for a file, a library for an association, and else of the same kind. Run by ``strun``, it writes
    ``<root>_modfix.fits`` for each exposure, and an association of these. Exposures that the table is not meant for
    travel on unchanged, marked as skipped.

    Pixels are multiplied by ``10**(0.4 (z + g u))``: z is the zero-point error of the array, g the gradient along the
    coordinate u of the field. Signs and units are those of Ma et al. (2023).
    """

    class_alias = "module_offset"

    spec = """
    override_moduleoffset = is_string_or_datamodel(default=None)  # Module offset table (ASDF file or ModuleOffsetModel); else $JWST_MODFIX_REFERENCE, else the packaged Table 2 of Ma et al. (2023)
    apply_offset = boolean(default=True)  # Take out the offset between the modules?
    apply_slope = boolean(default=True)  # Take out the gradient across the field?
    inverse = boolean(default=False)  # Undo the correction that a file records, instead of applying one?
    on_invalid = option('skip', 'warn', 'error', default='skip')  # An exposure that the table is not meant for (no imaging, another calibration, no WCS): pass it on unchanged, do so with a warning, or end with an error
    on_missing = option('skip', 'error', default='skip')  # An instrument, filter or pupil that the table has no row for: pass it on unchanged, or end with an error
    on_existing = option('overwrite', 'skip', 'error', default='overwrite')  # An output that exists: write it anew, leave it alone where it is the finished output of this very input, table and parameters (to resume), or end with an error before anything is written
    workers = integer(default=1)  # Processes that correct the members of an association; 0 for one on each core
    scheduler = string(default=None)  # Address of the scheduler of a Dask cluster that corrects the members of an association, instead of processes on this machine
    in_memory = boolean(default=True)  # Keep the exposures of a returned library in memory? If False, they live in files
    suffix = string(default='modfix')  # Suffix of output files; with inverse, 'unmodfix' unless another is given
    output_use_model = boolean(default=True)  # Name output files after each exposure
    """  # noqa: E501

    def process(self, input_data):
        """
        Correct the input.

        Parameters
        ----------
        input_data : str, pathlib.Path, JwstDataModel, list, ModelContainer, ModelLibrary or Association
            A file, a model, a list of either, a container, a library, or an association (its file, or a mapping).

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
        correction = self._correction()
        self._inputs, self._jobs, self._finished = set(), {}, {}
        if isinstance(input_data, str | Path):
            input_data = Path(self.make_input_path(str(input_data)))
            if not input_data.name.lower().endswith(EXPOSURE_SUFFIXES):
                return self._process_association(read_association(input_data), correction)
            return self._process_models([input_data], correction)[0]
        if isinstance(input_data, Mapping):
            return self._process_association(read_association(input_data), correction)
        if isinstance(input_data, ModelLibrary):
            return self._process_library(input_data, correction)
        if isinstance(input_data, JwstDataModel):
            return self._process_models([input_data], correction)[0]
        if isinstance(input_data, ModelContainer):
            return self._process_container(input_data, correction)
        if isinstance(input_data, Sequence):
            return self._process_models(input_data, correction)
        raise ModuleOffsetError(
            f"input must be a file, a JWST data model, a list, a container, a library or an association, "
            f"got {type(input_data).__name__}"
        )

    def finalize_result(self, result, reference_files_used):
        """
        Record the step's log; leave CAL_VER and CRDS_CTX, which say how the exposure was calibrated.

        Parameters
        ----------
        result : JwstDataModel
            A result.
        reference_files_used : list of tuple
            Empty: the table is recorded by our own cards.
        """
        meta = result.meta
        version, revision = meta.calibration_software_version, meta.calibration_software_revision
        super().finalize_result(result, reference_files_used)
        meta.calibration_software_version, meta.calibration_software_revision = version, revision

    def _correction(self):
        """Gather the parameters, and refuse those that contradict one another."""
        if not (self.apply_offset or self.apply_slope or self.inverse):
            raise ModuleOffsetError("apply_offset and apply_slope are both False: there is nothing to apply")
        if not re.fullmatch(r"[A-Za-z0-9_-]+", self.suffix):
            raise ModuleOffsetError(f"suffix must be letters, digits, - and _, at least one; got {self.suffix!r}")
        return Correction(
            table=None if self.inverse else self._table(),
            apply_offset=self.apply_offset,
            apply_slope=self.apply_slope,
            inverse=self.inverse,
            on_invalid=self.on_invalid,
            on_missing=self.on_missing,
        )

    def _table(self):
        """Choose the table, and say which it is."""
        override = self.get_ref_override(REFTYPE)
        table = choose_reference(override)
        log.info("Table %s (hash %s), %s", table.name, table.digest, explain_choice(override))
        if table.valid_for.is_empty:
            log.warning(
                "%s names no calibration in valid_for, and is applied to any: on another than its own it is wrong",
                table.name,
            )
        return table

    def _process_models(self, inputs, correction):
        """Correct files and models one by one; the list of results has their order."""
        inputs = [self._locate(item) for item in inputs]
        refuse_together(inputs, correction)
        targets = self._refuse_outputs(inputs)
        finished = self._resume(dict(zip(targets, inputs, strict=False)), correction)
        models = []
        for item, target in itertools.zip_longest(inputs, targets):
            models.append(self._former_result(item, target) if target in finished else self._own_copy(item))
        self._run([model for model in models if id(model) not in self._finished], correction)
        return models

    def _former_result(self, path, target):
        """Open what a former run has made of a file."""
        log.info("%s: %s is finished and left alone", path.name, target)
        model = open_model(target)
        self._finished[id(model)] = target
        return model

    def _locate(self, item):
        return Path(self.make_input_path(str(item))) if isinstance(item, str | Path) else item

    def _own_copy(self, item):
        """Open a file, or copy a model unless it belongs to the pipeline that runs us."""
        if isinstance(item, Path):
            return open_model(item)
        return item.copy() if self.parent is None else item

    def _process_container(self, container, correction):
        science = [str(model.meta.asn.exptype or "science").lower() == "science" for model in container]
        targets = self._refuse_outputs(container)
        refuse_together(itertools.compress(container, science), correction)
        self._resume(dict.fromkeys(targets), correction)
        container = self.prepare_output(container)
        self._run(itertools.compress(container, science), correction)
        return container

    def _process_library(self, library, correction):
        with library:
            indices = library.indices_for_exptype("science")
            targets = self._refuse_outputs(_borrowed(library, range(len(library)), modify=False))
            refuse_together(_borrowed(library, indices, modify=False), correction)
        self._resume(dict.fromkeys(targets), correction)
        if self.parent is None:
            library = copy_library(library)
        with library:
            self._run(_borrowed(library, indices), correction)
        return library

    def _run(self, models, correction):
        """Correct models in place, with a log line each."""
        decisions = []
        for model in models:
            decisions.append(correction.run(ModelExposure(model)))
            log.log(decisions[-1].level, decisions[-1].line(model.meta.filename))
        if decisions:
            summarize(decisions)

    def _process_association(self, association, correction):
        problems = [f"{path}: no such file" for path in association.others if not path.is_file()]
        refuse_together(association.science, correction, where=association.stem, problems=problems)
        if self.save_results:
            return self._write_association(association, correction)
        library = AssociationLibrary(association, on_disk=not self.in_memory)
        with library:
            self._run(_borrowed(library, range(len(library))), correction)
        return library

    def _write_association(self, association, correction):
        """Correct and write one member after the other, so that two exposures are in memory at most."""
        if self.output_file:
            raise ModuleOffsetError(
                f"output_file is {self.output_file!r}, and an association has one output file a member: "
                "set output_dir and suffix instead"
            )
        renamed = {path: self._output_path(path.name) for path in association.science}
        self._inputs = {path.resolve() for path in [*association.science, *association.others]}
        self._refuse_collisions(renamed.values())
        stem = self.remove_suffix(association.stem)[0] if self.inverse else association.stem
        product = self._output_path("any").with_name(f"{stem}_{self._output_suffix}_asn.json")
        if self.on_existing == "error":
            refuse_existing([*renamed.values(), product])
        finished = self._resume({target: path for path, target in renamed.items()}, correction, product)
        group_ids = self._correct_members(renamed, finished, correction, product)
        refuse_replaced(self._jobs)
        written = write_association(association, renamed, product)
        log.info("The association of %d members is %s", len(renamed), product)
        return AssociationLibrary(written, on_disk=not self.in_memory, group_ids=group_ids)

    def _correct_members(self, renamed, finished, correction, product):
        """Correct and write members; give the identifier of the exposure of each output."""
        decisions, group_ids = [], {}
        made = self._make(renamed, finished, correction, product)
        try:
            for (path, target), (decision, group) in zip(renamed.items(), made, strict=True):
                log.log(decision.level, decision.line(path.name))
                decisions.append(decision)
                group_ids[target] = attrs_to_group_id(group) if isinstance(group, dict) else group
        except ModuleOffsetError as error:
            raise type(error)(
                f"{error}; {len(decisions)} of {len(renamed)} outputs were finished before that, and stay: "
                "on_existing='skip' completes them"
            ) from error
        summarize(decisions)
        return group_ids

    def _make(self, renamed, finished, correction, product):
        """Yield what is done with each member, in order: by the workers, or here where it is no FITS file."""
        left = {path: target for path, target in renamed.items() if target not in finished}
        files = {path: target for path, target in left.items() if path.suffix == target.suffix == ".fits"}
        jobs = [(path, target, correction, self._jobs[target], product) for path, target in files.items()]
        workers = Workers(count=self.workers, scheduler=self.scheduler)
        with contextlib.closing(workers.map(correct_file, jobs, [path.name for path in files])) as done:
            for path, target in renamed.items():
                if path in files:
                    yield next(done)
                elif path in left:
                    yield self._correct_model(path, target, correction, product)
                else:
                    yield _former(target)

    def _correct_model(self, path, target, correction, product):
        with open_model(path) as model:
            decision = correction.run(ModelExposure(model))
            self.finalize_result(model, [])
            product.unlink(missing_ok=True)
            self._save_whole(model, target)
        return decision, None


def _former(target):
    """Tell what a former run has made of a member."""
    with open_fits(target) as opened:
        return Decision("resume", f"{target} is finished and left alone"), opened.group


def _borrowed(library, indices, *, modify=True):
    """Borrow one model after the other from an open library, and give each back."""
    for index in indices:
        model = library.borrow(index)
        try:
            yield model
        finally:
            library.shelve(model, index, modify=modify)
