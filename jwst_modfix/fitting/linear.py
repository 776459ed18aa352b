"""Least squares without the magnitudes M of sources, in pieces of bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from scipy import sparse

# Information on a combination of terms below this share of what the measurements held before the sources
# were eliminated is rounding (double precision leaves ~1e-13): that combination is a gauge or a degeneracy.
NULL_SHARE = 1e-10
_PIECE = 200_000  # rows at once
# A block with more labels is sparse in the sums over sources; BLAS is faster for the others.
_FEW_LABELS = 64
# Counting is faster than sorting where the labels' range is at most this many times their number.
_SPARSEST = 4


@dataclass(frozen=True, eq=False)
class Block:
    """Columns of a design of which each row has one: that of its label."""

    label: np.ndarray  # (n,), from 0
    places: np.ndarray  # (n_labels,), column of each label; -1 where it has none
    value: np.ndarray | None = None  # (n,); 1 unless given

    def take(self, rows: slice | np.ndarray) -> Block:
        """Take some rows."""
        return Block(self.label[rows], self.places, None if self.value is None else self.value[rows])

    def times(self, weight: np.ndarray) -> np.ndarray:
        """Multiply the entries by weights."""
        return weight if self.value is None else weight * self.value


@dataclass(frozen=True, eq=False)
class Design:
    """Matrix of shape (n, n_terms) with one entry a row in each block, never dense."""

    blocks: tuple[Block, ...]
    n_terms: int

    @classmethod
    def of_columns(cls, columns: Sequence[np.ndarray]) -> Design:
        """Make the design of dense columns, each of shape (n,)."""
        label = np.zeros(len(columns[0]), dtype=np.int8)
        return cls(tuple(Block(label, np.array([i]), column) for i, column in enumerate(columns)), len(columns))

    @classmethod
    def of_labels(cls, label: np.ndarray, n: int) -> Design:
        """Make the design of a column for each of n labels, 1 in its rows."""
        return cls((Block(label, np.arange(n)),), n)

    def beside(self, *others: Design) -> Design:
        """Put the columns of others after those of this one."""
        blocks, n_terms = list(self.blocks), self.n_terms
        for other in others:
            blocks += [replace(b, places=np.where(b.places < 0, -1, b.places + n_terms)) for b in other.blocks]
            n_terms += other.n_terms
        return Design(tuple(blocks), n_terms)

    def __len__(self) -> int:
        return len(self.blocks[0].label)

    def take(self, rows: slice | np.ndarray) -> Design:
        """Take some rows."""
        return Design(tuple(block.take(rows) for block in self.blocks), self.n_terms)

    def __matmul__(self, terms: np.ndarray) -> np.ndarray:
        """Multiply by a vector of terms."""
        total, padded = np.zeros(len(self)), np.append(terms, 0.0)  # the place -1 is that of the 0
        for rows in _slice(len(self)) if terms.any() else ():
            for block in self.take(rows).blocks:
                total[rows] += block.times(padded[block.places][block.label])
        return total

    def pull(self, values: np.ndarray) -> np.ndarray:
        """Multiply the transposed design by a vector of rows."""
        sums = [np.bincount(block.label, block.times(values), len(block.places)) for _, block in self._ordered]
        return np.asarray(self._terms.T @ np.concatenate(sums))

    def quadratic(self, matrix: np.ndarray) -> np.ndarray:
        """Compute ``d @ matrix @ d`` of each row d, for a symmetric matrix."""
        padded, found = np.pad(matrix, (0, 1)), np.zeros(len(self))
        for rows in _slice(len(self)):
            blocks = self.take(rows).blocks
            for i, one in enumerate(blocks):
                for j, other in enumerate(blocks[: i + 1]):
                    entries = padded[np.ix_(one.places, other.places)][one.label, other.label]
                    found[rows] += (1 + (j < i)) * one.times(other.times(entries))
        return found

    def project(self, matrix: np.ndarray, n_groups: int) -> np.ndarray:
        """Compute ``D @ matrix @ D.T`` for groups D of n rows: shape (n_groups, n, n)."""
        rows = self.lay_out(slice(None), np.ones(len(self)), np.arange(len(self) + 1)) @ self._terms
        dense = rows.toarray().reshape(n_groups, -1, self.n_terms)
        return np.asarray(dense @ (rows @ matrix).reshape(dense.shape).transpose(0, 2, 1))

    @cached_property
    def _ordered(self) -> list[tuple[int, Block]]:
        """Blocks of few labels, then of many, each with the index of its first label."""
        ordered = sorted(self.blocks, key=lambda block: len(block.places) > _FEW_LABELS)
        ends = np.cumsum([0, *(len(block.places) for block in ordered)]).tolist()
        return list(zip(ends, ordered, strict=False))

    @cached_property
    def _few(self) -> int:
        """Number of labels in blocks of few."""
        return sum(len(block.places) for block in self.blocks if len(block.places) <= _FEW_LABELS)

    @cached_property
    def _terms(self) -> sparse.csr_array:
        """Matrix (n_labels, n_terms) that is 1 in the column of each label of all blocks."""
        places = np.concatenate([block.places for _, block in self._ordered])
        labels = np.flatnonzero(places >= 0)
        entries = np.ones(len(labels)), (labels, places[labels])
        return sparse.coo_array(entries, shape=(len(places), self.n_terms)).tocsr()

    def gram(self, weight: np.ndarray, other: Design | None = None) -> np.ndarray:
        """Multiply the transposed design by weighted rows of itself or of another one."""
        its = other or self
        total = np.zeros((self._terms.shape[0], its._terms.shape[0]))
        for rows in _slice(len(self)):
            codes: dict[tuple[int, int], np.ndarray] = {}
            for start, one in self._ordered:
                pulled, n = one.take(rows).times(weight[rows]), len(one.places)
                for first, two in its._ordered:
                    if other is None and first < start:
                        continue
                    m, entries = len(two.places), two.take(rows).times(pulled)
                    part = total[start : start + n, first : first + m]
                    if one.label is two.label:
                        np.fill_diagonal(part, np.diag(part) + np.bincount(one.label[rows], entries, n))
                        continue
                    key = id(one.label), id(two.label)
                    if key not in codes:
                        codes[key] = one.label[rows].astype(np.int64) * m + two.label[rows]
                    part += np.bincount(codes[key], entries, n * m).reshape(n, m)
        if other is None:
            total += np.triu(total, 1).T
        return np.asarray(self._terms.T @ total @ its._terms)

    def lay_out(self, rows: slice | np.ndarray, weight: np.ndarray, edges: np.ndarray) -> sparse.csr_array:
        """Lay out weighted rows by label; sum those from one edge to the next."""
        shape = len(weight), len(self._ordered)
        columns, values = np.empty(shape, np.int32), np.empty(shape)
        for number, (start, block) in enumerate(self._ordered):
            mine = block.take(rows)
            columns[:, number], values[:, number] = mine.label + np.int32(start), mine.times(weight)
        data = values.ravel(), columns.ravel(), edges * shape[1]
        return sparse.csr_array(data, shape=(len(edges) - 1, self._terms.shape[0]))


def _slice(n: int) -> list[slice]:
    """Split n rows into pieces."""
    return [slice(start, start + _PIECE) for start in range(0, n, _PIECE)]


def number_labels(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sort labels and index each value, 14 times faster than `numpy.unique`."""
    least = int(values.min()) if len(values) else 0
    span = int(values.max()) - least + 1 if len(values) else 0
    if span > _SPARSEST * len(values) or not len(values):
        labels, number = np.unique(values, return_inverse=True)
        return labels, number
    shifted = values.astype(np.int64) - least
    there = np.bincount(shifted, minlength=span) > 0
    return np.flatnonzero(there) + least, (np.cumsum(there) - 1)[shifted]


@dataclass(frozen=True, eq=False)
class Information:
    """Information of measurements on the terms: their normal matrix."""

    matrix: np.ndarray  # (n_terms, n_terms), magnitudes of sources eliminated
    gram: np.ndarray  # (n_terms, n_terms), before that
    least: float = NULL_SHARE  # share of a combination below which it counts as undetermined
    _last: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = field(default_factory=list, repr=False)

    def __add__(self, other: Information) -> Information:
        return Information(self.matrix + other.matrix, self.gram + other.gram, self.least)

    @cached_property
    def scale(self) -> np.ndarray:
        """Root of what the measurements held of each term, shape (n_terms,)."""
        before = np.diag(self.gram)
        return np.sqrt(np.where(before > 0, before, 1.0))

    def invert(self, free: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Invert for the free terms, 0 for others; find a basis of their null space."""
        # Contrasts that the data determine, such as z_A - z_B, do not depend on which generalised inverse is taken.
        # The last result is kept, as several questions are asked of the same terms.
        if self._last and np.array_equal(self._last[0][0], free):
            return self._last[0][1:]
        here, root = np.ix_(free, free), self.scale[free]
        eigenvalue, vector = np.linalg.eigh(self.matrix[here] / np.outer(root, root))
        kept, inverse = eigenvalue > self.least, np.zeros_like(self.matrix)
        inverse[here] = (vector[:, kept] / eigenvalue[kept]) @ vector[:, kept].T / np.outer(root, root)
        null = np.zeros((len(self.matrix), np.count_nonzero(~kept)))
        null[free] = vector[:, ~kept] / root[:, None]
        self._last[:] = [(free.copy(), inverse, null)]
        return inverse, null

    def lacks(self, free: np.ndarray, contrasts: np.ndarray) -> np.ndarray:
        """Test which combinations are undetermined: they have a part in the null space."""
        null = self.invert(free)[1]
        size = np.linalg.norm(contrasts / self.scale, axis=1)
        return np.linalg.norm(contrasts @ null, axis=1) > np.sqrt(self.least) * np.where(size > 0, size, 1.0)

    def errors(self, free: np.ndarray, contrasts: np.ndarray) -> np.ndarray | None:
        """Compute errors of combinations of terms; None where one is not determined."""
        if self.lacks(free, contrasts).any():
            return None
        return np.asarray(np.sqrt(np.sum((contrasts @ self.invert(free)[0]) * contrasts, axis=1)))

    def project(self, held: np.ndarray, rest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Free the rest of some terms: combinations, (n_terms, n_rest); information left."""
        pull = self.matrix[np.ix_(held, rest)]
        change = self.invert(held)[0][np.ix_(held, held)] @ pull
        freed = np.zeros((len(self.matrix), pull.shape[1]))
        freed[held], freed[rest] = -change, np.eye(pull.shape[1])
        return freed, self.matrix[np.ix_(rest, rest)] - pull.T @ change


@dataclass(frozen=True, eq=False)
class LinearSystem:
    """The model ``y = M[source] + design @ beta`` for n measurements.

    M, the magnitude of each source, is eliminated (Schur complement), so that only the matrices of the global terms
    beta are dense. With ``eliminate=False`` there is no M, and sources only tell which rows are correlated.
    """

    design: Design
    source: np.ndarray  # (n,), numbered from 0 without gaps
    eliminate: bool = True
    _last: list[tuple[np.ndarray, Information]] = field(default_factory=list, repr=False)

    @cached_property
    def n_sources(self) -> int:
        """Number of sources."""
        return int(self.source.max(initial=-1)) + 1

    def beside(self, *columns: Design) -> LinearSystem:
        """Add columns to the design."""
        return LinearSystem(self.design.beside(*columns), self.source, self.eliminate)

    @cached_property
    def _order(self) -> tuple[np.ndarray | None, np.ndarray]:
        """Order of rows by source, None if they are ordered, and the sources' edges."""
        edges = np.concatenate([[0], np.cumsum(np.bincount(self.source, minlength=self.n_sources))])
        if (self.source[1:] >= self.source[:-1]).all():
            return None, edges
        return np.argsort(self.source, kind="stable").astype(np.int32), edges

    def find_rows(self, sources: np.ndarray) -> np.ndarray:
        """Find rows of sources that have one number of rows, in their order."""
        order, edges = self._order
        places = (edges[sources][:, None] + np.arange(edges[sources[0] + 1] - edges[sources[0]])).ravel()
        return places if order is None else order[places]

    def per_source(self, values: np.ndarray | None) -> np.ndarray:
        """Sum values over each source; count its rows without values."""
        return np.bincount(self.source, values, self.n_sources)

    def _sum_pieces(
        self, design: Design, weight: np.ndarray, root: np.ndarray
    ) -> Iterator[tuple[np.ndarray, sparse.csr_array]]:
        """Sum rows times weight and root of the source over sources; few labels dense."""
        order, edges = self._order
        first = 0
        while first < self.n_sources:
            last = max(first + 1, int(np.searchsorted(edges, edges[first] + _PIECE, side="right")) - 1)
            rows = slice(edges[first], edges[last]) if order is None else order[edges[first] : edges[last]]
            own = weight[rows] * root[self.source[rows]]
            every = design.lay_out(rows, own, edges[first : last + 1] - edges[first])
            yield every[:, : design._few].toarray(), every[:, design._few :]
            first = last

    def source_products(self, weight: np.ndarray, factor: np.ndarray, other: Design | None = None) -> np.ndarray:
        """Sum ``factor * s.T @ s`` over sources, with s (or ``t``) sums of weighted rows."""
        its, root = other or self.design, np.sqrt(factor)
        few, total = self.design._few, np.zeros((self.design._terms.shape[0], its._terms.shape[0]))
        mine = self._sum_pieces(self.design, weight, root)
        pairs = zip(mine, self._sum_pieces(other, weight, root), strict=True) if other else ((s, s) for s in mine)
        for one, two in pairs:
            total[:few, : its._few] += one[0].T @ two[0]
            total[few:, : its._few] += one[1].T @ two[0]
            total[few:, its._few :] += (one[1].T @ two[1]).toarray()
            if other is not None:
                total[:few, its._few :] += (two[1].T @ one[0]).T
        if other is None:
            total[:few, few:] = total[few:, :few].T
        return np.asarray(self.design._terms.T @ total @ its._terms)

    def count_sources(self, weight: np.ndarray) -> np.ndarray:
        """Count the sources that have a part in each term."""
        counts = np.zeros(self.design._terms.shape[0])
        # Each entry counts as 1, as those of one source may add up to 0.
        present = (replace(b, value=None if b.value is None else b.value != 0) for b in self.design.blocks)
        for few, many in self._sum_pieces(Design(tuple(present), self.design.n_terms), weight, np.ones(self.n_sources)):
            many.sum_duplicates()
            own = np.bincount(many.indices, many.data != 0, many.shape[1])
            counts += np.concatenate([(few != 0).sum(axis=0), own])
        return np.asarray((self.design._terms.T @ counts).astype(int))

    def source_mean(self, weight: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Average over each source with weights, to estimate M; 0 without M in the model."""
        return self.per_source(weight * y) * self.mean_variance(weight)

    def mean_variance(self, weight: np.ndarray) -> np.ndarray:
        """Estimate the variance of each source's mean; 0 without weight or without M."""
        total = self.per_source(weight)
        out = np.zeros(len(total))  # not like the sums, which are whole numbers where there is no measurement
        return np.divide(1.0, total, out=out, where=(total > 0) & self.eliminate)

    def residual(self, weight: np.ndarray, y: np.ndarray | float, beta: np.ndarray) -> np.ndarray:
        """Subtract the terms and the sources' means."""
        left = y - self.design @ beta
        left -= self.source_mean(weight, left)[self.source]
        return left

    def inform(self, weight: np.ndarray) -> Information:
        """Compute the information of weighted measurements on the terms."""
        # The last result is kept, as several questions are asked of the same weights.
        if not self._last or not np.array_equal(self._last[0][0], weight):
            gram = self.design.gram(weight)
            matrix = gram - self.source_products(weight, self.mean_variance(weight))
            self._last[:] = [(weight, Information(matrix, gram))]
        return self._last[0][1]

    def cross(self, weight: np.ndarray, other: Design) -> np.ndarray:
        """Multiply the design by other columns, sources eliminated: (n_terms, n_columns)."""
        return self.design.gram(weight, other) - self.source_products(weight, self.mean_variance(weight), other)

    def score(self, weight: np.ndarray, residual: np.ndarray) -> np.ndarray:
        """Compute the right side of the normal equations for a step from given residuals."""
        return self.design.pull(weight * (residual - self.source_mean(weight, residual)[self.source]))

    def kept_share(self, weight: np.ndarray) -> np.ndarray:
        """Find the root of the share of variance kept without the mean of the source."""
        share = self.mean_variance(weight)[self.source]
        share *= weight
        return np.sqrt(np.maximum(1 - share, 1e-6))

    def effective_sources(self, weight: np.ndarray, influences: np.ndarray) -> np.ndarray:
        """Count the sources that constrain combinations of terms, shape (n, n_terms)."""
        # `(sum s)^2 / sum s^2` of their shares s in its information (Kish): n sources of equal shares count n, and
        # one that has all counts 1.
        shares = (self.per_source(weight * self.residual(weight, 0.0, influence) ** 2) for influence in influences)
        found = [share.sum() ** 2 / np.sum(share**2) if share.any() else 0.0 for share in shares]
        return np.round(found, 9)  # so that 10 equal sources are not fewer than 10
