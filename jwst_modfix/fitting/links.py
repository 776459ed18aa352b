"""Which detectors and epochs share sources."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from jwst_modfix.errors import NoSolutionError
from jwst_modfix.fitting.least_squares import number_labels
from jwst_modfix.fitting.measurements import Measurements
from jwst_modfix.table.table import ARRAYS, MODULES

__all__ = ["LinkReport", "check_linked", "count_links", "count_weakest_links"]


@dataclass(frozen=True, kw_only=True, eq=False)
class LinkReport:
    """Which detectors and epochs share sources."""

    detectors: tuple[str, ...]  # labels "<array> <module>" of the detectors that have measurements
    shared: np.ndarray  # (n_detectors, n_detectors), sources of both detectors; on the diagonal, of the detector
    epochs: tuple[int, ...]  # in order of time
    shared_epochs: np.ndarray  # (n_epochs, n_epochs), sources of both epochs
    detector_group: np.ndarray  # (n_detectors,), number of the connected component
    epoch_group: np.ndarray  # (n_epochs,), number of the connected component
    repeated: int  # sources measured more than once
    n_sources: int

    def between_modules(self, array):
        """Count the sources that both modules of an array ID measured."""
        pair = [f"{array} {module}" for module in MODULES]
        if not set(pair) <= set(self.detectors):
            return 0
        return int(self.shared[self.detectors.index(pair[0]), self.detectors.index(pair[1])])

    def sentences(self):
        """List in words what is not linked."""
        alone = self.shared.sum(axis=1) == np.diag(self.shared)
        found = [
            "array {} module {} has no common source with any other".format(*self.detectors[i].split())
            for i in np.flatnonzero(alone)
        ]
        for group in range(1, int(self.epoch_group.max(initial=0)) + 1):
            members = [str(e) for e, g in zip(self.epochs, self.epoch_group, strict=True) if g == group]
            noun, verb = ("epoch", "has") if len(members) == 1 else ("epochs", "have")
            found.append(f"{noun} {', '.join(members)} {verb} no common source with epoch {self.epochs[0]}")
        return found


def count_links(measurements: Measurements) -> LinkReport:
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
        detector_group=connected_components(shared, directed=False)[1],
        epoch_group=connected_components(shared_epochs, directed=False)[1],
        repeated=int(np.count_nonzero(np.bincount(source) > 1)),
        n_sources=int(source.max(initial=-1)) + 1,
    )


def _shared(source, label):
    """Count the sources that each pair of labels shares."""
    shape = (int(source.max(initial=-1)) + 1, int(label.max(initial=-1)) + 1)
    seen = sparse.coo_array((np.ones(len(source), dtype=np.int64), (source, label)), shape=shape).tocsr()
    seen.data[:] = 1
    return (seen.T @ seen).toarray()


def count_weakest_links(measurements: Measurements, used: np.ndarray) -> dict[str, int]:
    """Count the used sources in the weakest link between the modules of each array: the minimum cut.

    Two sets of detectors with one module in each are linked by the sources that were measured on both sides. Of all
    such sets, the one with the fewest sources between limits what is known of the offset. There are at most 512.
    """
    source, detector = number_labels(measurements.source)[1], measurements.detector
    seen = sum((np.bincount(source, used & (detector == d)) > 0).astype(int) << d for d in np.unique(detector))
    patterns, counts = np.unique(seen, return_counts=True)
    there = np.flatnonzero(np.bincount(detector))
    sides = np.array([0])
    for d in there:
        sides = np.concatenate([sides, sides | 1 << d])
    crossing = ((sides[:, None] & patterns) > 0) & ((~sides[:, None] & patterns) > 0)
    linked, found = crossing @ counts, {}
    for code in np.unique(there // 2):
        apart = ((sides >> 2 * code) & 1) & ~((sides >> (2 * code + 1)) & 1)
        found[ARRAYS[code]] = int(linked[apart.astype(bool)].min(initial=len(seen)))
    return found


def check_linked(measurements: Measurements, links: LinkReport) -> None:
    """Refuse measurements that cannot determine an offset between the modules."""
    place = f"measurements in {measurements.filter}+{measurements.pupil}"
    if links.n_sources == 0:
        raise NoSolutionError(f"{place}: no source that was selected is measured twice")
    modules = sorted({detector.split()[1] for detector in links.detectors})
    if len(modules) < len(MODULES):
        raise NoSolutionError(f"{place}: all are of module {modules[0]}; an offset needs both modules")
    if links.repeated == 0:
        why = "no overlap"
        if len(links.epochs) == 1:
            why = f"one epoch (epoch {links.epochs[0]}) and no dithers"
        raise NoSolutionError(f"{place}: {why}: none of {links.n_sources} sources is measured twice")
    sides = [
        {int(g) for d, g in zip(links.detectors, links.detector_group, strict=True) if d.endswith(module)}
        for module in MODULES
    ]
    if not sides[0] & sides[1]:
        raise NoSolutionError(f"{place}: no overlap: no array of module A shares sources with one of module B")
