"""The terms of the model, and the design that they make of a table of measurements."""

from dataclasses import dataclass

import numpy as np

from jwst_modfix.reference.table import ARRAYS, MODULES
from jwst_modfix.solution.labels import number_labels
from jwst_modfix.solution.measurements import EXPOSURE_SHARE
from jwst_modfix.solution.normal import reduce_system

__all__ = ["SLOPE_ARRAYS", "Model", "Term", "build_model"]

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


@dataclass(frozen=True)
class Term:
    """
    One global term of the model.

    Parameters
    ----------
    kind : {'offset', 'level', 'slope', 'slope_V2', 'slope_V3', 'epoch'}
        Delta_AB = z_A - z_B [mag], the array's mean zero point [mag], k [mag/arcmin], t [mag].
    array : str, optional
        Array ID.
    module : str, optional
        Module, where a slope is fitted for each module.
    epoch : int, optional
        Epoch.
    """

    kind: str
    array: str | None = None
    module: str | None = None
    epoch: int | None = None

    @property
    def name(self):
        """Short name, such as ``offset[long]``, ``slope[long A]`` or ``epoch[2]``."""
        inside = (self.array, self.module, self.epoch)
        return f"{self.kind}[{' '.join(str(part) for part in inside if part is not None)}]"

    @property
    def words(self):
        """The term in words."""
        words = _WORDS[self.kind].format(array=self.array, epoch=self.epoch)
        return words if self.module is None else f"{words} in module {self.module}"

    @property
    def is_slope(self):
        """Whether the term is a gradient or a component of one."""
        return self.kind.startswith("slope")


@dataclass(frozen=True, eq=False)
class Model:
    """
    Every term that was asked for, and the reduced system of the measurements.

    Parameters
    ----------
    terms : tuple of Term
        The terms theta.
    transform : numpy.ndarray, shape (n_columns, n_terms)
        From terms to columns of the design: ``beta = transform @ theta``, which holds z_A = level + Delta_AB / 2.
    system : ReducedSystem
        The design in columns z, k, t.
    epochs : numpy.ndarray of int
        Epochs in order of time; the first one's term is 0.
    """

    terms: tuple
    transform: np.ndarray
    system: object
    epochs: np.ndarray

    def mask(self, *kinds):
        """
        Find the terms of some kinds.

        Parameters
        ----------
        *kinds : str
            Kinds of terms.

        Returns
        -------
        numpy.ndarray of bool, shape (n_terms,)
            True for terms of those kinds.
        """
        return np.array([term.kind in kinds for term in self.terms], dtype=bool)


def build_model(measurements, *, slope_arrays, direction, origin, fit_direction=False, per_module=False):
    """
    Write down the model m = M + z + g u + t for these measurements.

    Parameters
    ----------
    measurements : Measurements
        The measurements; all of them enter.
    slope_arrays : sequence of str
        Array IDs that have a gradient.
    direction : float
        Direction of the gradient [deg], from +V3 toward +V2; unused where it is fitted.
    origin : tuple of float
        (V2, V3) where u = 0 [arcsec].
    fit_direction : bool, optional
        Two components along V2 and V3 in the place of one slope.
    per_module : bool, optional
        One gradient for each module of an array ID, as a diagnostic.

    Returns
    -------
    Model
        Terms and reduced system.
    """
    epochs, epoch = number_labels(measurements.epoch)
    columns, values, terms, transform = _zero_points(measurements)
    kinds = {"slope": direction} if not fit_direction else {"slope_V2": 90.0, "slope_V3": 0.0}
    for kind, angle in kinds.items():
        u = measurements.coordinate(angle, origin)
        more = _slope_terms(kind, measurements, slope_arrays, per_module)
        if more:
            column, has_slope = _slope_columns(measurements, more)
            _extend(columns, values, terms, column, EXPOSURE_SHARE * u * has_slope, more)
    if len(epochs) > 1:
        more = [Term("epoch", epoch=int(e)) for e in epochs[1:]]
        _extend(columns, values, terms, np.maximum(epoch - 1, 0), (epoch > 0).astype(float), more)
    n_columns = len(terms)
    full = np.eye(n_columns)
    full[: len(transform), : len(transform)] = transform
    source = number_labels(measurements.source)[1]
    return Model(tuple(terms), full, reduce_system(source, columns, values, n_columns), epochs)


def _zero_points(measurements):
    """Columns z of the detectors that are there, and their transform to offsets and levels."""
    detectors = np.unique(measurements.detector)
    column = np.searchsorted(detectors, measurements.detector).astype(np.int32)
    terms, rows = [], []
    for code in np.unique(detectors // 2):
        here = np.flatnonzero(detectors // 2 == code)
        level = np.zeros(len(detectors))
        level[here] = 1.0
        if len(here) == len(MODULES):
            offset = np.zeros(len(detectors))
            offset[here] = 0.5, -0.5
            terms.append(Term("offset", ARRAYS[code]))
            rows.append(offset)
        terms.append(Term("level", ARRAYS[code]))
        rows.append(level)
    return [column], [None], terms, np.array(rows).T


def _slope_terms(kind, measurements, slope_arrays, per_module):
    """Terms of the gradients of the arrays that are there."""
    found = [ARRAYS[code] for code in np.unique(measurements.array_code) if ARRAYS[code] in slope_arrays]
    if not per_module:
        return [Term(kind, array) for array in found]
    there = set(zip(measurements.array_code.tolist(), measurements.module_code.tolist(), strict=True))
    return [
        Term(kind, array, module)
        for array in found
        for code, module in enumerate(MODULES)
        if (ARRAYS.index(array), code) in there
    ]


def _slope_columns(measurements, terms):
    """Place of each measurement's gradient among the terms, and whether it has one."""
    place = np.full(2 * len(ARRAYS), -1, dtype=np.int32)
    for number, term in enumerate(terms):
        modules = MODULES if term.module is None else (term.module,)
        for module in modules:
            place[2 * ARRAYS.index(term.array) + MODULES.index(module)] = number
    column = place[measurements.detector]
    return np.maximum(column, 0), column >= 0


def _extend(columns, values, terms, column, value, more):
    """Append one slot of the design behind those that are there."""
    columns.append((len(terms) + column).astype(np.int32))
    values.append(value)
    terms.extend(more)
