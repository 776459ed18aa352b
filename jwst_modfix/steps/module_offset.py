"""ModuleOffsetStep: put the exposures of NIRCam's two modules on one flux scale."""

import copy
import logging
import re
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from jwst.datamodels import ModelContainer, ModelLibrary
from jwst.stpipe import Step as JwstStep
from stdatamodels.jwst import datamodels
from stdatamodels.jwst.datamodels import JwstDataModel

from jwst_modfix.errors import AlreadyCorrectedError, AssociationError, ExposureError, ModuleOffsetError
from jwst_modfix.files import written_whole
from jwst_modfix.reference.datamodel import REFTYPE, choose_reference
from jwst_modfix.steps.associations import AssociationLibrary, read_association, write_association
from jwst_modfix.steps.correct import Correction
from jwst_modfix.steps.exposures import describe_file, describe_model

__all__ = ["ModuleOffsetStep"]

log = logging.getLogger(__name__)

SUFFIX = "modfix"
UNDONE_SUFFIX = "unmodfix"


class ModuleOffsetStep(JwstStep):
    """
    Take the module A/B flux offsets and gradients out of NIRCam images.

    Input is a calibrated image (``_cal``), a list, a container or a library of them, or an association; output is
    of the same kind. Exposures that the table is not meant for travel on unchanged, marked as skipped.

    The model, its signs and its units are those of Ma et al. (2023): ``data *= 10**(0.4 m_sys)`` with
    ``m_sys = z + g u``.
    """

    class_alias = "module_offset"

    spec = """
    override_moduleoffset = is_string_or_datamodel(default=None)  # Module offset table (ASDF file or ModuleOffsetModel); else $JWST_MODFIX_REFERENCE, else the packaged Table 2 of Ma et al. (2023)
    apply_offset = boolean(default=True)  # Take out the offset between the modules?
    apply_slope = boolean(default=True)  # Take out the gradient across the field?
    inverse = boolean(default=False)  # Undo the correction that a file records, instead of applying one?
    on_invalid = option('skip', 'warn', 'error', default='skip')  # An exposure that the table is not meant for (no imaging, another calibration, no WCS): pass it on unchanged, do so with a warning, or end with an error
    on_missing = option('skip', 'error', default='skip')  # An instrument, filter or pupil that the table has no row for: pass it on unchanged, or end with an error
    in_memory = boolean(default=True)  # Keep the exposures of a returned library in memory? If False, they live in files
    suffix = string(default='modfix')  # Suffix of output files; with inverse, 'unmodfix' unless another is given
    output_use_model = boolean(default=True)  # Name output files after each exposure
    """  # noqa: E501

    @classmethod
    def get_config_from_reference(cls, *_args, **_kwargs):
        """
        Take no parameters from CRDS, which has none for this step, so that it starts with no network.

        Returns
        -------
        stpipe.config_parser.ConfigObj
            An empty configuration.
        """
        return cls._empty_config()

    @classmethod
    def _get_crds_parameters(cls, _dataset):
        """Open no input only to ask CRDS about it."""
        return {}, "jwst"

    @staticmethod
    def get_stpipe_loggers():
        """
        Name the loggers that stpipe sets up and records.

        Returns
        -------
        tuple of str
            The jwst loggers and ours.
        """
        return (*JwstStep.get_stpipe_loggers(), "jwst_modfix")

    def remove_suffix(self, name):
        """
        Take a known suffix off a file's name, ours included.

        Parameters
        ----------
        name : str
            Name without extension.

        Returns
        -------
        tuple of str
            The root, and the separator that stood before the suffix.
        """
        ours = re.fullmatch(rf"(.+)([_-])(?:{SUFFIX}|{UNDONE_SUFFIX})", name)
        return ours.groups() if ours else super().remove_suffix(name)

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
            An input, the table or a parameter breaks a rule; nothing has been written.
        """
        correction = self._correction()
        self._inputs = set()
        if isinstance(input_data, str | Path):
            input_data = Path(self.make_input_path(str(input_data)))
            if input_data.suffix.lower() not in (".fits", ".asdf"):
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

    def save_model(self, model, suffix=None, idx=None, output_file=None, force=False, **components):
        """
        Save results, each whole or not at all, and never over an input.

        Parameters
        ----------
        model : JwstDataModel, ModelContainer or ModelLibrary
            The result.
        suffix, idx, output_file, force, **components
            As for `stpipe.Step.save_model`.

        Returns
        -------
        str or list of str or None
            Paths written; None where saving was not asked for.
        """
        if isinstance(model, AssociationLibrary) and model.is_final:
            return [member["expname"] for member in model.asn["products"][0]["members"]]
        if isinstance(model, Sequence | ModelLibrary):
            return super().save_model(model, suffix, idx, output_file, force, **components)
        output_file = output_file or self.output_file
        if not (force or self.save_results or output_file):
            return None
        basename = output_file if output_file and idx is None else model.meta.filename
        target = self._output_path(basename or self.default_output_file())
        self._save_whole(model, target)
        return str(target)

    def _correction(self):
        """Gather the parameters, and refuse those that contradict one another."""
        if not (self.apply_offset or self.apply_slope or self.inverse):
            raise ModuleOffsetError("apply_offset and apply_slope are both False: there is nothing to apply")
        if self.inverse and self.suffix == SUFFIX:
            self.suffix = UNDONE_SUFFIX
        return Correction(
            table=choose_reference(self.get_ref_override(REFTYPE)),
            apply_offset=self.apply_offset,
            apply_slope=self.apply_slope,
            inverse=self.inverse,
            on_invalid=self.on_invalid,
            on_missing=self.on_missing,
        )

    def _process_models(self, inputs, correction):
        """Correct files and models one by one; the list of results has their order."""
        paths = [Path(self.make_input_path(str(item))) for item in inputs if isinstance(item, str | Path)]
        self._inputs.update(path.resolve() for path in paths)
        states = [_describe(item, self.make_input_path) for item in inputs]
        _refuse_together(states, correction, "input")
        models = [self._own_copy(item) for item in inputs]
        _summarize(correction.run(model) for model in models)
        return models

    def _own_copy(self, item):
        """Open a file, or copy a model unless it belongs to the pipeline that runs us."""
        if isinstance(item, str | Path):
            return datamodels.open(self.make_input_path(str(item)))
        return item.copy() if self.parent is None else item

    def _process_container(self, container, correction):
        _refuse_together([_describe(model) for model in container], correction, "input")
        container = self.prepare_output(container)
        _summarize(correction.run(model) for model in container)
        return container

    def _process_library(self, library, correction):
        states = _describe_library(library)
        _refuse_together(states.values(), correction, "library")
        if self.parent is None:
            library = _copy_library(library)
        _summarize(self._run_in_library(library, index, correction) for index in states)
        return library

    def _run_in_library(self, library, index, correction):
        with library:
            model = library.borrow(index)
            try:
                return correction.run(model)
            finally:
                library.shelve(model, index)

    def _process_association(self, association, correction):
        states = self._check_members(association, correction)
        if not self.save_results:
            library = AssociationLibrary(association, on_disk=not self.in_memory)
            _summarize(self._run_in_library(library, index, correction) for index in range(len(library)))
            return library
        if self.output_file:
            raise ModuleOffsetError(
                f"output_file is {self.output_file!r}, and an association has one output file a member: "
                "set output_dir and suffix instead"
            )
        return self._write_association(association, states, correction)

    def _check_members(self, association, correction):
        """Describe every science member, and report all that is wrong with the members at once."""
        problems = [f"{path}: no such file" for path in association.others if not path.is_file()]
        states = {}
        for path in association.science:
            try:
                states[path] = _describe(path)
            except ExposureError as error:
                problems.append(str(error))
        if problems:
            raise AssociationError(f"{association.stem}: {len(problems)} bad members: " + "; ".join(problems))
        _refuse_together(states.values(), correction, association.stem)
        return states

    def _write_association(self, association, states, correction):
        """Correct and write one member after the other, so that one exposure is in memory at a time."""
        self._inputs = {path.resolve() for path in states}
        renamed = {path: self._output_path(path.name) for path in states}
        self._refuse_collisions(renamed)
        _summarize(self._correct_file(path, target, correction) for path, target in renamed.items())
        name = f"{association.stem}_{self.suffix}_asn.json"
        target = Path(self._output_path("x")).parent / name
        write_association(association, renamed, target)
        log.info("Wrote the association of %d corrected members: %s", len(renamed), target)
        return AssociationLibrary(read_association(target), on_disk=not self.in_memory, is_final=True)

    def _correct_file(self, path, target, correction):
        with datamodels.open(path) as model:
            decision = correction.run(model)
            self.finalize_result(model, [])
            self._save_whole(model, target)
        return decision

    def _save_whole(self, model, target):
        if target.resolve() in self._inputs:
            raise ModuleOffsetError(f"{target}: is an input, which is never overwritten: set output_dir or suffix")
        with written_whole(target) as partial:
            model.save(str(partial))
        log.debug("Saved %s", target)

    def _output_path(self, basename):
        return Path(self.make_output_path(basepath=str(basename), suffix=self.suffix)).absolute()

    def _refuse_collisions(self, renamed):
        problems = [
            f"{target} would be written for {count} members"
            for target, count in Counter(renamed.values()).items()
            if count > 1
        ]
        problems += [
            f"{target} is an input, which is never overwritten"
            for target in renamed.values()
            if target.resolve() in self._inputs
        ]
        if problems:
            raise AssociationError("; ".join(problems) + ": set output_dir or suffix")


def _describe(item, make_input_path=str):
    """Describe a model, or a file by its headers (an ASDF file has none, and is opened)."""
    if isinstance(item, JwstDataModel):
        return describe_model(item)
    path = Path(make_input_path(str(item)))
    if path.suffix.lower() == ".fits":
        return describe_file(path)
    try:
        with datamodels.open(path) as model:
            return describe_model(model)
    except FileNotFoundError:
        raise ExposureError(f"{path}: no such file") from None
    except Exception as error:  # whatever the readers of other formats raise
        raise ExposureError(f"{path}: cannot be read as a JWST data model: {error}") from error


def _describe_library(library):
    """Describe the science members of a library, by their index."""
    states = {}
    with library:
        for index in library.indices_for_exptype("science"):
            model = library.borrow(index)
            states[index] = describe_model(model)
            library.shelve(model, index, modify=False)
    return states


def _copy_library(library):
    """Copy a library, so that a caller's is left alone."""
    if not library.on_disk:
        return copy.deepcopy(library)
    folder = tempfile.TemporaryDirectory(dir=".", prefix=".modfix-")
    content = copy.deepcopy(dict(library._asn))
    with library:
        for index, member in enumerate(content["products"][0]["members"]):
            model = library.borrow(index)
            place = Path(folder.name) / f"{index}"
            place.mkdir()
            member["expname"] = str((place / (model.meta.filename or "model.fits")).resolve())
            model.save(member["expname"])
            library.shelve(model, index, modify=False)
    duplicate = ModelLibrary(content, on_disk=True)
    duplicate._modfix_folder = folder  # lives as long as the library
    return duplicate


def _refuse_together(states, correction, where):
    """Report every exposure that must be refused, in one error."""
    states = list(states)
    refused = [
        (state, decision.reason)
        for state, decision in ((state, correction.decide(state)) for state in states)
        if decision.action == "refuse"
    ]
    if not refused:
        return
    twice = all(state.status == "COMPLETE" for state, _ in refused) and not correction.inverse
    error = AlreadyCorrectedError if twice else ExposureError
    lines = "; ".join(f"{state.exposure.name}: {reason}" for state, reason in refused)
    raise error(lines if len(states) == 1 else f"{where}: {len(refused)} of {len(states)} exposures refused: {lines}")


def _summarize(decisions):
    """Run through all exposures, and say at the end how many were corrected and why others were not."""
    decisions = list(decisions)
    skipped = Counter(decision.reason for decision in decisions if decision.action == "skip")
    log.info("%d of %d exposures done, %d skipped", len(decisions) - skipped.total(), len(decisions), skipped.total())
    for reason, count in skipped.most_common():
        log.info("  %d skipped: %s", count, reason)
