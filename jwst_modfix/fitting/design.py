"""The terms of the model m = M + z + g u + t, and their columns in the design."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from jwst_modfix.errors import MeasurementsError
from jwst_modfix.fitting.least_squares import make_design, number_labels
from jwst_modfix.fitting.measurements import EXPOSURE_SHARE, Measurements, focal_plane_coordinate
from jwst_modfix.table.table import ARRAYS, MODULES

__all__ = ["SLOPE_ARRAYS", "Model", "Term", "list_terms"]


SLOPE_ARRAYS = {"long": ("long",), "all": ARRAYS, "none": ()}
"""Array IDs that have a gradient, by the parameter ``fit_slope``."""

_WORDS = {
    "offset": "offset of array {array}",
    "level": "level of array {array}",
    "slope": "slope of array {array}",
    "slope_V2": "slope of array {array} along V2",
    "slope_V3": "slope of array {array} along V3",
    "epoch": "term of epoch {epoch}",
}
_SLOPES = ("slope", "slope_V2", "slope_V3")


@dataclass(frozen=True)
class Term:
    """One global term of the model."""

    # Delta_AB = z_A - z_B [mag], mean zero point of the array's modules [mag], k [mag/arcmin], t [mag]
    kind: str
    array: str | None = None
    module: str | None = None  # where each module has its own slope
    epoch: int | None = None

    @property
    def name(self) -> str:
        """Short name, such as ``offset[long]``, ``slope[long A]`` or ``epoch[2]``."""
        inside = (self.array, self.module, self.epoch)
        return f"{self.kind}[{' '.join(str(part) for part in inside if part is not None)}]"

    @property
    def words(self) -> str:
        """The term in words."""
        words = _WORDS[self.kind].format(array=self.array, epoch=self.epoch)
        return words if self.module is None else f"{words} in module {self.module}"

    @property
    def is_slope(self) -> bool:
        """Whether the term is a slope or a component of one."""
        return self.kind in _SLOPES


@dataclass(frozen=True, eq=False)
class Model:
    """All terms that are asked for, and what their design needs."""

    terms: tuple[Term, ...]
    epochs: np.ndarray  # in order of time; the first one's term is 0
    direction: float  # of the slopes [deg], where it is not fitted
    origin: tuple[float, float]  # V2, V3 where u = 0 [arcsec]

    def mask(self, *kinds: str) -> np.ndarray:
        """Find the terms of some kinds."""
        return np.array([term.kind in kinds for term in self.terms], dtype=bool)

    def design(self, measurements: Measurements) -> sparse.csr_array:
        """Design of measurements by detectors and in epochs of this model: ``design @ values`` is z + g u + t."""
        self._check(measurements)
        epoch = np.searchsorted(self.epochs, measurements.epoch)
        return self._rows(measurements.detector, epoch, measurements.V2, measurements.V3)

    def contrast(self, array: str, place_A: tuple[float, float], place_B: tuple[float, float]) -> np.ndarray:
        """Weights of the terms in the difference A - B of an array ID between two places (V2, V3) [arcsec]."""
        detectors = 2 * ARRAYS.index(array) + np.arange(2)
        rows = self._rows(detectors, np.zeros(2, int), *np.transpose([place_A, place_B])).toarray()
        return rows[0] - rows[1]

    def _check(self, measurements):
        unknown = [ARRAYS[code] for code in np.unique(measurements.array_code)]
        unknown = [array for array in unknown if Term("level", array) not in self.terms]
        if unknown:
            raise MeasurementsError(f"array {unknown[0]} is not part of the solution")
        for epoch in np.setdiff1d(measurements.epoch, self.epochs):
            raise MeasurementsError(f"epoch {epoch} is not part of the solution")

    def _rows(self, detector, epoch, V2, V3):
        """One entry for each kind of term: z_A = level + Delta_AB / 2, z_B = level - Delta_AB / 2, g = share * k."""
        values = {
            "level": np.ones(len(detector)),
            "offset": np.where(detector % 2, -0.5, 0.5),
            "epoch": np.ones(len(detector)),
        }
        for kind, angle in zip(_SLOPES, (self.direction, 90.0, 0.0), strict=True):
            if self.mask(kind).any():
                values[kind] = EXPOSURE_SHARE * focal_plane_coordinate(V2, V3, angle, self.origin)
        columns = {kind: self._places(kind)[epoch if kind == "epoch" else detector] for kind in values}
        there = np.column_stack([columns[kind] >= 0 for kind in values])
        return make_design(
            np.where(there, np.column_stack(list(columns.values())), 0),
            np.where(there, np.column_stack(list(values.values())), 0.0),
            len(self.terms),
        )

    def _places(self, kind):
        """Column of a kind of term for each detector, or for each epoch; -1 where there is none."""
        places = np.full(len(self.epochs) if kind == "epoch" else len(ARRAYS) * len(MODULES), -1, dtype=np.int32)
        for number in np.flatnonzero(self.mask(kind)):
            term = self.terms[number]
            if kind == "epoch":
                places[np.searchsorted(self.epochs, term.epoch)] = number
            else:
                modules = MODULES if term.module is None else (term.module,)
                places[[2 * ARRAYS.index(term.array) + MODULES.index(module) for module in modules]] = number
        return places


def list_terms(
    measurements: Measurements,
    *,
    slope_arrays: tuple[str, ...],
    direction: float,
    origin: tuple[float, float],
    fit_direction: bool = False,
    per_module: bool = False,
) -> Model:
    """List the terms of these measurements: offsets and levels, slopes, epoch terms."""
    there = [(ARRAYS[code // 2], MODULES[code % 2]) for code in np.unique(measurements.detector)]
    arrays = list(dict.fromkeys(array for array, _ in there))
    terms = []
    for array in arrays:
        if {(array, module) for module in MODULES} <= set(there):
            terms.append(Term("offset", array))
        terms.append(Term("level", array))
    for kind in _SLOPES[1:] if fit_direction else _SLOPES[:1]:
        if per_module:
            terms += [Term(kind, array, module) for array, module in there if array in slope_arrays]
        else:
            terms += [Term(kind, array) for array in arrays if array in slope_arrays]
    epochs, _ = number_labels(measurements.epoch)
    terms += [Term("epoch", epoch=int(epoch)) for epoch in epochs[1:]]
    return Model(tuple(terms), epochs, direction, origin)
