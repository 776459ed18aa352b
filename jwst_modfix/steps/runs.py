"""Runs of our steps: they work offline, read inputs, plan and write outputs."""

from __future__ import annotations

import contextlib
import functools
import gc
import logging
import os
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from astropy.io import fits
from jwst.datamodels import ModelContainer, ModelLibrary
from jwst.datamodels.utils import attrs_to_group_id
from jwst.stpipe import Step as JwstStep
from stdatamodels.jwst.datamodels import JwstDataModel
from stpipe import config_parser
from stpipe.exceptions import StpipeExitException

from jwst_modfix.apply.decide import Correction, Output
from jwst_modfix.apply.record import find_foreign, find_unfinished
from jwst_modfix.errors import AssociationError, ModuleOffsetError, OutputError
from jwst_modfix.exposure import Exposure, open_exposure, read_primary_header
from jwst_modfix.files import check_targets, check_writable, explained, find_existing, remove_leftovers
from jwst_modfix.steps.associations import (
    Association,
    is_science,
    plain_copy,
    read_association,
    refuse_mixture,
    rename_product,
    write_association,
)
from jwst_modfix.text import count_nouns, is_url, log, log_result, results_shown_plain

# Suffixes that are looked for in a folder, in the order of preference where an exposure has several files: the
# calibrated one, then those with a WCS or pixels of later steps, then ours.
_OURS = ("modfix", "unmodfix")
SUFFIXES = ("cal", "jhat", "tweakreg", "match", "crf", *_OURS)
NAMES = re.compile(rf"[^.].*_({'|'.join(SUFFIXES)})\.fits(\.gz)?", re.IGNORECASE)
# Ends of the names of exposures, also of packed ones, of which the opener says what they are.
PACKED = re.compile(r"(\.fits|\.asdf)(\.\w+)?$", re.IGNORECASE)
_ENDS = (".fits", ".asdf", "_asn.json")


@functools.cache
def _ending(kind: type[ModuleOffsetError]) -> type[ModuleOffsetError]:
    """Make a subclass of an error, with which strun ends without a traceback."""
    content = {"exit_status": 1, "__module__": kind.__module__, "__reduce__": lambda error: (kind, error.args)}
    return type(kind.__name__, (kind, StpipeExitException), content)


class OfflineStep(JwstStep):
    """A step that works offline; results have no prefix, and errors are one line."""

    def run(self, *args: Any) -> Any:
        """Run the step; its last lines, or an error of ours, end the log."""
        if self.skip and self.parent:
            return args[0]  # stpipe would record in it that the step is skipped
        # What is imported is kept out of the garbage collections of the run, which take 0.4 s otherwise.
        is_ours = gc.get_freeze_count() == 0
        if is_ours:
            gc.freeze()
        with results_shown_plain():
            try:
                if self.output_dir:
                    folder = Path(os.path.expandvars(self.output_dir)).expanduser()
                    with explained(folder, "cannot be made"):
                        folder.mkdir(parents=True, exist_ok=True)
                result = super().run(*args)
            except ModuleOffsetError as error:
                for line in error.lines:
                    log_result(line, logging.ERROR)
                raise _ending(type(error))(*error.args).with_traceback(error.__traceback__) from error.__cause__
            finally:
                if is_ours:
                    gc.unfreeze()
            self.conclude(args)
            return result

    def conclude(self, given: Sequence[Any]) -> None:
        """Log the last lines of a run on these inputs."""

    @classmethod
    def get_config_from_reference(cls, *_args: Any, **_kwargs: Any) -> config_parser.ConfigObj:
        """Take no parameters from CRDS, which has none, so that no network is needed."""
        return config_parser.ConfigObj()

    @classmethod
    def build_config(cls, _input: Any, **kwargs: Any) -> Any:
        """Do the same in Python, and look at no input for it."""
        return super().build_config(None, **kwargs)

    def _set_input_dir(self, *_args: Any, **_kwargs: Any) -> None:
        """Leave `input_dir` as the user gives it: inputs may be in several folders."""


def read_input(given: Any, locate: Callable[[str], str | Path] = Path) -> Any:
    """Find what an input names: an association, a file, a model, or several of these.

    A folder is the list of the exposures in it and below, also as an item of a list.
    """
    if isinstance(given, str | Path):
        refuse_empty(given)
        if is_url(given):
            raise ModuleOffsetError(f"{given}: is a URL; download the file and give the copy")
        path = Path(locate(str(given)))
        if os.path.isdir(path):  # noqa: PTH112 - False for names that no file can have
            return find_exposures(path)
        return path if PACKED.search(path.name) else read_association(path)
    if isinstance(given, Mapping):
        return read_association(given)
    if isinstance(given, JwstDataModel | Association):
        return given
    if isinstance(given, fits.HDUList | bytes) or not isinstance(given, Sequence | ModelLibrary):
        raise AssociationError(
            f"input must be files, folders, data models, a list, a container, a library or an association; got "
            f"{type(given).__name__}{'; give its file or its data model' * isinstance(given, fits.HDUList)}"
        )
    if not len(given):
        raise AssociationError(f"input is an empty {type(given).__name__}: give at least one exposure")
    if isinstance(given, ModelContainer | ModelLibrary):
        return given
    items: list[Any] = []
    for item in given:
        found = read_input(item, locate)
        if not isinstance(found, Path | JwstDataModel | list):
            what = item if isinstance(item, str | Path) else f"a {type(item).__name__}"
            raise AssociationError(f"input is a list with {what} in it; give an association alone, not in a list")
        items += found if isinstance(found, list) else [found]
    return items


def refuse_empty(name: str | Path) -> None:
    """Refuse a name that is empty, which would be the working directory."""
    if not str(name).strip():
        raise ModuleOffsetError("the name of an input is empty: give a file, a folder or an association")


def name_inputs(given: Sequence[Any], otherwise: str) -> str:
    """Name the input of a run as in a command, or by another word if it is not one."""
    is_named = len(given) == 1 and isinstance(given[0], str | Path)
    return shlex.quote(str(given[0])) if is_named else otherwise


def advise_on_tables(given: Sequence[Any], table: str) -> str:
    """Name the commands that make a table for inputs that this one is not meant for."""
    return (
        f"derive a table: strun module_offset_derive {name_inputs(given, 'ASN')}; or carry one over: "
        f"modfix rebase {shlex.quote(table)} --from-photom OLD --to-photom NEW -o new_moduleoffset.asdf"
    )


def shorten(path: Path) -> str:
    """Find the path from the working directory, where it is below that."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def find_exposures(folder: Path) -> list[Path]:
    """Find NIRCam images of one suffix in a folder and below; log what is left out."""
    found = list_exposures(folder)
    suffix = min((suffix_of(path) for path in found), key=SUFFIXES.index)
    others = {path: find_other_kind(path) for path in found if suffix_of(path) == suffix}
    taken = [path for path, reason in others.items() if not reason]
    left = [f"{path.name} ({reason})" for path, reason in others.items() if reason]
    left += [path.name for path in found if path not in others and suffix_of(path) not in _OURS]
    log.log(logging.WARNING if left else logging.INFO, "%s: %s named *_%s%s", folder,
            count_nouns(len(taken), "exposure"), suffix, f"; left out: {', '.join(left)}" * bool(left))  # fmt: skip
    if not taken:
        raise AssociationError(f"{folder}: no file in it is a NIRCam image; left out: {', '.join(left)}")
    return taken


def list_exposures(folder: Path) -> list[Path]:
    """List files in a folder and below that are named as exposures and not hidden."""
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(place, name) for name in files if NAMES.fullmatch(name)]
    if not found:
        names = ", ".join(f"*_{suffix}.fits" for suffix in SUFFIXES)
        raise AssociationError(f"{folder}: no file in this folder or below has a name such as {names}")
    return sorted(found)


def suffix_of(path: Path) -> str | None:
    """Find the suffix by which an exposure is known, such as ``"cal"``, else None."""
    match = NAMES.fullmatch(path.name)
    return match and match[1].lower()


def find_other_kind(path: Path) -> str:
    """Describe a file that is not NIRCam imaging; one that cannot be read is not."""
    header = read_primary_header(path)
    if not header:
        return ""
    if header.get("INSTRUME") != "NIRCAM":
        return str(header.get("INSTRUME", "no JWST file"))
    exp_type = str(header.get("EXP_TYPE", "NRC_IMAGE"))
    return "" if exp_type == "NRC_IMAGE" else exp_type


def each(members: Any, *, of_science: bool = False, modify: bool = True) -> Iterator[Any]:
    """Yield each member, or science member; those of a library are borrowed."""
    if not isinstance(members, ModelLibrary):
        for item in members:
            is_free = not of_science or not isinstance(members, ModelContainer)
            if is_free or is_science(item.meta.asn.exptype or "science"):
                yield item
        return
    with members:
        for index, exptype in enumerate(members.exptypes):
            if not of_science or is_science(exptype):
                model = members.borrow(index)
                try:
                    yield model
                finally:
                    members.shelve(model, index, modify=modify)


def rename_product_of(pipeline: Any, library: ModelLibrary, suffix: str) -> None:
    """Rename a pipeline's product of this library, if the user has not named it."""
    name = library.asn["products"][0].get("name")
    if name and getattr(pipeline, "output_file", None) == name:
        pipeline.output_file = rename_product(name, suffix)
        log.info("The product is named %s, not to replace an uncorrected %s", pipeline.output_file, name)


def copy_members(members: Any, suffix: str) -> Any:
    """Copy a list, container or library, so that the caller's models do not change."""
    if isinstance(members, ModelLibrary):
        return LibraryCopy(members, suffix)
    if isinstance(members, ModelContainer):
        return members.copy()
    return [item if isinstance(item, Path) else item.copy() for item in members]


def plan_outputs(
    targets: Sequence[tuple[Path | None, Path]],
    protected: Iterable[Any],
    correction: Correction,
    on_existing: str,
    product: Path | None,
) -> list[Output]:
    """Plan the outputs of files and models (None), and prepare their folders.

    ``product`` is the association of the outputs.
    """
    everything = [target for _, target in targets]
    everything += [product] if product else []
    check_targets(everything, protected, ends=_ENDS, allow_existing=on_existing != "error")
    outputs = []
    folders: dict[Path, set[str]] = {}  # names of what is to be written in each
    for source, target in targets:
        job, reason = None, "it does not exist"
        if source is not None:
            with contextlib.suppress(OSError, ValueError):  # reported when it is opened
                status = source.stat()
                job = f"{correction.identity} {source.name} {status.st_size} {status.st_mtime_ns}"
        if on_existing == "skip" and find_existing([target]):
            reason = find_unfinished(target, job)
            if reason:
                log.info("%s is written again: %s", target, reason)
        folders.setdefault(target.parent, set()).update([target.name] if reason else [])
        outputs.append(Output(target, source, job, is_finished=not reason))
    for folder, names in folders.items():
        if names:
            check_writable(folder)
            # That of this run is withdrawn with the first output that is replaced, and written again at the end.
            for path in sorted({*folder.glob("*.[jJ][sS][oO][nN]")} - {product}):
                refuse_mixture(path, folder, names, correction.identity)
        for path in remove_leftovers([folder]):
            log.info("Removed %s, which a run that was killed had left", path)
    return outputs


def write_corrected(
    association: Association, outputs: Sequence[Output], exposures: Sequence[Exposure], *, on_disk: bool
) -> AssociationLibrary:
    """Write the association of the outputs of these exposures; open its library."""
    refuse_replaced(outputs)
    write_association(association)
    groups = {output.path: exposure.group for output, exposure in zip(outputs, exposures, strict=True)}
    return AssociationLibrary(association, on_disk=on_disk, groups=groups)


def refuse_replaced(outputs: Iterable[Output]) -> None:
    """Refuse outputs that another run has replaced by others."""
    replaced = [str(out.path) for out in outputs if out.path.suffix == ".fits" and find_foreign(out.path, str(out.job))]
    if replaced:
        raise OutputError(
            f"{', '.join(replaced)}: replaced or removed by another run meanwhile, so no association is written: "
            "give each run its own output_dir"
        )


class AssociationLibrary(ModelLibrary):
    """Library of the science members of all products of an association.

    Other members, which may be catalogues, are never opened, and are not in the library. With ``groups``, by path, the
    members are outputs, in which the step is recorded already.
    """

    def __init__(self, association: Association, *, on_disk: bool, groups: Mapping[Path, Any] | None = None) -> None:
        self.is_final = groups is not None
        members = association.move(list(filter(is_science, association.members)), lambda path, _: str(path))
        for number, member in enumerate(members, 1):
            if groups is None:
                with open_exposure(member["expname"]) as opened:
                    group = opened.exposure.group
            else:
                group = groups.get(Path(member["expname"]))
            group = attrs_to_group_id(group) if isinstance(group, dict) else group or f"exposure{number:04d}"
            given = member.get("group_id")
            member["group_id"] = group if given in (None, "") else str(given)
        product = association.content["products"][0] | {"members": members}
        super().__init__(association.content | {"products": [product]}, on_disk=on_disk)

    def _datamodels_open(self, filename: str, **options: Any) -> Any:
        """Open an input as the correction does, whatever its name."""
        if self.is_final:
            return super()._datamodels_open(filename, **options)
        with open_exposure(filename) as opened:
            model = opened.to_model()
        model.meta.filename = PACKED.sub(lambda end: end[1].lower(), Path(filename).name)  # that it can be saved by
        return model

    def finalize_result(self, step: Any, reference_files_used: list[tuple[str, str]]) -> None:
        """Record the step in each member, where that has not been done on writing."""
        if not self.is_final:
            super().finalize_result(step, reference_files_used)


class LibraryCopy(ModelLibrary):
    """Copy of a library and its models; its products get new names."""

    _model: Any = None  # to be copied

    def __init__(self, original: ModelLibrary, suffix: str) -> None:
        association = Association(plain_copy(original.asn), Path(original.asn_dir), "")
        for product in association.content["products"]:
            if "name" in product:
                product["name"] = rename_product(product["name"], suffix)
            if original.asn_dir != "None":  # it was made of an association
                product["members"] = association.move(product["members"], lambda path, _: str(path))
        super().__init__(association.content, on_disk=original.on_disk)
        with explained(Path.cwd(), "cannot be written to"), self:
            for index, self._model in enumerate(each(original, modify=False)):
                self.shelve(self.borrow(index), index)
        self._model = None

    def _datamodels_open(self, filename: str, **options: Any) -> Any:
        return self._model.copy() if self._model else super()._datamodels_open(filename, **options)
