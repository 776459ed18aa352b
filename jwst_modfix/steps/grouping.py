"""Exposures of several epochs put into associations, each member with its epoch."""

import json
import os
import warnings
from dataclasses import dataclass
from pathlib import Path

from jwst.associations.asn_from_list import asn_from_list
from jwst.associations.lib.rules_level3_base import DMS_Level3_Base

from jwst_modfix.errors import AssociationError, ModuleOffsetError
from jwst_modfix.files import find_existing, written_whole
from jwst_modfix.photometry import find_mixed, group_epochs, read_header

__all__ = ["Grouping", "group_exposures", "write_groups"]


@dataclass(frozen=True)
class Grouping:
    """
    Exposures by epoch.

    Parameters
    ----------
    headers : tuple of ExposureHeader
        The exposures, by time.
    epochs : Epochs
        Their epochs.
    mixed : tuple of str
        How they differ in calibration, in words.
    """

    headers: tuple
    epochs: object
    mixed: tuple


def group_exposures(paths, *, gap_days=30.0, roll_tolerance=5.0):
    """Find the epochs of exposures by their headers, as the derivation does."""
    files = list(dict.fromkeys(file for path in paths for file in _files(Path(path))))
    headers, problems = [], []
    for path in files:
        try:
            headers.append(read_header(path))
        except ModuleOffsetError as error:
            problems.append(str(error))
    if problems:
        raise AssociationError(f"{len(problems)} of {len(files)} files cannot be used: {'; '.join(problems)}")
    headers = tuple(sorted(headers, key=lambda header: (header.mjd, header.name)))
    times, rolls = [header.mjd for header in headers], [header.roll for header in headers]
    epochs = group_epochs(times, rolls, gap_days=gap_days, roll_tolerance=roll_tolerance)
    return Grouping(headers, epochs, tuple(find_mixed(headers)))


def write_groups(grouping, output, *, by_filter=False):
    """Write the association, or one for each filter and pupil."""
    output = Path(output)
    if output.suffix != ".json":
        raise AssociationError(f"{output}: the name of an association must end in '.json'")
    members = list(zip(grouping.headers, (grouping.epochs.names[i] for i in grouping.epochs.number), strict=True))
    groups = {}
    for header, epoch in members:
        groups.setdefault(_name(output, header if by_filter else None), []).append((header, epoch))
    if existing := find_existing(groups):
        raise AssociationError(f"{', '.join(existing)}: there already, and never overwritten; nothing was written")
    for path, group in groups.items():
        with written_whole(path) as partial:
            partial.write_text(_association(path, group), encoding="utf-8")
    return list(groups)


def _files(path):
    if not path.is_dir():
        return [path]
    files = sorted(path.glob("*_cal.fits"))
    if not files:
        raise AssociationError(f"{path}: there is no *_cal.fits file in this folder")
    return files


def _name(output, header):
    if header is None:
        return output
    band = header.filter if header.pupil == "CLEAR" else f"{header.filter}-{header.pupil}"
    return output.with_name(f"{_product(output)}_{band.lower()}_asn.json")


def _product(path):
    return path.stem.removesuffix("_asn")


def _association(path, group):
    """Write the members, relative to the association's folder, with their epochs."""
    folder = os.path.abspath(path.parent)  # noqa: PTH100 - keeps links
    names = [os.path.relpath(os.path.abspath(header.path), folder) for header, _ in group]  # noqa: PTH100
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Input association file contains path information")
        association = asn_from_list(names, rule=DMS_Level3_Base, product_name=_product(path))
        content = json.loads(association.dump()[1])
    for member, (_, epoch) in zip(content["products"][0]["members"], group, strict=True):
        member["epoch"] = epoch
    return json.dumps(content, indent=4) + "\n"
