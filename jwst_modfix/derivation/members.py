"""The exposures of a derivation, checked all at once before a pixel is read."""

from jwst_modfix.errors import AssociationError, NoSolutionError, PhotometryError
from jwst_modfix.parallel import THIS_PROCESS
from jwst_modfix.photometry import find_mixed, read_header
from jwst_modfix.photometry.frames import read_geometry
from jwst_modfix.reference.table import MODULES

__all__ = ["read_members"]


def read_members(paths, *, where, allow_mixed=False, workers=THIS_PROCESS):
    """
    Read the headers of all members, and refuse those that cannot be used, together.

    Parameters
    ----------
    paths : sequence of pathlib.Path
        The files.
    where : str
        What they are members of, for the message.
    allow_mixed : bool
        Accept members that were not calibrated alike.
    workers : Workers
        Who reads them.

    Returns
    -------
    headers : list of ExposureHeader
        One for each file.
    mixed : list of str
        How they differ in calibration; empty where they do not.

    Raises
    ------
    AssociationError
        Members are missing, cut short, not of NIRCam, without WCS or calibrated differently; names each.
    NoSolutionError
        No filter has exposures of both modules.
    """
    found = list(workers.map(_inspect, [(path,) for path in paths], [path.name for path in paths]))
    headers = [header for header, _ in found if header]
    problems = [problem for _, problem in found if problem]
    if problems:
        raise AssociationError(
            f"{where}: {len(problems)} of {len(paths)} members cannot be used: {'; '.join(problems)}"
        )
    mixed = find_mixed(headers)
    if mixed and not allow_mixed:
        raise AssociationError(
            f"{where}: members must be calibrated alike: {'; '.join(mixed)}; allow_mixed takes them as they are"
        )
    _check_modules(headers, where)
    return headers, mixed


def _inspect(path):
    """Read one member's headers and WCS; give the headers, or what is wrong with it."""
    try:
        header = read_header(path)
        read_geometry(header)
    except PhotometryError as error:
        return None, str(error)
    return header, None


def _check_modules(headers, where):
    """Refuse, before any pixel is read, exposures that compare no modules."""
    seen = {}
    for header in headers:
        seen.setdefault(f"{header.filter}+{header.pupil}", set()).add(header.module)
    if not any(len(modules) == len(MODULES) for modules in seen.values()):
        words = ", ".join(f"{band}: {', '.join(sorted(modules))}" for band, modules in seen.items())
        raise NoSolutionError(f"{where}: an offset needs exposures of both modules through one filter; got {words}")
