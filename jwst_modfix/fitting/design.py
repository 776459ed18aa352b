"""The terms of the model m = M + z + g u + t, and least squares with the magnitude M of every source eliminated."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from jwst_modfix.errors import MeasurementsError
from jwst_modfix.fitting.measurements import EXPOSURE_SHARE, Measurements, focal_plane_coordinate
from jwst_modfix.table.table import ARRAYS, MODULES

SLOPE_ARRAYS = {"long": ("long",), "all": ARRAYS, "none": ()}
"""Array IDs that have a gradient, by the parameter ``fit_slope``."""

_SLOPES = ("slope", "slope_V2", "slope_V3")
# Information on a combination of terms below this share of what the measurements held before the sources
# were eliminated is rounding (double precision leaves ~1e-13): that combination is a gauge or a degeneracy.
NULL_SHARE = 1e-10
# Rows taken at once, which bounds the memory: of dense rows, where columns are few and BLAS is faster than sparse
# products, and of sparse rows.
_FEW_COLUMNS = 64
_DENSE_ROWS = 20_000
_SPARSE_ROWS = 200_000
# Counting is faster than sorting where the labels' range is at most this many times their number.
_SPARSEST = 4


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
        if self.kind == "epoch":
            return f"term of epoch {self.epoch}"
        kind, _, axis = self.kind.partition("_")
        along, inside = f" along {axis}" if axis else "", f" in module {self.module}" if self.module else ""
        return f"{kind} of array {self.array}{along}{inside}"

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
        arrays = [ARRAYS[code] for code in np.unique(measurements.array_code)]
        unknown = [f"array {array}" for array in arrays if Term("level", array) not in self.terms]
        unknown += [f"epoch {epoch}" for epoch in np.setdiff1d(measurements.epoch, self.epochs)]
        if unknown:
            raise MeasurementsError(f"{unknown[0]} is not part of the solution")
        epoch = np.searchsorted(self.epochs, measurements.epoch)
        return self._rows(measurements.detector, epoch, measurements.V2, measurements.V3)

    def contrast(self, array: str, place_A: tuple[float, float], place_B: tuple[float, float]) -> np.ndarray:
        """Weights of the terms in the difference A - B of an array ID between two places (V2, V3) [arcsec]."""
        detectors = 2 * ARRAYS.index(array) + np.arange(2)
        rows = self._rows(detectors, np.zeros(2, int), *np.transpose([place_A, place_B])).toarray()
        return rows[0] - rows[1]

    def _rows(self, detector, epoch, V2, V3):
        """One entry for each kind of term: z_A = level + Delta_AB / 2, z_B = level - Delta_AB / 2, g = share * k."""
        ones = np.ones(len(detector))
        values = {"level": ones, "offset": np.where(detector % 2, -0.5, 0.5), "epoch": ones}
        for kind, angle in zip(_SLOPES, (self.direction, 90.0, 0.0), strict=True):
            if self.mask(kind).any():
                values[kind] = EXPOSURE_SHARE * focal_plane_coordinate(V2, V3, angle, self.origin)
        columns = np.column_stack([self._places(kind)[epoch if kind == "epoch" else detector] for kind in values])
        entries = np.where(columns >= 0, np.column_stack(list(values.values())), 0.0)
        return make_design(np.maximum(columns, 0), entries, len(self.terms))

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


def list_terms(measurements, slope_arrays, direction, origin, fit_direction, per_module):
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


def number_labels(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sorted labels, and the place of each value among them, as `numpy.unique` does in 14 times the time."""
    least = int(values.min()) if len(values) else 0
    span = int(values.max()) - least + 1 if len(values) else 0
    if span > _SPARSEST * len(values) or not len(values):
        labels, number = np.unique(values, return_inverse=True)
        return labels, number
    shifted = values.astype(np.int64) - least
    there = np.bincount(shifted, minlength=span) > 0
    return np.flatnonzero(there) + least, (np.cumsum(there) - 1)[shifted]


def make_design(columns, values, n_terms):
    """Lay out a sparse design from the column and the value of each entry, both of shape (n, entries in a row)."""
    n, entries = values.shape
    pointer = np.arange(0, n * entries + 1, entries)
    return sparse.csr_array((values.ravel(), columns.astype(np.int32).ravel(), pointer), shape=(n, n_terms))


@dataclass(frozen=True, eq=False)
class LinearSystem:
    """The model ``y = M[source] + design @ beta`` for n measurements.

    M, the magnitude of each source, is eliminated (Schur complement), so that only the matrices of the global terms
    beta are dense. With ``eliminate=False`` there is no M, and sources only tell which rows are correlated.
    """

    design: sparse.csr_array  # (n, n_terms), the same number of entries in each row
    source: np.ndarray  # (n,), numbered from 0 without gaps
    eliminate: bool = True

    @cached_property
    def n_sources(self):
        """Number of sources."""
        return int(self.source.max()) + 1

    @cached_property
    def _order(self):
        """Rows ordered by source, and the edges of each source among them."""
        counts = np.bincount(self.source, minlength=self.n_sources)
        return np.argsort(self.source, kind="stable").astype(np.int32), np.concatenate([[0], np.cumsum(counts)])

    def rows_of(self, first, last):
        """Find the rows of a range of sources, and where each source starts among them."""
        order, edges = self._order
        return order[edges[first] : edges[last]], edges[first:last] - edges[first]

    def split_sources(self, n_rows):
        """Split the sources into ranges of about ``n_rows`` rows."""
        edges, first = self._order[1], 0
        while first < self.n_sources:
            last = max(first + 1, int(np.searchsorted(edges, edges[first] + n_rows, side="right")) - 1)
            yield first, last
            first = last

    def per_source(self, values):
        """Sum values over each source."""
        return np.bincount(self.source, values, self.n_sources)

    def source_sums(self, weight):
        """Sum weighted design rows over each source."""
        order, edges = self._order
        grouped = sparse.csr_array((weight[order], order, edges), shape=(self.n_sources, len(order)))
        return grouped @ self.design

    def source_mean(self, weight, y):
        """Weighted mean over each source: the estimate of M; 0 where M is not part of the model."""
        return self.per_source(weight * y) * self.mean_variance(weight)

    def mean_variance(self, weight):
        """Variance of the estimate of M of each source; 0 where it has no weight or M is not part of the model."""
        total = self.per_source(weight)
        return np.divide(1.0, total, out=np.zeros_like(total), where=(total > 0) & self.eliminate)

    def residual(self, weight, y, beta):
        """Subtract the terms and the sources' means."""
        left = y - self.design @ beta
        return left - self.source_mean(weight, left)[self.source]

    def normal_matrix(self, weight):
        """Weighted normal matrix of the global terms, after and before the sources are eliminated."""
        gram = _square(self.design, weight)
        return gram - _square(self.source_sums(weight), self.mean_variance(weight)), gram

    def invert(self, weight, free):
        """Inverse of the normal matrix of the free terms, and vectors that span its null space."""
        here = np.ix_(free, free)
        return generalised_inverse(*(part[here] for part in self.normal_matrix(weight)))

    def find_null_space(self, weight, free):
        """Find the combinations of all terms that these weights do not determine, shape (n_terms, n)."""
        matrix, gram = (part[np.ix_(free, free)] for part in self.normal_matrix(weight))
        root = np.sqrt(np.where(np.diag(gram) > 0, np.diag(gram), 1.0))
        null = generalised_inverse(matrix, gram)[1]
        found = np.zeros((len(free), null.shape[1]))
        found[free] = null / root[:, None]
        return found

    def score(self, weight, residual):
        """Right side of the normal equations for a step from given residuals."""
        return self.design.T @ (weight * (residual - self.source_mean(weight, residual)[self.source]))

    def kept_share(self, weight):
        """Root of the share of its variance that a residual keeps when its source's mean is subtracted."""
        if not self.eliminate:
            return np.ones(len(weight))
        total = self.per_source(weight)[self.source]
        share = np.divide(weight, total, out=np.ones_like(weight), where=total > 0)
        return np.sqrt(np.maximum(1 - share, 1e-6))

    def leverage(self, weight, covariance):
        """Leverage of each source on all terms together: trace of the covariance times its part of the information."""
        n = len(weight)
        columns, values = (part.reshape(n, -1) for part in (self.design.indices, self.design.data))
        quadratic = np.zeros(n)
        for a, one in zip(columns.T, values.T, strict=True):
            for b, other in zip(columns.T, values.T, strict=True):
                quadratic += covariance[a, b] * one * other
        sums, taken = self.source_sums(weight), np.zeros(self.n_sources)
        for start in range(0, self.n_sources, _DENSE_ROWS):
            part = sums[start : start + _DENSE_ROWS]
            taken[start : start + _DENSE_ROWS] = part.multiply(part @ covariance).sum(axis=1)
        return self.per_source(weight * quadratic) - taken * self.mean_variance(weight)

    def effective_sources(self, weight, influence):
        """Count the sources that constrain a combination of terms: ``(sum s)^2 / sum s^2`` of their shares s (Kish).

        The shares are in its information: n sources of equal shares count n, and one that has all counts 1.
        """
        pull = self.design @ influence
        pull -= self.source_mean(weight, pull)[self.source]
        share = self.per_source(weight * pull**2)
        square = np.sum(share**2)
        # Rounded, so that 10 equal sources are not fewer than 10.
        return round(float(np.sum(share) ** 2 / square), 9) if square > 0 else 0.0


def generalised_inverse(matrix, gram):
    """Inverse of a symmetric matrix without its null space, and vectors that span the null space.

    Contrasts that the data determine, such as z_A - z_B, do not depend on which generalised inverse is taken.
    """
    scale = np.diag(gram)
    root = np.sqrt(np.where(scale > 0, scale, 1.0))
    eigenvalue, vector = np.linalg.eigh(matrix / np.outer(root, root))
    kept = eigenvalue > NULL_SHARE
    inverse = (vector[:, kept] / eigenvalue[kept]) @ vector[:, kept].T
    return inverse / np.outer(root, root), vector[:, ~kept]


def _square(rows, weight):
    """Compute ``rows.T @ diag(weight) @ rows`` of sparse rows."""
    n = rows.shape[1]
    total, dense = np.zeros((n, n)), n <= _FEW_COLUMNS
    step = _DENSE_ROWS if dense else _SPARSE_ROWS
    for start in range(0, rows.shape[0], step):
        part = rows[start : start + step]
        part.data *= np.repeat(np.sqrt(weight[start : start + step]), np.diff(part.indptr))
        part = part.toarray() if dense else part
        square = part.T @ part
        total += square if dense else square.toarray()
    return total
