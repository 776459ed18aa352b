"""Which exposures are needed to find the sources of the whole field once in each band."""

import numpy as np

__all__ = ["choose_exposures"]

_CELL = 4.0  # arcsec
_SAMPLES = 64  # along each side of a footprint
_WORTHWHILE = 0.03  # share of new sky for which an exposure is looked at


def choose_exposures(headers):
    """
    Choose exposures that cover the sky of all, band by band.

    In the order of their names, an exposure is taken when it adds at least 3% of its footprint, which makes the choice
    the same for any order of exposures. One without a footprint is always taken.

    Parameters
    ----------
    headers : sequence of ExposureHeader
        The exposures.

    Returns
    -------
    list of ExposureHeader
        Those chosen, by name.
    """
    chosen, covered = [], {}
    for header in sorted(headers, key=lambda header: (header.name, str(header.path))):
        cells = _cells(header.corners)
        known = covered.setdefault((header.filter, header.pupil), set())
        if cells is None or len(cells - known) >= _WORTHWHILE * len(cells):
            chosen.append(header)
            known |= cells or set()
    return chosen


def _cells(corners):
    """Cells of the sky inside a footprint of four corners; None where they are not known."""
    if corners is None:
        return None
    side = (np.arange(_SAMPLES) + 0.5) / _SAMPLES
    along, across = (grid.ravel()[:, None] for grid in np.meshgrid(side, side))
    corners[:, 0] = corners[0, 0] + (corners[:, 0] - corners[0, 0] + 180) % 360 - 180
    near = (1 - along) * corners[0] + along * corners[1]
    far = (1 - along) * corners[3] + along * corners[2]
    ra, dec = ((1 - across) * near + across * far).T
    row = np.floor(dec * 3600 / _CELL).astype(int)
    width = _CELL / 3600 / np.cos(np.radians(row * _CELL / 3600)).clip(1e-6)
    return set(zip(row.tolist(), np.floor(ra % 360 / width).astype(int).tolist(), strict=True))
