"""Exposures of several epochs put into associations, each member with its epoch."""

import json
import os
import warnings
from dataclasses import dataclass
from pathlib import Path

from jwst.associations.asn_from_list import asn_from_list
from jwst.associations.lib.rules_level3_base import DMS_Level3_Base

from jwst_modfix.errors import AssociationError
from jwst_modfix.files import find_existing, locate, write_text
from jwst_modfix.photometry.frames import (
    GAP_DAYS,
    ROLL_TOLERANCE,
    Epochs,
    ExposureHeader,
    find_mixed,
    group_copies,
    group_epochs,
    read_headers,
)
from jwst_modfix.steps.runs import SUFFIXES, find_other_kind, list_exposures, refuse_empty, suffix_of
from jwst_modfix.text import describe_band


@dataclass(frozen=True)
class Grouping:
    """Exposures by epoch."""

    headers: tuple[ExposureHeader, ...]  # by time
    epochs: Epochs
    notes: tuple[str, ...]  # which files were left out and why, and how the others differ in calibration


def group_exposures(paths, *, gap_days=GAP_DAYS, roll_tolerance=ROLL_TOLERANCE):
    """Find the epochs of exposures by their headers; search folders at any depth."""
    for path in paths:
        refuse_empty(path)
    found = {
        file: path.is_dir() for path in map(Path, paths) for file in (list_exposures(path) if path.is_dir() else [path])
    }
    reasons = {file: find_other_kind(file) for file in found}
    headers = read_headers([file for file in found if not reasons[file]], "file")
    others = [f"{file.name} ({reason})" for file, reason in reasons.items() if reason]
    notes = [f"not NIRCam imaging, left out: {', '.join(others)}"] if others else []
    if not headers:
        raise AssociationError(f"no file is a NIRCam image; {'; '.join(notes)}")
    headers, repeated = _take_once(headers, found)
    if repeated:
        notes.append(f"other files of the same exposures, left out: {', '.join(repeated)}")
    epochs = group_epochs(headers, gap_days=gap_days, roll_tolerance=roll_tolerance)
    notes += [f"calibrated differently: {line}" for line in find_mixed(headers)]
    return Grouping(tuple(headers), epochs, tuple(notes))


def write_groups(grouping, output, *, by_filter=False):
    """Write the association, or one for each filter and pupil."""
    output = Path(output)
    if output.suffix != ".json":
        raise AssociationError(f"{output}: the name of an association must end in '.json'")
    groups = {}
    for header, number in zip(grouping.headers, grouping.epochs.number, strict=True):
        path = output
        if by_filter:
            band = describe_band(header.filter, header.pupil).replace("+", "-").lower()
            path = output.with_name(f"{output.stem.removesuffix('_asn')}_{band}_asn.json")
        groups.setdefault(path, []).append((header, grouping.epochs.names[number]))
    if existing := find_existing(groups):
        raise AssociationError(f"{', '.join(existing)}: exists, and is not overwritten; nothing was written")
    folder = os.path.realpath(output.parent)  # which paths of members are relative to
    for path, group in groups.items():
        names = [os.path.relpath(locate(header.path), folder) for header, _ in group]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Input association file contains path information")
            association = asn_from_list(names, rule=DMS_Level3_Base, product_name=path.stem.removesuffix("_asn"))
        for member, (_, epoch) in zip(association["products"][0]["members"], group, strict=True):
            member["epoch"] = epoch
        write_text(path, json.dumps(association.data, indent=4, default=dict) + "\n")
    return list(groups)


def _take_once(headers, found):
    """Take one file of each exposure; refuse two where nothing says which."""
    headers = sorted(headers, key=lambda header: (header.mjd, header.name, str(header.path)))
    taken, left_out = [], []
    for same in group_copies(headers):
        same.sort(key=lambda header: _rank(header.name))
        first, *others = same
        if others and (_rank(first.name) == _rank(others[0].name) or not all(found[header.path] for header in same)):
            names = ", ".join(str(header.path) for header in same)
            raise AssociationError(f"{names}: are one exposure (same detector and time); give it once")
        taken.append(first)
        left_out += [header.name for header in others]
    return taken, left_out


def _rank(name):
    """Rank files of one exposure: that of the lowest rank is taken."""
    suffix = suffix_of(Path(name))
    return SUFFIXES.index(suffix) if suffix else len(SUFFIXES)
