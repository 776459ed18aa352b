"""Outputs of a correction: what is finished, and what would mix two corrections."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from astropy.io import fits

from jwst_modfix.apply.decide import Correction, Output
from jwst_modfix.apply.record import job_card
from jwst_modfix.errors import AssociationError, ExposureError, OutputError
from jwst_modfix.exposure import JOB_KEYWORD, open_exposure
from jwst_modfix.files import check_targets, check_writable, find_existing, identify, remove_leftovers
from jwst_modfix.steps.associations import read_association
from jwst_modfix.text import log

_ENDS = (".fits", ".asdf", "_asn.json")


def plan_outputs(
    sources: Iterable[Path | None],
    targets: Collection[Path],
    protected: Iterable[Any],
    correction: Correction,
    on_existing: str,
    product: Path | None = None,
) -> dict[Path, Output]:
    """Find which outputs are finished; prepare the folders of the others.

    ``sources`` are files, or None for models in memory; ``product`` is the association of the outputs.
    """
    everything = [*targets, *([product] if product else [])]
    check_targets(everything, protected, ends=_ENDS, allow_existing=on_existing != "error")
    outputs: dict[Path, Output] = {}
    folders: dict[Path, set[str]] = {}
    for source, target in zip(sources, targets, strict=True):
        job = None
        if source is not None:
            with contextlib.suppress(OSError, ValueError):  # reported when it is opened
                status = source.stat()
                job = f"{correction.identity} {source.name} {status.st_size} {status.st_mtime_ns}"
        reason = _find_unfinished(target, job) if on_existing == "skip" and find_existing([target]) else "-"
        folders.setdefault(target.parent, set()).update([target.name] if reason else [])
        if len(reason) > 1:
            log.info("%s is written again: %s", target, reason)
        if source is not None:
            outputs[source] = Output(target, job, is_finished=not reason)
    for folder, unfinished in folders.items():
        if unfinished:
            check_writable(folder)
            _refuse_mixtures(folder, unfinished, correction.identity, product)
        for path in remove_leftovers([folder]):
            log.info("Removed %s, which a run that was killed had left", path)
    return outputs


def _find_unfinished(target: Path, job: str | None) -> str:
    """Find why a file is not the finished output of a job; empty where it is."""
    if job is None:
        return "an exposure in memory does not say what file it is"
    if target.suffix != ".fits":
        return "only a FITS file says what it is the output of"
    try:
        with open_exposure(target):
            return _find_foreign(target, job)
    except ExposureError as error:
        return str(error).removeprefix(f"{target}: ")


def _find_foreign(target: Path, job: str | None) -> str:
    header = _read_header(target)
    if JOB_KEYWORD not in header:
        return f"it has no {JOB_KEYWORD}, so nothing says what it is the output of"
    if header[JOB_KEYWORD] != job_card(str(job), header)[1] or header.get("FILENAME") != target.name:
        return "it is of another input, table, parameter or version, or was changed or saved again since"
    return ""


def _read_header(target: Path) -> fits.Header:
    try:
        return fits.getheader(target)
    except (OSError, fits.VerifyError, ValueError):  # no FITS file, or none any more
        return fits.Header()


def refuse_replaced(outputs: Iterable[Output]) -> None:
    """Refuse outputs that another run has replaced by others."""
    replaced = [
        str(out.path) for out in outputs if out.path.suffix == ".fits" and _find_foreign(out.path, str(out.job))
    ]
    if replaced:
        raise OutputError(
            f"{', '.join(replaced)}: replaced or removed by another run meanwhile, so no association is written: "
            "give each run its own output_dir"
        )


def _refuse_mixtures(folder: Path, names: Collection[str], correction: str, product: Path | None) -> None:
    """Refuse to mix outputs of two corrections in one association of the folder."""
    for path in sorted(folder.iterdir()):
        # The own one is withdrawn with the first output that is replaced, and written again at the end.
        if path.suffix.lower() != ".json" or path == product:
            continue
        try:
            association = read_association(path)
        except AssociationError:
            continue
        members = [member for member in association.science if identify(member.parent) == identify(folder)]
        shared = sorted({member.name for member in members}.intersection(names))
        others = [
            member.name
            for member in members
            if identify(member) and str(_read_header(member).get(JOB_KEYWORD)).partition("-")[0] != correction
        ]
        if shared and others:
            others.sort(key=shared.__contains__)  # name one that stays, where there is one
            raise OutputError(
                f"{path}: names {', '.join(shared)}, to be written now, and {others[0]} of another table, parameters "
                f"or version: set output_dir, or remove {path.name}"
            )
