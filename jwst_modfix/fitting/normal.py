"""Normal equations of the global terms, with the magnitude of every source eliminated."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from jwst_modfix.fitting.measurements import number_labels

__all__ = ["NULL_SHARE", "ReducedSystem", "generalised_inverse", "reduce_system"]


# Information on a combination of terms below this share of what the measurements held before the sources
# were eliminated is rounding (double precision leaves ~1e-13): that combination is a gauge or a degeneracy.
NULL_SHARE = 1e-10
# Sources taken at once where a dense row of all terms is needed: bounds the memory.
_CHUNK = 20_000
# Up to as many columns, a sparse row costs more than a dense one.
_FEW_COLUMNS = 64


@dataclass(frozen=True, eq=False)
class ReducedSystem:
    """
    A design of few non-zero columns a row, and the source of each row.

    The model is ``y_n = M[source_n] + sum_k values[k][n] * beta[columns[k][n]]``: M is a nuisance that the methods
    eliminate (Schur complement), so that only the global terms beta are ever dense.

    Parameters
    ----------
    source : numpy.ndarray of int, shape (n,)
        Sources, numbered from 0 without gaps.
    columns : tuple of numpy.ndarray of int, shape (n,)
        For each slot, the column of each row.
    values : tuple of numpy.ndarray, shape (n,), or None
        For each slot, the value in that column; None for 1.
    n_sources, n_columns : int
        Numbers of sources and of global terms.
    cells : tuple of numpy.ndarray of int, shape (n,)
        For each slot, the row's place among the non-zero (source, column) cells.
    cell_source, cell_column : numpy.ndarray of int
        Source and column of each cell, slot after slot.
    """

    source: np.ndarray
    columns: tuple
    values: tuple
    n_sources: int
    n_columns: int
    cells: tuple
    cell_source: np.ndarray
    cell_column: np.ndarray

    def source_sums(self, weight):
        """Sum weighted design rows over each source."""
        sums = np.zeros(len(self.cell_source))
        for cell, value in zip(self.cells, self.values, strict=True):
            sums += np.bincount(cell, _times(weight, value), len(sums))
        shape = (self.n_sources, self.n_columns)
        return sparse.coo_array((sums, (self.cell_source, self.cell_column)), shape=shape).tocsr()

    def column_sums(self, weight):
        """Sum weighted design rows over all measurements."""
        return sum(
            np.bincount(column, _times(weight, value), self.n_columns)
            for column, value in zip(self.columns, self.values, strict=True)
        )

    def gram(self, weight):
        """Weighted normal matrix before the sources are eliminated."""
        n = self.n_columns
        slots = list(zip(self.columns, self.values, strict=True))
        total = np.zeros(n * n)
        for place, (column, value) in enumerate(slots):
            weighted, row = _times(weight, value), column.astype(np.int64) * n
            total += 0.5 * np.bincount(row + column, _times(weighted, value), n * n)
            for other, other_value in slots[place + 1 :]:
                total += np.bincount(row + other, _times(weighted, other_value), n * n)
        total = total.reshape(n, n)
        return total + total.T

    def normal_matrix(self, weight):
        """Weighted normal matrix of the global terms, before and after the sources are eliminated."""
        gram = self.gram(weight)
        scaled = sparse.diags_array(np.sqrt(self._inverse_weight(weight))) @ self.source_sums(weight)
        return gram - _square(scaled.tocsr()), gram

    def right_side(self, weight, y):
        """Right side of the normal equations, sources eliminated."""
        return self.column_sums(weight * (y - self.source_mean(weight, y)[self.source]))

    def source_mean(self, weight, y):
        """Weighted mean over each source."""
        return np.bincount(self.source, weight * y, self.n_sources) * self._inverse_weight(weight)

    def predict(self, beta):
        """Compute what the global terms add to each row."""
        pairs = zip(self.columns, self.values, strict=True)
        return sum(_times(beta[column], value) for column, value in pairs)

    def leverage(self, weight, covariance):
        """Leverage of each source on all terms together."""
        quadratic = np.zeros(len(self.source))
        slots = list(zip(self.columns, self.values, strict=True))
        for column, value in slots:
            for other, other_value in slots:
                quadratic += _times(_times(covariance[column, other], value), other_value)
        sums, total = self.source_sums(weight), np.bincount(self.source, weight * quadratic, self.n_sources)
        taken = np.zeros(self.n_sources)
        for start in range(0, self.n_sources, _CHUNK):
            part = sums[start : start + _CHUNK]
            taken[start : start + _CHUNK] = part.multiply(part @ covariance).sum(axis=1)
        return total - taken * self._inverse_weight(weight)

    def effective_sources(self, weight, influence):
        """Count the sources that one term hangs on."""
        pull = self.predict(influence)
        mean = self.source_mean(weight, pull)
        share = np.bincount(self.source, weight * (pull - mean[self.source]) ** 2, self.n_sources)
        square = np.sum(share**2)
        return float(np.sum(share) ** 2 / square) if square > 0 else 0.0

    def _inverse_weight(self, weight):
        total = np.bincount(self.source, weight, self.n_sources)
        return np.divide(1.0, total, out=np.zeros_like(total), where=total > 0)


def reduce_system(source, columns, values, n_columns):
    """Lay out a design for repeated solutions with changing weights."""
    cells, keys = [], []
    for column in columns:
        key, cell = number_labels(source.astype(np.int64) * n_columns + column)
        cells.append(cell + sum(map(len, keys)))
        keys.append(key)
    cell_source, cell_column = np.divmod(np.concatenate(keys), n_columns)
    n_sources = int(source.max()) + 1
    return ReducedSystem(
        source, tuple(columns), tuple(values), n_sources, n_columns, tuple(cells), cell_source, cell_column
    )


def generalised_inverse(matrix, gram):
    """Inverse of a symmetric matrix, leaving out its null space.

    Contrasts that the data determine, such as z_A - z_B, do not depend on which generalised inverse is taken.
    """
    scale = np.diag(gram)
    root = np.sqrt(np.where(scale > 0, scale, 1.0))
    eigenvalue, vector = np.linalg.eigh(matrix / np.outer(root, root))
    kept = eigenvalue > NULL_SHARE
    inverse = (vector[:, kept] / eigenvalue[kept]) @ vector[:, kept].T
    return inverse / np.outer(root, root), vector[:, ~kept]


def _square(rows):
    """Product of the transpose of sparse rows with them; by dense parts where columns are few, for that is faster."""
    if rows.shape[1] > _FEW_COLUMNS:
        return (rows.T @ rows).toarray()
    total = np.zeros((rows.shape[1], rows.shape[1]))
    for start in range(0, rows.shape[0], _CHUNK):
        part = rows[start : start + _CHUNK].toarray()
        total += part.T @ part
    return total


def _times(weight, value):
    """Weight times value, where None stands for 1."""
    return weight if value is None else weight * value
