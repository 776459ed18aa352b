"""One list of sources on the sky from the detections of many exposures."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from jwst_modfix.errors import PhotometryError
from jwst_modfix.photometry.frames import offsets, shift_on_sky, unit_vectors

__all__ = ["SourceList", "choose_exposures", "find_shift", "measure_isolation", "merge_detections"]


_CELL = 4.0  # arcsec
_SAMPLES = 64  # along each side of a footprint
_WORTHWHILE = 0.03  # share of new sky for which an exposure is looked at


def choose_exposures(headers):
    """Choose exposures that cover the sky of all, band by band.

    In the order of their names, an exposure is taken when it adds at least 3% of its footprint, which makes the choice
    the same for any order of exposures. One without a footprint is always taken.
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


_ARCSEC = np.deg2rad(1 / 3600)  # radians: chord of the unit sphere per arcsec
_MATCH_RADIUS = 0.15  # arcsec
_SEARCH_RADIUS = 1.5  # arcsec: pointing errors of the observatory, before tweakreg, are smaller
_LEAST_MATCHES = 5
_NEIGHBOURS = 32  # looked at for isolation


@dataclass(frozen=True, kw_only=True, eq=False)
class SourceList:
    """
    Sources on the sky.

    Parameters
    ----------
    ra, dec : numpy.ndarray, shape (n,)
        Mean place, in order of RA [deg].
    flux : numpy.ndarray, shape (n,)
        Isophotal flux: median over detections in a band, in the band where it is largest [Jy].
    n_detections : numpy.ndarray of int, shape (n,)
        Number of exposures where it was detected.
    isolation : numpy.ndarray, shape (n,)
        Distance to the nearest source with more than a tenth of its flux [arcsec]; infinite where there is none.
    """

    ra: np.ndarray
    dec: np.ndarray
    flux: np.ndarray
    n_detections: np.ndarray
    isolation: np.ndarray

    def __len__(self):
        return len(self.ra)

    def __getitem__(self, keep):
        return SourceList(**{name: getattr(self, name)[keep] for name in self.__dataclass_fields__})


def merge_detections(detections, *, match_radius=_MATCH_RADIUS, neighbour_fraction=0.1):
    """Merge the detections of all exposures.

    Exposures are taken in the order of their names. Each is first shifted onto the list so far (`find_shift`), then
    nearest pairs are matched, mutually, and what is left over becomes new sources.
    """
    if not any(len(found) for found in detections):
        names = ", ".join(sorted(found.exposure for found in detections))
        raise PhotometryError(f"no source was detected in any of {len(detections)} exposures: {names}")
    ordered = sorted((found for found in detections if len(found)), key=lambda found: found.exposure)
    growing = _Growing()
    for found in ordered:
        growing.add(found, match_radius)
    return growing.finish(neighbour_fraction)


class _Growing:
    """The list while it grows: sums of places, and the fluxes by band."""

    def __init__(self):
        self.sums = np.empty((0, 3))  # of unit vectors
        self.counts = np.empty(0, int)
        self.members, self.fluxes, self.bands = [], [], []

    def add(self, found, match_radius):
        ra, dec = found.ra, found.dec
        if len(self.counts):
            east, north = find_shift(ra, dec, *_angles(self.sums))
            ra, dec = shift_on_sky(ra, dec, east, north)
        vectors = unit_vectors(ra, dec)
        rows = _match(vectors, self.sums / np.maximum(self.counts, 1)[:, None], match_radius)
        new = np.flatnonzero(rows < 0)
        rows[new] = len(self.counts) + np.arange(new.size)
        self.sums = np.vstack([self.sums, np.zeros((new.size, 3))])
        self.counts = np.append(self.counts, np.zeros(new.size, int))
        self.sums[rows] += vectors
        self.counts[rows] += 1
        self.members.append(rows)
        self.fluxes.append(found.flux)
        self.bands.append(np.full(len(rows), found.band))

    def finish(self, neighbour_fraction):
        ra, dec = _angles(self.sums)
        flux = _brightest_median(*(np.concatenate(part) for part in (self.members, self.fluxes, self.bands)))
        order = np.lexsort([dec, ra])
        ra, dec, flux = ra[order], dec[order], flux[order]
        isolation = measure_isolation(ra, dec, flux, neighbour_fraction)
        return SourceList(ra=ra, dec=dec, flux=flux, n_detections=self.counts[order], isolation=isolation)


def find_shift(ra, dec, ra_list, dec_list):
    """Find the shift of an exposure's sources onto a list: the median of pairs around the most crowded offset."""
    tree, trial = cKDTree(unit_vectors(ra_list, dec_list)), cKDTree(unit_vectors(ra, dec))
    pairs = trial.query_ball_tree(tree, _SEARCH_RADIUS * _ARCSEC)
    mine = np.repeat(np.arange(len(pairs)), [len(partners) for partners in pairs])
    theirs = np.fromiter((row for partners in pairs for row in sorted(partners)), int, len(mine))
    if len(mine) < _LEAST_MATCHES:
        return 0.0, 0.0
    shifts = np.stack(offsets(ra[mine], dec[mine], ra_list[theirs], dec_list[theirs]), axis=-1)
    near = cKDTree(shifts).query_ball_point(shifts, _MATCH_RADIUS)
    crowd = max(near, key=len)
    if len(crowd) < _LEAST_MATCHES:
        return 0.0, 0.0
    return tuple(float(value) for value in np.median(shifts[crowd], axis=0))


def measure_isolation(ra, dec, flux, fraction):
    """Measure the distance from each source to the nearest that is bright enough to matter."""
    vectors = unit_vectors(ra, dec)
    distance, row = cKDTree(vectors).query(vectors, k=_NEIGHBOURS + 1)
    bright = np.append(flux, -np.inf)[row[:, 1:]] > fraction * flux[:, None]
    return np.where(bright, distance[:, 1:], np.inf).min(axis=1) / _ARCSEC


def _angles(vectors):
    x, y, z = vectors.T
    return np.degrees(np.arctan2(y, x)) % 360, np.degrees(np.arctan2(z, np.hypot(x, y)))


def _match(vectors, listed, radius):
    """Row of the list that each source is, by mutual nearest neighbours; -1 for none."""
    if not len(listed):
        return np.full(len(vectors), -1)
    distance, row = cKDTree(listed).query(vectors)
    back = cKDTree(vectors).query(listed)[1]
    mutual = back[row] == np.arange(len(vectors))
    return np.where(mutual & (distance < radius * _ARCSEC), row, -1)


def _brightest_median(rows, flux, bands):
    """Largest over bands of the median over detections, for rows 0 to n - 1."""
    brightest = np.zeros(rows.max() + 1)
    for band in np.unique(bands):
        chosen = bands == band
        order = np.lexsort([flux[chosen], rows[chosen]])
        source, first, count = np.unique(rows[chosen][order], return_index=True, return_counts=True)
        ranked = flux[chosen][order]
        middle = (ranked[first + (count - 1) // 2] + ranked[first + count // 2]) / 2
        brightest[source] = np.maximum(brightest[source], middle)
    return brightest
