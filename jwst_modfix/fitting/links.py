"""What is linked to what, and which terms the pointings separate: the report before the fit."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from jwst_modfix.errors import NoSolutionError
from jwst_modfix.fitting.measurements import number_labels
from jwst_modfix.table.table import ARRAYS, MODULES

__all__ = ["LinkReport", "check_linked", "count_links"]


@dataclass(frozen=True, kw_only=True, eq=False)
class LinkReport:
    """
    Which detectors and epochs share sources.

    Parameters
    ----------
    detectors : tuple of str
        Labels ``"<array> <module>"`` of the detectors that are there.
    shared : numpy.ndarray of int, shape (n_detectors, n_detectors)
        Sources measured by both detectors; on the diagonal, sources measured by the detector.
    epochs : tuple of int
        Epochs in order of time.
    shared_epochs : numpy.ndarray of int, shape (n_epochs, n_epochs)
        Sources measured in both epochs.
    detector_group, epoch_group : numpy.ndarray of int
        Connected component of each detector and of each epoch.
    repeated : int
        Sources measured more than once.
    n_sources : int
        Sources in all.
    """

    detectors: tuple
    shared: np.ndarray
    epochs: tuple
    shared_epochs: np.ndarray
    detector_group: np.ndarray
    epoch_group: np.ndarray
    repeated: int
    n_sources: int

    def between_modules(self, array):
        """Count the sources that both modules of an array ID measured."""
        pair = [f"{array} {module}" for module in MODULES]
        if not set(pair) <= set(self.detectors):
            return 0
        return int(self.shared[self.detectors.index(pair[0]), self.detectors.index(pair[1])])

    def rows(self):
        """List the pairs of detectors that share sources, for a table."""
        upper = np.triu(self.shared, 1)
        found = [
            {"detector": self.detectors[i], "other": self.detectors[j], "sources": int(upper[i, j])}
            for i, j in np.argwhere(upper)
        ]
        linked = self.shared - np.diag(np.diag(self.shared))
        alone = np.flatnonzero(linked.sum(axis=1) == 0)
        return found + [{"detector": self.detectors[i], "other": None, "sources": 0} for i in alone]

    def sentences(self):
        """Say in words what is not linked."""
        lonely = [row["detector"].split() for row in self.rows() if row["other"] is None]
        said = [f"array {array} module {module} has no common source with any other" for array, module in lonely]
        for group in range(1, int(self.epoch_group.max(initial=0)) + 1):
            members = [str(e) for e, g in zip(self.epochs, self.epoch_group, strict=True) if g == group]
            said.append(f"epochs {', '.join(members)} have no common source with epoch {self.epochs[0]}")
        return said


def count_links(measurements):
    """Count the sources that detectors and epochs share."""
    source = number_labels(measurements.source)[1]
    detectors, detector = number_labels(measurements.detector)
    epochs, epoch = number_labels(measurements.epoch)
    shared, shared_epochs = _shared(source, detector), _shared(source, epoch)
    return LinkReport(
        detectors=tuple(f"{ARRAYS[code // 2]} {MODULES[code % 2]}" for code in detectors),
        shared=shared,
        epochs=tuple(int(e) for e in epochs),
        shared_epochs=shared_epochs,
        detector_group=_groups(shared),
        epoch_group=_groups(shared_epochs),
        repeated=int(np.count_nonzero(np.bincount(source) > 1)) if len(source) else 0,
        n_sources=int(source.max()) + 1 if len(source) else 0,
    )


def check_linked(measurements, links):
    """Refuse measurements that cannot hold an offset between the modules."""
    place = f"measurements in {measurements.filter}+{measurements.pupil}"
    if links.n_sources == 0:
        raise NoSolutionError(f"{place}: no source that was selected is measured twice")
    modules = sorted({detector.split()[1] for detector in links.detectors})
    if len(modules) < len(MODULES):
        raise NoSolutionError(f"{place}: all are of module {modules[0]}; an offset needs both modules")
    if links.repeated == 0 and len(links.epochs) == 1:
        raise NoSolutionError(
            f"{place}: one epoch (epoch {links.epochs[0]}) and no dithers: none of {links.n_sources} sources"
            " is measured twice"
        )
    if links.repeated == 0:
        raise NoSolutionError(f"{place}: no overlap: none of {links.n_sources} sources is measured twice")
    sides = [set(), set()]
    for detector, group in zip(links.detectors, links.detector_group, strict=True):
        sides[MODULES.index(detector.split()[1])].add(int(group))
    if not sides[0] & sides[1]:
        raise NoSolutionError(f"{place}: no overlap: no array of module A shares sources with one of module B")


def _shared(source, label):
    """Count the sources that each pair of labels shares."""
    ones = np.ones(len(source), dtype=np.int64)
    n_labels = int(label.max()) + 1 if len(label) else 0
    n_sources = int(source.max()) + 1 if len(source) else 0
    seen = sparse.coo_array((ones, (source, label)), shape=(n_sources, n_labels)).tocsr()
    seen.data[:] = 1
    return (seen.T @ seen).toarray()


def _groups(shared):
    """Find the connected components of a matrix of shared sources."""
    if shared.size == 0:
        return np.zeros(0, dtype=int)
    return connected_components(sparse.csr_array(shared), directed=False)[1]
