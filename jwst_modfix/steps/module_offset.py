"""ModuleOffsetStep: put the exposures of NIRCam's two modules on one flux scale."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from jwst.datamodels import ModelContainer, ModelLibrary
from stdatamodels.jwst import datamodels

from jwst_modfix.apply.decide import Correction, correct_members
from jwst_modfix.errors import ModuleOffsetError
from jwst_modfix.exposure import EXPOSURE_SUFFIXES
from jwst_modfix.files import check_writable
from jwst_modfix.steps.associations import (
    Association,
    AssociationLibrary,
    borrowed,
    copy_library,
    is_science,
    read_association,
    write_association,
)
from jwst_modfix.steps.outputs import SafeOutputs, refuse_replaced
from jwst_modfix.table.file import choose_table
from jwst_modfix.table.model import ModuleOffsetModel
from jwst_modfix.text import get_logger

if TYPE_CHECKING:
    from jwst_modfix.table.table import OffsetTable

__all__ = ["ModuleOffsetStep"]

log = get_logger(f"stpipe.{__name__}")  # the name that a stock pipeline, of which we are a hook, shows

# stpipe writes the parameters of a step into the log as YAML: a table is named there, and not written out.
yaml.add_representer(ModuleOffsetModel, lambda dumper, model: dumper.represent_str(model.override_handle))


class ModuleOffsetStep(SafeOutputs):
    """
    Take the module A/B flux offsets and gradients out of NIRCam images.

    Input is a calibrated image (``_cal``), a list, a container or a library of them, or an association; output is
    a data model for a file, a library for an association, and else of the same kind. Run by ``strun``, it writes
    ``<root>_modfix.fits`` for each exposure, and an association of these. Exposures that the table is not meant for
    are returned unchanged, marked as skipped.

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
    on_existing = option('overwrite', 'skip', 'error', default='overwrite')  # An output that exists: write it again, keep it if it is the finished output of this very input, table and parameters (to resume), or end with an error before anything is written
    workers = integer(default=1)  # Processes that correct the members of an association; 0 for one on each core
    scheduler = string(default=None)  # Address of the scheduler of a Dask cluster that corrects the members of an association, instead of processes on this machine
    in_memory = boolean(default=True)  # Keep the exposures of a returned library in memory? If False, they live in files
    suffix = string(default='modfix')  # Suffix of output files; with inverse, 'unmodfix' unless another is given
    output_use_model = boolean(default=True)  # Name output files after each exposure
    """  # noqa: E501

    def process(self, input_data: Any) -> Any:
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
        if getattr(self.parent, "class_alias", None) == "photom":
            raise ModuleOffsetError(
                "module_offset cannot be a hook of photom: a hook sees CRDS_CTX and R_PHOTOM of the rate file; use the "
                "pipeline calwebb_image2_modfix, or the hook --steps.tweakreg.pre_hooks of calwebb_image3"
            )
        correction = self._correction()
        self._inputs, self._outputs, self._written = set(), {}, {}
        given = self._locate(input_data)
        is_exposure = isinstance(given, Path) and given.name.lower().endswith(EXPOSURE_SUFFIXES)
        if isinstance(given, Mapping | Path) and not is_exposure:
            return self._process_association(read_association(given), correction)
        if isinstance(given, Path | datamodels.JwstDataModel):
            return self._process_list([given], correction)[0]
        if not isinstance(given, Sequence | ModelContainer | ModelLibrary):
            raise ModuleOffsetError(
                f"input must be a file, a JWST data model, a list, a container, a library or an association, "
                f"got {type(given).__name__}"
            )
        if not len(given):
            raise ModuleOffsetError(f"input is an empty {type(given).__name__}: give at least one exposure")
        if isinstance(given, ModelLibrary):
            return self._process_library(given, correction)
        if isinstance(given, ModelContainer):
            return self._process_container(given, correction)
        return self._process_list([self._locate(item) for item in given], correction)

    def finalize_result(self, result: Any, reference_files_used: list[tuple[str, str]]) -> None:
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

    def _correction(self) -> Correction:
        """Gather the parameters, and refuse contradictions."""
        if not (self.apply_offset or self.apply_slope or self.inverse):
            raise ModuleOffsetError("apply_offset and apply_slope are both False: there is nothing to apply")
        if not re.fullmatch(r"[A-Za-z0-9_-]+", self.suffix):
            raise ModuleOffsetError(f"suffix must be letters, digits, - and _, at least one; got {self.suffix!r}")
        names = ("apply_offset", "apply_slope", "inverse", "on_invalid", "on_missing")
        return Correction(
            table=None if self.inverse else self._table(), **{name: getattr(self, name) for name in names}
        )

    def _table(self) -> OffsetTable:
        """Choose the table, and log which it is."""
        table, source = choose_table(self.get_ref_override("moduleoffset"))
        log.info("Table %s (hash %s), %s", table.name, table.digest, source)
        if table.valid_for.is_empty:
            log.warning(
                "%s names no calibration in valid_for, and is applied to any; on another calibration it is wrong",
                table.name,
            )
        return table

    def _locate(self, item: Any) -> Any:
        if isinstance(item, str) and "://" in item:
            raise ModuleOffsetError(f"{item}: is a URL; download the file and give the copy")
        return Path(self.make_input_path(str(item))) if isinstance(item, str | Path) else item

    def _correct(self, members: Iterable[Any], correction: Correction, product: Path | None = None) -> list[Any]:
        options = {"product": product, "workers": self.workers, "scheduler": self.scheduler}
        return list(correct_members(members, correction, self._outputs, **options))

    def _process_list(self, inputs: list[Any], correction: Correction) -> list[Any]:
        """Correct files and models; the list of results has their order."""
        # One input is refused when it is corrected.
        self._plan(inputs, inputs if len(inputs) > 1 else (), correction)
        # A model is copied, unless it belongs to the pipeline that runs this step.
        is_own = self.parent is not None
        members = (item if is_own or isinstance(item, Path) else item.copy() for item in inputs)
        results = self._correct(members, correction)
        written = {}
        for number, item in enumerate(inputs):
            if isinstance(item, Path) and item in self._outputs:
                path = self._outputs[item].path
                results[number] = datamodels.open(path)
                written[id(results[number])] = path
        self._written = written
        return results

    def _process_container(self, container: ModelContainer, correction: Correction) -> ModelContainer:
        science = [is_science(model.meta.asn.exptype or "science") for model in container]
        self._plan(container, itertools.compress(container, science), correction)
        container = self.prepare_output(container)
        self._correct(itertools.compress(container, science), correction)
        return container

    def _process_library(self, library: ModelLibrary, correction: Correction) -> ModelLibrary:
        science = [index for index, exptype in enumerate(library.exptypes) if is_science(exptype)]
        with library:
            members = borrowed(library, range(len(library)), modify=False)
            self._plan(members, borrowed(library, science, modify=False), correction)
        if self.parent is None:
            library = copy_library(library)
        with library:
            self._correct(borrowed(library, science), correction)
        return library

    def _process_association(self, association: Association, correction: Correction) -> ModelLibrary:
        """Correct and write one member after the other; without output files, correct a library of the members."""
        association.warn_of_missing()
        if not self.in_memory:
            check_writable(Path.cwd())  # where a library on disk keeps its files
        corrected = self._plan_association(association, correction)
        if not self.save_results:
            library = AssociationLibrary(corrected, on_disk=not self.in_memory)
            with library:
                self._correct(borrowed(library, range(len(library))), correction)
            return library
        groups = self._correct(self._outputs, correction, corrected.source)
        refuse_replaced(self._outputs.values())
        write_association(corrected)
        log.info("The association of %d members is %s", len(groups), corrected.source)
        paths = [output.path for output in self._outputs.values()]
        return AssociationLibrary(corrected, on_disk=not self.in_memory, groups=dict(zip(paths, groups, strict=True)))
