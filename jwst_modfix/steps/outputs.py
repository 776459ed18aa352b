"""Steps that work offline, and where results go: named by suffix, whole, never over an input, resumed."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from pathlib import Path
from types import MappingProxyType
from typing import Any

from astropy.io import fits
from jwst.datamodels import ModelLibrary
from jwst.stpipe import Step as JwstStep
from stpipe import config_parser

from jwst_modfix.apply.decide import Correction, Output, refuse_together
from jwst_modfix.apply.record import job_card
from jwst_modfix.errors import AssociationError, ExposureError, ModuleOffsetError, OutputError
from jwst_modfix.exposure import JOB_KEYWORD, open_exposure
from jwst_modfix.files import (
    check_writable,
    explained,
    find_existing,
    identify,
    locate,
    remove_leftovers,
    written_whole,
)
from jwst_modfix.steps.associations import Association, AssociationLibrary, read_association
from jwst_modfix.text import get_logger

log = get_logger(f"stpipe.{__name__}")

SUFFIX = "modfix"
UNDONE_SUFFIX = "unmodfix"
_FORMATS = (".fits", ".asdf")
_MAX_NAME = 255  # bytes, of most file systems


class OfflineStep(JwstStep):
    """A step that does not use CRDS, and whose log lines are shown."""

    def run(self, *args: Any) -> Any:
        """Run the step; report in one line that its output folder cannot be made."""
        if self.output_dir:
            folder = Path(os.path.expandvars(self.output_dir)).expanduser()
            with explained(folder, "cannot be made"):
                folder.mkdir(parents=True, exist_ok=True)
        return super().run(*args)

    @classmethod
    def get_config_from_reference(cls, *_args: Any, **_kwargs: Any) -> config_parser.ConfigObj:
        """Take no parameters from CRDS, which has none for this step, so that it starts with no network."""
        return config_parser.ConfigObj()

    @classmethod
    def _get_crds_parameters(cls, _dataset: Any) -> tuple[dict[str, Any], str]:
        """Open no input only to ask CRDS about it."""
        return {}, "jwst"

    @staticmethod
    def get_stpipe_loggers() -> tuple[str, ...]:
        """Name the loggers that stpipe sets up and records."""
        return (*JwstStep.get_stpipe_loggers(), "jwst_modfix")


class SafeOutputs(OfflineStep):
    """A step that saves its results, each whole or not at all, and never over an input."""

    _inputs: Set[Any] = frozenset()  # device and inode of each input, which is never written to
    _outputs: Mapping[Path, Output] = MappingProxyType({})  # by input file
    _written: Mapping[int, Path] = MappingProxyType({})  # by id of a result: its file

    def remove_suffix(self, name: str) -> tuple[str, str]:
        """Remove a known suffix from a file's name, or one of this package."""
        ours = re.fullmatch(rf"(.+)([_-])(?:{SUFFIX}|{UNDONE_SUFFIX})", name)
        return ours.groups() if ours else super().remove_suffix(name)

    def save_model(
        self,
        model: Any,
        suffix: str | None = None,
        idx: int | None = None,
        output_file: str | None = None,
        force: bool = False,
        **components: Any,
    ) -> Any:
        """Save results, each whole or not at all, and never over an input."""
        if isinstance(model, AssociationLibrary) and model.is_final:
            return [member["expname"] for member in model.asn["products"][0]["members"]]
        if isinstance(model, Sequence | ModelLibrary):
            return super().save_model(model, suffix, idx, output_file, force, **components)
        if id(model) in self._written:
            return str(self._written[id(model)])
        output_file = output_file or self.output_file
        if not (force or self.save_results or output_file):
            return None
        basename = output_file if output_file and idx is None else model.meta.filename
        target = self._output_path(basename or self.default_output_file())
        if identify(target) in self._inputs:
            raise ModuleOffsetError(f"{target}: is an input, which is never overwritten: set output_dir or suffix")
        with written_whole(target) as partial:
            model.save(str(partial))
        return str(target)

    def _output_path(self, basename: str) -> Path:
        basename = re.sub(r"\.(?:gz|fz)$", "", str(basename), flags=re.IGNORECASE)
        return locate(self.make_output_path(basepath=basename, suffix=self._output_suffix))

    @property
    def _output_suffix(self) -> str:
        return UNDONE_SUFFIX if self.inverse and self.suffix == SUFFIX else self.suffix

    def _plan(self, members: Iterable[Any], science: Iterable[Any], correction: Correction) -> None:
        """Find where the results of files and models are saved; refuse, before anything is written, what is wrong."""
        targets, inputs = [], []
        for item in members if self.save_results else ():
            name = item.name if isinstance(item, Path) else item.meta.filename
            target = self._output_path(name or self.default_output_file())
            # A model does not say where it was opened from: a file of its name in the output folder may be its own.
            inputs.append(item if isinstance(item, Path) else target.with_name(Path(str(name)).name))
            targets.append((item, target))
        if self.output_file and len(targets) == 1:
            targets = [(targets[0][0], self._output_path(self.output_file))]
        self._check([target for _, target in targets], inputs)
        refuse_together(science, correction)
        self._outputs = self._prepare(targets, correction)

    def _plan_association(self, association: Association, correction: Correction) -> Association:
        """Do so for the members of an association; return the corrected association, with its place if it is saved."""
        if not self.save_results:
            refuse_together(association.science, correction, where=association.stem)
            self._outputs = {}
            return association.corrected(self._output_suffix)
        if self.output_file:
            raise ModuleOffsetError(
                f"output_file is {self.output_file!r}, and an association has one output file a member: "
                "set output_dir and suffix instead"
            )
        targets = {path: self._output_path(path.name) for path in association.science}
        stem = self.remove_suffix(association.stem)[0] if self.inverse else association.stem
        product = self._output_path("any").with_name(f"{stem}_{self._output_suffix}_asn.json")
        self._check(targets.values(), association.files, product)
        refuse_together(association.science, correction, where=association.stem)
        self._outputs = self._prepare(targets.items(), correction, product)
        return association.corrected(self._output_suffix, product, targets)

    def _check(self, targets: Collection[Path], inputs: Iterable[Any], *product: Path) -> None:
        """Refuse outputs that cannot be written, or that would overwrite each other or an input."""
        self._inputs = {identify(path) for path in inputs} - {None}
        unnamed = [reason for target in dict.fromkeys([*targets, *product]) if (reason := _find_bad_name(target))]
        if unnamed:
            raise OutputError("; ".join(unnamed))
        problems = [
            f"{target} would be written for {count} exposures"
            for target, count in Counter(targets).items()
            if count > 1
        ]
        problems += [
            f"{target} is an input, which is never overwritten"
            for target in dict.fromkeys([*targets, *product])
            if identify(target) in self._inputs
        ]
        if problems:
            raise AssociationError("; ".join(problems) + ": set output_dir or suffix")
        existing = find_existing([*targets, *product]) if self.on_existing == "error" else []
        if existing:
            exist = "exists" if len(existing) == 1 else "exist"
            raise OutputError(f"{', '.join(existing)}: {exist}, and on_existing is 'error'")

    def _prepare(self, targets: Collection[tuple[Any, Path]], correction: Correction, product: Path | None = None
                 ) -> dict[Path, Output]:  # fmt: skip
        """Find which outputs of files are finished, and prepare the folders of the others.

        ``targets`` are pairs of an input, file or model, and its output; ``product`` is their association.
        """
        outputs, folders = {}, {}
        for source, target in targets:
            output = self._output(source, target, correction)
            if isinstance(source, Path):
                outputs[source] = output
            if not output.is_finished:
                folders.setdefault(target.parent, []).append(target)
        for folder, paths in folders.items():
            check_writable(folder)
            _refuse_mixtures(folder, paths, correction.identity, product)
        for path in remove_leftovers([target.parent for _, target in targets]):
            log.info("Removed %s, which a run that was killed had left", path)
        return outputs

    def _output(self, source: Any, target: Path, correction: Correction) -> Output:
        job = describe_job(source, correction) if isinstance(source, Path) else None
        if self.on_existing != "skip" or not find_existing([target]):
            return Output(target, job)
        reason = _find_unfinished(target, job) if job else "an exposure in memory does not say what file it is"
        if reason:
            log.info("%s is written again: %s", target, reason)
        return Output(target, job, is_finished=not reason)


def _find_bad_name(target: Path) -> str | None:
    """Find why a file of this name cannot be written."""
    if target.suffix not in (*_FORMATS, ".json"):
        return f"{target}: outputs are {' or '.join(_FORMATS)} files; set output_ext to one of them"
    if target.suffix == ".fits" and not target.name.isascii():
        return f"{target}: a FITS header holds names in ASCII only; rename the input"
    if len(target.name.encode("utf-8", "surrogateescape")) > _MAX_NAME:
        return f"{target}: the name has more than {_MAX_NAME} bytes; rename the input"
    return ""


def describe_job(path: Path, correction: Correction) -> str:
    """Identify what makes an output: the correction (table, parameters and our version), then the input."""
    try:
        status = path.stat()
    except OSError as error:
        raise ExposureError(f"{path}: no such file" if not path.exists() else f"{path}: {error.strerror}") from None
    return f"{correction.identity} {path.name} {status.st_size} {status.st_mtime_ns}"


def _find_unfinished(target: Path, job: str) -> str | None:
    """Give the reason why an existing file is not the finished output of a job."""
    if target.suffix != ".fits":
        return "only a FITS file says what it is the output of"
    try:
        with open_exposure(target):
            return _find_foreign(target, job)
    except ExposureError as error:
        return str(error).removeprefix(f"{target}: ")


def _find_foreign(target: Path, job: str) -> str | None:
    header = _read_header(target)
    if isinstance(header, str):
        return header
    if JOB_KEYWORD not in header:
        return f"it has no {JOB_KEYWORD}, so nothing says what it is the output of"
    if header[JOB_KEYWORD] != job_card(job, header)[1] or header.get("FILENAME") != target.name:
        return "it is of another input, table, parameter or version, or was changed or saved again since"
    return ""


def _read_header(target: Path) -> Any:
    """Read the primary header; a text says why there is none."""
    try:
        return fits.getheader(target)
    except (OSError, fits.VerifyError, ValueError) as error:
        return f"cannot be read as FITS: {error}"


def refuse_replaced(outputs: Iterable[Output]) -> None:
    """Refuse outputs that another run has replaced by those of another table, other parameters or another input."""
    replaced = [str(out.path) for out in outputs if out.path.suffix == ".fits" and _find_foreign(out.path, out.job)]
    if replaced:
        raise OutputError(
            f"{', '.join(replaced)}: replaced or removed by another run meanwhile, so no association is written: "
            "give each run its own output_dir"
        )


def _refuse_mixtures(folder: Path, targets: Collection[Path], correction: Correction, product: Path) -> None:
    """Refuse to replace outputs that an association in their folder names beside those of another correction."""
    names = {target.name for target in targets}
    for path in sorted(folder.glob("*.json")):
        if path == product:  # is withdrawn with the first output that is replaced, and written again at the end
            continue
        try:
            association = read_association(path)
        except AssociationError:
            continue
        members = [member for member in association.science if identify(member.parent) == identify(folder)]
        if names.isdisjoint(member.name for member in members):
            continue
        others = [member for member in members if member.exists() and _correction_of(member) != correction]
        if others:
            raise OutputError(
                f"{path}: names {', '.join(sorted(names & {member.name for member in members}))}, to be written now, "
                f"and {others[0].name} of another table, parameters or version: set output_dir, or remove {path.name}"
            )


def _correction_of(path: Path) -> Any:
    header = _read_header(path) if path.suffix == ".fits" else ""
    return "" if isinstance(header, str) else str(header.get(JOB_KEYWORD, "")).partition("-")[0]
