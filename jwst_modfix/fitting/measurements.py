"""Measurements of sources in single exposures, the solver's input."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from jwst_modfix.errors import MeasurementsError
from jwst_modfix.exposure import is_finite_number
from jwst_modfix.fitting.linear import number_labels
from jwst_modfix.table.table import ARRAYS, MODULES, along_focal_plane
from jwst_modfix.text import count_nouns, describe_band

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = [
    "DETECTORS_BY_CODE", "DIRECTION", "EXPOSURE_SHARE", "ORIGIN", "PARTS", "Measurements", "focal_plane_coordinate",
]  # fmt: skip


PARTS = tuple((array, module) for array in ARRAYS for module in MODULES)
"""Array ID and module by number of the detector, as of ``Measurements.detector``."""
DETECTORS_BY_CODE = tuple(f"NRC{module}{array.upper()}" for array, module in PARTS)
"""Names of the detectors by their numbers."""

# Midpoint of the two long-wavelength arrays [arcsec], from the SIAF reference points of NRCA5_FULL and
# NRCB5_FULL.
ORIGIN = (-1.74, -492.4)
# The zero-point error grows toward +V2: degrees from +V3 toward +V2.
DIRECTION = 90.0
# Ma et al. (2023), Eq. 9-10: Delta = g (u_j - u_i) = 2 g d, thus k = 2 g and one exposure carries half of k.
EXPOSURE_SHARE = 0.5

# Columns that are not real numbers.
_TYPES: dict[str, type] = {"array": str, "module": str, "reserved": bool}
_TYPES |= dict.fromkeys(("source", "exposure", "epoch", "time"), int)
# Other names of columns of a table, and the units that a column may have.
_ALIASES = {"mag_error": "mag_err", "V2": "v2", "V3": "v3", "RA": "ra", "Dec": "dec"}
_UNITS: dict[str, tuple[str, ...]] = dict.fromkeys(("mag", "mag_error", "colour"), ("mag", "mag(AB)"))
_UNITS |= dict.fromkeys("xy", ("pix", "pixel"))
_UNITS |= dict.fromkeys(("V2", "V3"), ("arcsec",)) | dict.fromkeys(("RA", "Dec"), ("deg",))
_BAND = ("filter", "pupil")
_MAGNITUDE_LIMITS = (-10.0, 50.0)  # catalogues have 99 or -99 where there is no magnitude
_ERROR_LIMITS = 1e-100, 1e100  # mag; beyond them squares are not floats


def focal_plane_coordinate(
    V2: ArrayLike, V3: ArrayLike, direction: float = DIRECTION, origin: tuple[float, float] = ORIGIN
) -> np.ndarray:
    """Compute u [arcmin] from V2, V3 [arcsec], along the gradients that are fitted."""
    return along_focal_plane(V2, V3, origin, direction)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Measurements:
    """
    Magnitudes of sources in single exposures, through one filter and pupil.

    Parameters
    ----------
    source, exposure, epoch : array_like of int, shape (n,)
        Numbers of the source, the exposure and the epoch; any integers, epochs in order of time.
    array, module : array_like of str, shape (n,)
        Array ID (``"1"`` to ``"4"`` or ``"long"``) and module (``"A"`` or ``"B"``).
    mag, mag_error : array_like of float, shape (n,)
        AB magnitude and its standard error [mag].
    V2, V3 : array_like of float, shape (n,)
        Position in the focal plane [arcsec].
    x, y : array_like of float, shape (n,), optional
        Position in the full-frame SCI frame [0-indexed pixels].
    RA, Dec : array_like of float, shape (n,), optional
        Position on the sky [deg].
    time : array_like of int, shape (n,), optional
        Number of the time of the exposure, which detectors that were exposed together share; ``exposure`` unless
        given.
    colour : array_like of float, shape (n,), optional
        Magnitude of the source in this filter minus that in another one [mag], for a colour term.
    reserved : array_like of bool, shape (n,), optional
        Kept out of the fit, for validation; none by default.
    filter, pupil : str, optional
        Names in the filter and the pupil wheel.

    Raises
    ------
    MeasurementsError
        Lengths differ, a value is not finite, an error is not positive, or a name is unknown.
    """

    source: np.ndarray
    exposure: np.ndarray
    epoch: np.ndarray
    array: np.ndarray
    module: np.ndarray
    mag: np.ndarray
    mag_error: np.ndarray
    V2: np.ndarray
    V3: np.ndarray
    x: np.ndarray | None = None
    y: np.ndarray | None = None
    RA: np.ndarray | None = None
    Dec: np.ndarray | None = None
    time: np.ndarray = None  # type: ignore[assignment]
    colour: np.ndarray | None = None
    reserved: np.ndarray = None  # type: ignore[assignment]
    filter: str = "unknown"
    pupil: str = "CLEAR"

    def __post_init__(self) -> None:
        if self.reserved is None:
            object.__setattr__(self, "reserved", np.zeros(np.shape(self.source), dtype=bool))
        for name in self._columns():
            object.__setattr__(self, name, _column(name, getattr(self, name), self.place))
        lengths = {name: len(getattr(self, name)) for name in self._columns()}
        if self.time is None and lengths["exposure"] == lengths["epoch"]:
            object.__setattr__(self, "time", _number_exposures(self.exposure, self.epoch))
        if len(set(lengths.values())) > 1:
            raise MeasurementsError(f"{self.place}: columns must have one length; got {lengths}")
        for name in [name for name in lengths if name not in _TYPES]:
            bad = np.flatnonzero(~np.isfinite(getattr(self, name)))
            if len(bad):
                raise MeasurementsError(
                    f"{self.place}: {name} must be finite; {len(bad)} are not, the first in row {bad[0]}"
                )
        low, high = _MAGNITUDE_LIMITS
        if len(self) and (self.mag.min() < low or self.mag.max() > high):
            row = int(np.argmax((self.mag < low) | (self.mag > high)))
            raise MeasurementsError(
                f"{self.place}: mag must be from {low:g} to {high:g}; row {row} has {self.mag[row]:g}: leave rows out "
                "that were not measured"
            )
        low, high = _ERROR_LIMITS
        if len(self) and (self.mag_error.min() < low or self.mag_error.max() > high):
            row = int(np.argmax((self.mag_error < low) | (self.mag_error > high)))
            value = self.mag_error[row]
            rule = "positive" if value <= 0 else f"from {low:g} to {high:g}"
            raise MeasurementsError(f"{self.place}: mag_error must be {rule}; row {row} has {value:g}")
        _ = self.detector
        # A time that is in two epochs would have one term for both.
        if (mixed := _find_mixed(self.time, self.epoch)) is not None:
            epochs = np.unique(self.epoch[self.time == self.time[mixed]])
            raise MeasurementsError(
                f"{self.place}: time {self.time[mixed]} is in epochs {epochs[0]} and {epochs[1]}; each exposure has a"
                " time of its own"
            )

    def __len__(self) -> int:
        return len(self.source)

    def __repr__(self) -> str:
        sources = count_nouns(len(np.unique(self.source)), "source")
        epochs = count_nouns(len(np.unique(self.epoch)), "epoch")
        return f"<Measurements {self.band}: {len(self)} of {sources} in {epochs}>"

    @classmethod
    def from_table(
        cls, table: Table, *, filter: str | None = None, pupil: str | None = None, least_error: float = 0.0
    ) -> Measurements:
        """
        Take the measurements of one filter and pupil from a table.

        The table may be the file of measurements that a derivation writes, of which the selected rows are taken, or
        one of the simulator. Its columns are the parameters of this class; ``mag_err``, ``v2``, ``v3``, ``ra`` and
        ``dec`` are read too. Epochs may have names; they are numbered in the order in which they appear.

        Parameters
        ----------
        table : astropy.table.Table
            The table. Columns without a unit are in the units of this class.
        filter, pupil : str, optional
            The filter and pupil to take; needed where the table has several.
        least_error : float, optional
            Added to the errors in quadrature [mag]; a derivation adds 0.0007.

        Returns
        -------
        Measurements
            The measurements, in the order of the table.

        Raises
        ------
        MeasurementsError
            A column is missing, is masked, or has the wrong unit or shape; or there are several filters.
        """
        if not hasattr(table, "add_column"):
            raise MeasurementsError(f"measurements must be an astropy table, got {type(table).__name__}")
        if not (is_finite(least_error) and least_error >= 0):
            raise MeasurementsError(f"least_error must be a number of at least 0, got {least_error!r}")
        known = {f.name: (_ALIASES.get(f.name), f.name) for f in fields(cls) if f.name not in ("reserved", *_BAND)}
        found = {name: alias for name, both in known.items() for alias in both if alias in table.colnames}
        missing = [f.name for f in fields(cls) if f.default is MISSING and f.name not in found]
        if missing:
            raise MeasurementsError(
                f"table of measurements: no column {', '.join(missing)}; it has {', '.join(table.colnames)}"
            )
        keep, band = np.ones(len(table), dtype=bool), {"filter": filter, "pupil": pupil}
        if "selected" in table.colnames:
            keep &= _read_flags(table["selected"], "selected")
        for name, wanted in band.items():
            if name in table.colnames:
                labels = np.asarray(table[name], dtype=str)
                keep &= True if wanted is None else labels == wanted
                there = np.unique(labels[keep])
                if wanted is None and len(there) > 1:
                    raise MeasurementsError(
                        f"table of measurements: {len(there)} values of {name} ({', '.join(there)}); choose one with"
                        f" {name}="
                    )
                band[name] = str(there[0]) if wanted is None and len(there) else wanted
        columns = {name: _read_column(table[alias], name, keep) for name, alias in found.items()}
        if columns["epoch"].dtype.kind in "SUO":
            _, first, number = np.unique(columns["epoch"], return_index=True, return_inverse=True)
            columns["epoch"] = np.argsort(np.argsort(first))[number]
        error = columns["mag_error"]
        if least_error and error.dtype.kind in "fiu":  # what is no positive number stays, to be refused
            columns["mag_error"] = np.where(error > 0, np.hypot(error, least_error), error)
        if "reserved" in table.colnames:
            columns["reserved"] = _read_flags(table["reserved"], "reserved")[keep]
        return cls(**columns, filter=band["filter"] or "unknown", pupil=band["pupil"] or "CLEAR")

    def to_table(self) -> Table:
        """
        Make a table that `from_table` reads.

        Returns
        -------
        astropy.table.Table
            A column for each array, with units, and ``filter`` and ``pupil``.
        """
        from astropy.table import Table

        columns = {name: getattr(self, name) for name in self._columns()}
        columns |= {name: np.full(len(self), getattr(self, name)) for name in _BAND}
        return Table(columns, units={name: allowed[0] for name, allowed in _UNITS.items() if name in columns})

    @property
    def band(self) -> str:
        """Name of the filter and pupil, such as ``F444W`` or ``F444W+F405N``."""
        return describe_band(self.filter, self.pupil)

    @property
    def place(self) -> str:
        """Name of the measurements in messages."""
        return f"measurements in {self.band}"

    def _columns(self) -> list[str]:
        names = (f.name for f in fields(self) if f.name not in _BAND)
        return [name for name in names if getattr(self, name) is not None]

    @cached_property
    def array_code(self) -> np.ndarray:
        """Place of each measurement's array ID in ``ARRAYS``."""
        return _codes("array", self.array, ARRAYS, self.place)

    @cached_property
    def module_code(self) -> np.ndarray:
        """Place of each measurement's module in ``MODULES``."""
        return _codes("module", self.module, MODULES, self.place)

    @cached_property
    def detector(self) -> np.ndarray:
        """Number of the detector: ``2 * array_code + module_code``."""
        return np.asarray(2 * self.array_code + self.module_code, dtype=np.int8)

    def select(self, keep: np.ndarray) -> Measurements:
        """
        Take some of the measurements.

        Parameters
        ----------
        keep : numpy.ndarray of bool or int, shape (n,) or (m,)
            Mask or indices.

        Returns
        -------
        Measurements
            Those measurements, in the order asked for.
        """
        if keep.dtype == bool and keep.all():
            return self
        columns: dict[str, Any] = {name: getattr(self, name)[keep] for name in self._columns()}
        return replace(self, **columns)


def is_finite(value: Any, shape: tuple[int, ...] = ()) -> bool:
    """Test whether a value has finite numbers of this shape; text and True have none."""
    items = np.asarray(value, dtype=object)
    return items.shape == shape and all(map(is_finite_number, items.ravel()))


def _read_flags(column: Any, name: str) -> np.ndarray:
    """Read a column of True and False, or 1 and 0; as text, False would be true."""
    values = np.ma.asarray(column)
    is_flag = values.dtype.kind == "b" or (values.dtype.kind in "iu" and np.isin(values.data, (0, 1)).all())
    if not is_flag or np.ma.getmaskarray(values).any():
        found = "masked values" if is_flag else f"{values.dtype} such as {values.data[:1].tolist()[0]!r}"
        raise MeasurementsError(f"table of measurements: {name} must be True or False in every row, got {found}")
    return np.asarray(values.data, dtype=bool)


def _read_column(column: Any, name: str, keep: np.ndarray) -> np.ndarray:
    """Read the rows to keep of one column, its unit checked."""
    unit = getattr(column, "unit", None)
    if unit is not None and name in _UNITS and str(unit) not in _UNITS[name]:
        raise MeasurementsError(f"table of measurements: {name} is in {unit}; must be in {_UNITS[name][0]}")
    if np.ndim(column) != 1:
        raise MeasurementsError(f"table of measurements: {name} must have one dimension; got {np.ndim(column)}")
    masked = np.flatnonzero(np.ma.getmaskarray(column) & keep)
    if len(masked):
        raise MeasurementsError(f"table of measurements: {name} is masked in row {masked[0]}; leave the row out")
    values: np.ndarray = np.asarray(column)[keep]
    return values


def _number_exposures(exposure: np.ndarray, epoch: np.ndarray) -> np.ndarray:
    """Give exposures new numbers where those of two epochs have the same."""
    if _find_mixed(exposure, epoch) is None:
        return exposure
    first, span = exposure.min(), int(np.ptp(exposure)) + 1
    return np.asarray((exposure - first) + span * number_labels(epoch)[1])


def _find_mixed(time: np.ndarray, epoch: np.ndarray) -> int | None:
    """Find a row whose time is in another epoch too; None where there is none."""
    times, place = number_labels(time)
    last = np.zeros(len(times), dtype=epoch.dtype)
    last[place] = epoch
    differ = last[place] != epoch
    return int(np.argmax(differ)) if differ.any() else None


def _column(name: str, values: ArrayLike, place: str) -> np.ndarray:
    """Read one column as a one-dimensional array of its type."""
    kind: type = _TYPES.get(name, float)
    values = np.asarray(values)
    if values.ndim != 1:
        raise MeasurementsError(f"{place}: {name} must have one dimension; got {values.ndim}")
    if kind is int and values.size and values.dtype.kind not in "iub":
        raise MeasurementsError(f"{place}: {name} must be integers; got {values.dtype}")
    try:
        return values.astype(kind, copy=False)
    except (TypeError, ValueError) as error:
        raise MeasurementsError(f"{place}: {name} must be numbers: {error}") from error


def _codes(name: str, values: np.ndarray, known: tuple[str, ...], place: str) -> np.ndarray:
    """Encode labels; comparing with known labels is faster than sorting."""
    codes = np.full(len(values), -1, dtype=np.int8)
    for code, label in enumerate(known):
        codes[values == label] = code
    if (codes < 0).any():
        row = int(np.argmax(codes < 0))
        raise MeasurementsError(
            f"{place}: {name} must be one of {', '.join(known)}; row {row} has {str(values[row])!r}"
        )
    return codes
