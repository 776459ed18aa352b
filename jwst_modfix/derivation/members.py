"""The exposures of a derivation, checked all at once before a pixel is read."""

from jwst_modfix.errors import AssociationError, PhotometryError
from jwst_modfix.photometry import find_mixed, read_header
from jwst_modfix.photometry.frames import read_geometry

__all__ = ["read_members"]


def read_members(paths, *, where, allow_mixed=False):
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
    """
    headers, problems = [], []
    for path in paths:
        try:
            header = read_header(path)
            read_geometry(header)
            headers.append(header)
        except PhotometryError as error:
            problems.append(str(error))
    if problems:
        raise AssociationError(
            f"{where}: {len(problems)} of {len(paths)} members cannot be used: {'; '.join(problems)}"
        )
    mixed = find_mixed(headers)
    if mixed and not allow_mixed:
        raise AssociationError(
            f"{where}: members must be calibrated alike: {'; '.join(mixed)}; allow_mixed takes them as they are"
        )
    return headers, mixed
