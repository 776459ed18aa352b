"""The terms of the model m = M + z + g u + F + t, and their design."""

import itertools
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.special import eval_legendre

from jwst_modfix.errors import MeasurementsError
from jwst_modfix.fitting.linear import Block, Design, number_labels
from jwst_modfix.fitting.measurements import (
    DIRECTION,
    EXPOSURE_SHARE,
    ORIGIN,
    PARTS,
    Measurements,
    focal_plane_coordinate,
)
from jwst_modfix.table.table import ARRAYS, MODULES, scale_pixels

SLOPE_ARRAYS = {"long": ("long",), "all": ARRAYS, "none": ()}
"""Array IDs that have a gradient, by the parameter ``fit_slope``."""

_SLOPES = ("slope", "slope_V2", "slope_V3")


@dataclass(frozen=True)
class Term:
    """One global term of the model."""

    # Of modules: 'offset', Delta_AB = z_A - z_B [mag], 'level', mean zero point of the array's modules [mag], and
    # 'slope', k [mag/arcmin]. Of detectors: 'zero_point', z [mag], and 'field', a coefficient of F(x, y) [mag].
    # Of both: 'epoch', t, 'exposure', its own t less the epoch's, and 'drift', of one detector in one epoch [mag];
    # 'colour', of module A less that of module B [mag per mag].
    kind: str
    array: str | None = None
    module: str | None = None  # of a detector, or where each module has its own slope
    epoch: int | None = None
    time: int | None = None  # of an exposure of all detectors
    power: tuple[int, int] | None = None  # degrees of the Legendre polynomials in x and y

    @property
    def detector(self) -> str:
        """Name of the detector."""
        return f"NRC{self.module}{str(self.array).upper()}"

    @property
    def part(self) -> str:
        """Array ID or name of the detector."""
        return self.detector if self.is_of_detector else str(self.array)

    @property
    def codes(self) -> tuple[int, ...]:
        """Numbers of the detectors of the term's array, or of its detector."""
        if self.array is None:
            return ()
        modules = MODULES if self.module is None else (self.module,)
        return tuple(PARTS.index((self.array, module)) for module in modules)

    @property
    def is_of_detector(self) -> bool:
        """Whether the term belongs to one detector."""
        return self.kind in ("zero_point", "field", "drift")

    @property
    def name(self) -> str:
        """Short name, such as ``offset[long]``, ``zero_point[NRCA1]`` or ``epoch[2]``."""
        place = (self.detector,) if self.is_of_detector else (self.array, self.module)
        inside = [str(part) for part in (*place, self.epoch, self.time, *(self.power or ())) if part is not None]
        return f"{self.kind}[{' '.join(inside)}]" if inside else self.kind

    @property
    def words(self) -> str:
        """The term in words."""
        if self.kind == "colour":
            return "colour term A - B"
        if self.kind in ("epoch", "exposure"):
            return f"term of {self.kind} {self.epoch if self.kind == 'epoch' else self.time}"
        if self.kind == "drift":
            return f"drift of {self.detector} in epoch {self.epoch}"
        if self.is_of_detector:
            return f"{self.kind.replace('_', ' ')} of {self.detector}"
        kind, _, axis = self.kind.partition("_")
        along, inside = f" along {axis}" if axis else "", f" in module {self.module}" if self.module else ""
        return f"{kind} of array {self.array}{along}{inside}"

    @property
    def unit(self) -> str:
        """Unit of the value."""
        return "mag/arcmin" if self.is_slope else "mag/mag" if self.kind == "colour" else "mag"

    @property
    def is_slope(self) -> bool:
        """Whether the term is a slope or a component of one."""
        return self.kind in _SLOPES


CHOICES = {
    "scale": ("modules", "detectors"),
    "fit_slope": tuple(SLOPE_ARRAYS),
    "time_term": ("auto", "fit", "zero"),
    "exposure_terms": ("auto", "fit", "zero"),
    "field_order": ("0", "1", "2", "3", "auto"),
    "drift": ("report", "fit", "no"),
}
"""Values of the parameters of a fit that have a few."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What is asked of a fit: the parameters of `jwst_modfix.fitting.solution.fit`."""

    scale: str = "modules"
    fit_slope: str = "long"
    time_term: str = "auto"
    exposure_terms: str = "auto"
    field_order: int = 0
    drift: bool = False
    direction: float = DIRECTION
    origin: tuple[float, float] = ORIGIN
    fit_direction: bool = False
    per_module: bool = False
    colour: float | None = None  # at which zero points hold, with a colour term [mag]
    min_sources: int = 10  # the scatter of fewer gives no reliable error, and one that varies looks like an offset

    def least_order(self, measurements: Measurements) -> int:
        """Find the order of the detectors' fields that a gradient requires: 0 or 1."""
        arrays = {PARTS[code][0] for code in np.unique(measurements.detector)}
        return int(self.scale == "detectors" and not arrays.isdisjoint(SLOPE_ARRAYS[self.fit_slope]))


@dataclass(frozen=True, eq=False)
class Model:
    """All terms that are asked for, and what their design needs."""

    terms: tuple[Term, ...]
    epochs: np.ndarray  # in order of time; the first one's term is 0
    direction: float  # of the slopes [deg], where it is not fitted
    origin: tuple[float, float]  # V2, V3 where u = 0 [arcsec]
    times: np.ndarray  # of exposures
    epoch_of_time: np.ndarray  # place of each time's epoch among the epochs
    # Gradients of 1 mag/arcmin along V2 and V3 over the whole focal plane, as terms of the detectors' fields.
    tilts: tuple[np.ndarray, ...] = ()
    colour: float | None = None  # at which the zero points hold, with a colour term [mag]

    def mask(self, *kinds: str) -> np.ndarray:
        """Find the terms of some kinds."""
        return np.isin([term.kind for term in self.terms], kinds)

    @cached_property
    def code(self) -> np.ndarray:
        """Number of the detector of each term, the first of an array; -1 for none."""
        return np.array([(*term.codes, -1)[0] for term in self.terms], dtype=int)

    @cached_property
    def order(self) -> np.ndarray:
        """Order of the polynomial of each term; 0 for none."""
        return np.array([sum(term.power or ()) for term in self.terms], dtype=int)

    @cached_property
    def epoch(self) -> np.ndarray:
        """Place of the epoch of each term, or of its exposure; -1 for none."""
        known = dict(zip(self.epochs.tolist(), range(len(self.epochs)), strict=True)) | {None: -1}
        times = dict(zip(self.times.tolist(), self.epoch_of_time.tolist(), strict=True))
        return np.array([times.get(term.time, known[term.epoch]) for term in self.terms], dtype=int)

    @cached_property
    def scale(self) -> str:
        """Scale of zero points: ``'modules'`` (offsets and levels) or ``'detectors'``."""
        return "detectors" if self.mask("zero_point").any() else "modules"

    @cached_property
    def detectors(self) -> tuple[int, ...]:
        """Numbers of the detectors that have a zero point."""
        codes = (term.codes for term in self.terms if term.kind in ("level", "zero_point"))
        return tuple(sorted({*itertools.chain(*codes)}))

    def knows(self, measurements: Measurements) -> np.ndarray:
        """Test which measurements are of detectors and epochs of the model."""
        return np.isin(measurements.epoch, self.epochs) & np.isin(measurements.detector, self.detectors)

    @cached_property
    def powers(self) -> tuple[tuple[int, int], ...]:
        """Degrees (i, j) of the field's polynomials, in order of i + j."""
        return tuple(dict.fromkeys(term.power for term in self.terms if term.power is not None))

    def design(self, measurements: Measurements) -> Design:
        """Make the matrix of measurements: ``design @ values`` is z + g u + F + t."""
        # An exposure that is not part of the model has the term of its epoch.
        m = measurements
        unknown = [Term("zero_point", *PARTS[code]) for code in np.setdiff1d(m.detector, self.detectors)]
        unknown += [Term("epoch", epoch=int(epoch)) for epoch in np.setdiff1d(m.epoch, self.epochs)]
        if unknown:
            raise MeasurementsError(f"{m.place}: {unknown[0].words} is not part of the solution")
        if self.powers:
            demand_pixels(m)
        epoch = np.searchsorted(self.epochs, m.epoch).astype(np.int32)
        place = np.minimum(np.searchsorted(self.times, m.time), max(len(self.times) - 1, 0))
        time = np.where(self.times[place] == m.time, place, len(self.times)).astype(np.int32)
        return self._rows(m.detector, m.V2, m.V3, epoch=epoch, time=time, pixel=(m.x, m.y), colour=m.colour)

    def contrast(self, array: str, place_A: tuple[float, float], place_B: tuple[float, float]) -> np.ndarray:
        """Weight terms for A - B of an array ID between two places (V2, V3) [arcsec]."""
        detectors = 2 * ARRAYS.index(array) + np.arange(2)
        return self._rows(detectors, *np.transpose([place_A, place_B])).pull(np.array([1.0, -1.0]))

    def zero_points(self) -> np.ndarray:
        """Weight terms for the detectors' zero points, shape (n_detectors, n_terms)."""
        codes = np.array(self.detectors, dtype=int)
        at_origin = self._rows(codes, *(np.full(len(codes), place) for place in self.origin))  # without slopes
        return np.stack([at_origin.pull(one) for one in np.eye(len(codes))])

    def _rows(self, detector, V2, V3, *, epoch=None, time=None, pixel=None, colour=None):
        """Set each kind of term: z = level +- Delta_AB / 2 (A, B), g = share * k."""
        blocks = [self._block("zero_point", detector)]
        if self.scale == "modules":
            blocks = [self._block("level", detector), self._block("offset", detector, HALVES[detector % 2])]
        for kind, angle in zip(_SLOPES, (self.direction, 90.0, 0.0), strict=True):
            if self.mask(kind).any():
                u = focal_plane_coordinate(V2, V3, angle, self.origin)
                blocks.append(self._block(kind, detector, EXPOSURE_SHARE * u))
        if self.colour is not None and colour is not None:
            blocks.append(self._block("colour", detector, HALVES[detector % 2] * (colour - self.colour)))
        if epoch is not None:
            blocks.append(self._block("epoch", epoch))
            if self.mask("exposure").any():
                blocks.append(self._block("exposure", time))
            if self.mask("drift").any():
                blocks.append(self._block("drift", detector * np.int32(len(self.epochs)) + epoch))
        for power in self.powers if pixel else ():
            blocks.append(self._block("field", detector, legendre(*pixel, (power,))[0], power))
        return Design(tuple(blocks), len(self.terms))

    def _block(self, kind, label, value=None, power=None):
        """Find the columns of a kind of term by detector, epoch or exposure."""
        n_epochs = len(self.epochs)
        shape = {"epoch": n_epochs, "exposure": len(self.times) + 1, "drift": len(PARTS) * n_epochs}
        places = np.full(shape.get(kind, len(PARTS)), -1, dtype=np.int32)
        for number in np.flatnonzero(self.mask(kind)):
            term = self.terms[number]
            if kind == "exposure":
                places[np.searchsorted(self.times, term.time)] = number
            elif kind in ("epoch", "drift"):
                places[n_epochs * max(self.code[number], 0) + self.epoch[number]] = number
            elif term.power == power:
                places[list(term.codes) or slice(None)] = number
        return Block(label, places, value)


HALVES = np.array([0.5, -0.5])
"""Share of an offset in z_A and z_B."""


def legendre(x: np.ndarray, y: np.ndarray, powers: tuple[tuple[int, int], ...]) -> np.ndarray:
    """Evaluate P_i(xi) P_j(eta) of full-frame pixels for each (i, j), (n_powers, n)."""
    return multiply_legendre(scale_pixels(x), scale_pixels(y), powers)


def multiply_legendre(xi: np.ndarray, eta: np.ndarray, powers: tuple[tuple[int, int], ...]) -> np.ndarray:
    """Evaluate P_i(xi) P_j(eta) for each (i, j), shape (n_powers, n)."""
    return np.stack([eval_legendre(i, xi) * eval_legendre(j, eta) for i, j in powers])


def list_powers(order: int) -> tuple[tuple[int, int], ...]:
    """List degrees (i, j), i + j from 1 to the order."""
    return tuple((total - j, j) for total in range(1, order + 1) for j in range(total + 1))


def list_terms(measurements, choice):
    """List zero points, slopes, terms of epochs and exposures, fields and drifts."""
    there = [PARTS[code] for code in np.unique(measurements.detector)]
    arrays = list(dict.fromkeys(array for array, _ in there))
    terms = []
    for array in arrays if choice.scale == "modules" else ():
        alone = [module for other, module in there if other == array]
        pair = [Term("offset", array), Term("level", array)]
        terms += pair if len(alone) == len(MODULES) else [Term("level", array, alone[0])]
    slope_arrays = SLOPE_ARRAYS[choice.fit_slope]
    if choice.scale == "detectors":
        terms, slope_arrays = [Term("zero_point", *detector) for detector in there], ()
    sides = there if choice.per_module else [(array, None) for array in arrays]
    for kind in _SLOPES[1:] if choice.fit_direction else _SLOPES[:1]:
        terms += [Term(kind, array, module) for array, module in sides if array in slope_arrays]
    epochs, epoch = number_labels(measurements.epoch)
    terms += [Term("epoch", epoch=int(epoch)) for epoch in epochs[1:]]
    times, time = number_labels(measurements.time)
    epoch_of_time = np.zeros(len(times), dtype=int)
    epoch_of_time[time] = epoch
    shared = np.bincount(epoch_of_time, minlength=len(epochs)) > 1
    if choice.exposure_terms == "fit" or (choice.exposure_terms == "auto" and choice.time_term != "zero"):
        # An epoch of one exposure keeps its own term.
        terms += [Term("exposure", time=int(times[i])) for i in np.flatnonzero(shared[epoch_of_time])]
    if choice.drift:
        seen = np.flatnonzero(np.bincount(measurements.detector * np.int64(len(epochs)) + epoch))
        places = (divmod(place, len(epochs)) for place in seen.tolist())
        terms += [Term("drift", *PARTS[d], int(epochs[e])) for d, e in places if e > 0]
    terms += [Term("field", *detector, power=power) for detector in there for power in list_powers(choice.field_order)]
    terms += [Term("colour")] if choice.colour is not None else []
    model = Model(tuple(terms), epochs, choice.direction, choice.origin, times, epoch_of_time, colour=choice.colour)
    return replace(model, tilts=_list_tilts(model, measurements)) if model.powers else model


def demand_pixels(measurements):
    """Refuse measurements without the pixels that a field is a function of."""
    if measurements.x is None or measurements.y is None:
        raise MeasurementsError(
            f"{measurements.place}: a field needs the columns x and y; without them set field_order=0 and"
            " fit_slope='none'"
        )


def _list_tilts(model, measurements):
    """Fit gradients along V2 and V3 by zero points and fields of order 1."""
    demand_pixels(measurements)
    m, planar = measurements, model.mask("zero_point") | (model.order == 1)
    tilts = np.zeros((2, len(model.terms)))
    for code in model.detectors:
        mine = m.detector == code
        shapes = legendre(m.x[mine], m.y[mine], ((0, 0), (1, 0), (0, 1)))
        places = np.column_stack([m.V2[mine], m.V3[mine]]) / 60
        tilts[:, planar & (model.code == code)] = np.linalg.lstsq(shapes.T, places, rcond=None)[0].T
    return tuple(tilts)
