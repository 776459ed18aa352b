"""The coefficient table in memory: rows, lookups and the gauge.

Every value is checked when it is given: one that breaks a rule raises `~jwst_modfix.errors.ReferenceTableError`.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import html
import json
import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from jwst_modfix.errors import ReferenceTableError
from jwst_modfix.table.rules import check, context_number, schema_of
from jwst_modfix.text import count_nouns

if TYPE_CHECKING:
    import os

    from astropy.table import Table

    from jwst_modfix.apply.factor import FactorMap

__all__ = [
    "ARRAYS", "BASELINES", "DETECTORS", "FRAMES", "MODULES",
    "Field", "Gradient", "OffsetRow", "OffsetTable", "Validity", "ZeroPointRow",
]  # fmt: skip


MODULES = ("A", "B")
ARRAYS = ("1", "2", "3", "4", "long")
DETECTORS = (
    "NRCA1", "NRCA2", "NRCA3", "NRCA4", "NRCALONG", "NRCB1", "NRCB2", "NRCB3", "NRCB4", "NRCBLONG",
)  # fmt: skip
BASELINES = ("B", "A", "mean")  # of both kinds of rows; zero points may be relative to one detector, too
FRAMES = ("focal_plane", "detector", "sky")
FULL_FRAME = 2048  # pixels of a detector along each axis
MAG_PER_FRACTION = 2.5 / math.log(10)  # of a small relative change of a flux
MAD_TO_SIGMA = 1.482602218505602  # standard deviation of a normal distribution over its median absolute deviation

# Share of Delta_AB that each module's zero-point error z carries, by baseline: z_A - z_B = Delta_AB.
_GAUGE = {"B": {"A": 1.0, "B": 0.0}, "A": {"A": 0.0, "B": -1.0}, "mean": {"A": 0.5, "B": -0.5}}
_SCHEMA_1 = ("slope", "slope_error", "direction", "photmjsr")  # optional fields of its rows


class _Checked:
    """Base of dataclasses that hold their fields to a part of the schema."""

    path: ClassVar[tuple[str, ...]]  # of that part

    def __post_init__(self) -> None:
        problems: list[str] = []
        checked = self.collect(self.given(), self.label, problems)
        if checked is None:
            raise ReferenceTableError(problems=problems)
        vars(self).update(vars(checked))  # the fields are frozen

    def given(self) -> dict[str, Any]:
        """Collect the fields that are not left at their defaults, as a file has them."""
        values = ((item, getattr(self, item.name)) for item in dataclasses.fields(self))  # type: ignore[arg-type]
        given = {item.name: value for item, value in values if value is not item.default}
        return {name: value.given() if isinstance(value, _Checked) else value for name, value in given.items()}

    @classmethod
    def collect(cls, block: Any, place: str, problems: list[str]) -> Self | None:
        """Make an object of a block of a file; None where it breaks a rule."""
        made = object.__new__(cls)  # without __init__, which needs the fields
        found: list[str] = []
        clean = check(block, schema_of(*cls.path), place, found)
        if not found:
            vars(made).update(clean)  # fields that are not given have the class's defaults
            found = made._finish(place)
        problems += found
        return None if found else made

    def _finish(self, place: str) -> list[str]:
        """Set what follows from the fields; list faults that the schema cannot state."""
        raise NotImplementedError

    @property
    def label(self) -> str:
        """Name in messages."""
        return self.path[-1]


class _Row(_Checked):
    """Base of both kinds of rows: detectors, filter, pupil, a value with its error."""

    filter: str
    pupil: str
    subarray: str | None
    photmjsr: Any
    photmjsr_date: str | None
    photom: Any
    part: ClassVar[str]  # name of the field with the array or detector
    kind: ClassVar[str]  # name of the field with the value
    noun: ClassVar[str]  # of the row in messages

    # Set when the row is made.
    name: str  # the array or detector
    detectors: tuple[str, ...]  # whose flux the row compares, of module A first
    band: tuple[str, str]  # filter and pupil
    key: tuple[str, str, str]  # name, filter and pupil
    identity: tuple[str, str, str, str]  # and the subarray: unique in a table
    scale: tuple[str, str, int | None]  # filter, pupil and group of linked detectors: zero points with one scale
    value: float  # the offset or zero point [mag]
    error: float | None  # its standard error [mag]

    def _finish(self, place: str) -> list[str]:
        name, band = getattr(self, self.part), (self.filter, self.pupil)
        vars(self).update(
            name=name,
            detectors=(name,) if name in DETECTORS else (f"NRCA{name.upper()}", f"NRCB{name.upper()}"),
            band=band,
            key=(name, *band),
            identity=(name, *band, self.subarray or ""),
            scale=(*band, vars(self).get("group")),
            value=getattr(self, self.kind),
            error=getattr(self, f"{self.kind}_error"),
        )
        return []

    @property
    def label(self) -> str:
        """Name of the row in messages."""
        subarray = f", subarray={self.subarray}" if self.subarray else ""
        place = f"{self.part}={getattr(self, self.part)}, filter={self.filter}, pupil={self.pupil}{subarray}"
        return f"{self.noun} ({place})"

    def of_detector(self, name: str, detector: str) -> Any:
        """Find the PHOTMJSR or photom file of a detector where the row was derived."""
        value = getattr(self, name)
        return value.get(detector[3]) if isinstance(value, Mapping) else value

    def by_detector(self, values: Sequence[Any]) -> Any:
        """Arrange values, one for each of the detectors, as the row stores them."""
        return dict(zip(MODULES, values, strict=True)) if len(values) > 1 else values[0]


@dataclass(frozen=True, kw_only=True)
class OffsetRow(_Row):
    """
    The offset of one pair of arrays through one filter and pupil.

    Parameters
    ----------
    array : str
        Array ID that the two modules share: ``"1"`` to ``"4"`` or ``"long"``.
    filter, pupil : str
        Names in the filter and the pupil wheel, as in ``FILTER`` and ``PUPIL``.
    subarray : str, optional
        Name of the subarray, as in ``SUBARRAY``; without it, the row is for every subarray that has no own row.
    offset, offset_error : float
        Delta_AB = z_A - z_B, between -1 and 1, and its standard error [mag]; positive: A measures fainter than B.
    slope, slope_error : float, optional
        k of Ma et al. (2023), Eq. 9, between -1 and 1, and its standard error [mag/arcmin]; both or none.
    direction : float, optional
        This row's own direction of the gradient [deg], in place of the table's.
    photmjsr, photom : dict, optional
        PHOTMJSR [(MJy/sr) / (DN/s)] and names of the photom files of the two arrays where the row was derived,
        ``{"A": ..., "B": ...}``.
    photmjsr_date : str, optional
        ISO date at which the photom file gives `photmjsr`, as it may depend on time.
    """

    array: str
    filter: str
    pupil: str = "CLEAR"
    subarray: str | None = None
    offset: float
    offset_error: float
    slope: float | None = None
    slope_error: float | None = None
    direction: float | None = None
    photmjsr: Mapping[str, float] | None = None
    photmjsr_date: str | None = None
    photom: Mapping[str, str] | None = None

    path, part, kind, noun = ("offsets", "items"), "array", "offset", "row"
    field: ClassVar[None] = None  # only zero points have one
    group: ClassVar[None] = None

    def __hash__(self) -> int:
        return hash(self.key)


@dataclass(frozen=True)
class Field(_Checked):
    """
    Change of the zero point over a detector: a series of Legendre polynomials P.

    ``sum over i, j of coefficients[i][j] P_i(xi) P_j(eta)`` with ``xi = 2 x / 2047 - 1``, ``eta = 2 y / 2047 - 1`` and
    x, y 0-indexed pixels of the full SCI frame.

    Parameters
    ----------
    order : int
        Largest i + j, 0 to 9.
    coefficients : sequence of sequences of float
        ``order + 1`` sequences; ``coefficients[i]`` has ``order + 1 - i`` numbers [mag]. ``coefficients[0][0]`` is 0,
        so that the zero point of the row is the mean over the detector.
    """

    order: int
    coefficients: tuple[tuple[float, ...], ...]

    path = ("zero_points", "items", "field")

    def _finish(self, place: str) -> list[str]:
        order, coefficients = self.order, self.coefficients
        sizes, expected = list(map(len, coefficients)), list(range(order + 1, 0, -1))
        if sizes != expected:
            return [f"{place}.coefficients: of order {order} must be lists of {expected} numbers, got {sizes}"]
        if coefficients[0][0] != 0:
            return [f"{place}.coefficients: [0][0] must be 0, got {coefficients[0][0]}; add it to zero_point"]
        return []

    @classmethod
    def from_matrix(cls, matrix: np.ndarray) -> Self:
        """Make a field of a square matrix of coefficients, without those of higher order."""
        side = len(matrix)
        return cls(side - 1, tuple(tuple(matrix[i, : side - i].tolist()) for i in range(side)))

    @property
    def matrix(self) -> np.ndarray:
        """The coefficients as a square matrix [mag], shape (order + 1, order + 1)."""
        matrix = np.zeros((self.order + 1, self.order + 1))
        for i, row in enumerate(self.coefficients):
            matrix[i, : len(row)] = row
        return matrix

    @property
    def rms(self) -> float:
        """Root mean square over the detector [mag]."""
        return legendre_rms(self.matrix)

    def evaluate(self, x: Any, y: Any) -> np.ndarray:
        """
        Evaluate the field.

        Parameters
        ----------
        x, y : array_like
            0-indexed pixels of the full SCI frame.

        Returns
        -------
        numpy.ndarray
            The field [mag], of the shape of x and y.
        """
        return np.asarray(np.polynomial.legendre.legval2d(scale_pixels(x), scale_pixels(y), self.matrix))


def scale_pixels(pixel: Any) -> np.ndarray:
    """Scale 0-indexed pixels of the full frame to [-1, 1], as polynomials need."""
    return 2 * np.asarray(pixel, float) / (FULL_FRAME - 1) - 1


def along_focal_plane(v2: Any, v3: Any, origin: tuple[float, float], direction: float) -> np.ndarray:
    """Compute u [arcmin] along a direction [deg], from +V3 toward +V2, from V2, V3."""
    angle = np.radians(direction)
    u = ((np.asarray(v2) - origin[0]) * np.sin(angle) + (np.asarray(v3) - origin[1]) * np.cos(angle)) / 60
    return np.asarray(u)


def legendre_rms(matrix: np.ndarray) -> float:
    """Compute the root mean square over a detector of a sum of P_i(xi) P_j(eta)."""
    mean_square = 1 / (2 * np.arange(len(matrix)) + 1)  # of each P_i
    return math.sqrt(mean_square @ matrix**2 @ mean_square)


@dataclass(frozen=True, kw_only=True)
class ZeroPointRow(_Row):
    """
    The zero-point error of one detector through one filter and pupil.

    Parameters
    ----------
    detector : str
        As in ``DETECTOR``: ``"NRCA1"`` to ``"NRCB4"``, ``"NRCALONG"`` or ``"NRCBLONG"``.
    filter, pupil, subarray, photmjsr_date : str
        As of an `OffsetRow`.
    zero_point, zero_point_error : float
        z, between -1 and 1, and its standard error [mag], None where it is not known; positive: the detector measures
        faint.
    field, field_error : Field and float, optional
        How the zero-point error changes over the detector, relative to its mean z; standard error [mag rms over it].
    photmjsr, photom : float and str, optional
        PHOTMJSR [(MJy/sr) / (DN/s)] and name of the photom file of the detector where the row was derived.
    group : int, optional
        Number of the group of linked detectors; zero points of two groups have no common scale.
    """

    detector: str
    filter: str
    pupil: str = "CLEAR"
    subarray: str | None = None
    zero_point: float
    zero_point_error: float | None = None
    field: Field | None = None
    field_error: float | None = None
    photmjsr: float | None = None
    photmjsr_date: str | None = None
    photom: str | None = None
    group: int | None = None

    path, part, kind, noun = ("zero_points", "items"), "detector", "zero_point", "zero point"
    slope: ClassVar[None] = None  # only offsets have one
    slope_error: ClassVar[None] = None

    def _finish(self, place: str) -> list[str]:
        problems = super()._finish(place)
        if self.field is not None:  # still the block of a file
            vars(self)["field"] = Field.collect(self.field, f"{place}, field field", problems)
        return problems


Row = OffsetRow | ZeroPointRow


@dataclass(frozen=True, kw_only=True)
class Gradient(_Checked):
    """
    Where the slopes of a table point, and from where they count.

    Parameters
    ----------
    frame : {'focal_plane', 'detector', 'sky'}
        The frame that the gradient is fixed to.
    direction : float
        Direction in which the zero-point error grows [deg]: from +V3 toward +V2, from +x toward +y of the
        full-frame SCI frame, or position angle east of north.
    origin : tuple of float, shape (2,)
        Where u = 0: ``[V2, V3]`` [arcsec], ``[x, y]`` [0-indexed full-frame pixels] or ``[RA, Dec]`` [deg].
    exposure_share : float
        The share of a row's slope that one exposure carries, 0 to 1: g = exposure_share * k.
    """

    frame: str
    direction: float
    origin: tuple[float, float]
    exposure_share: float

    path = ("gradient",)

    def _finish(self, place: str) -> list[str]:
        first, second = self.origin
        if self.frame == "sky" and (abs(first) > 360 or abs(second) > 90):
            return [f"{place}.origin: must be RA, Dec [deg] in frame sky, got [{first}, {second}]"]
        return []


@dataclass(frozen=True, kw_only=True)
class Validity(_Checked):
    """
    The calibration that a table was derived on; what is not given is not checked.

    Parameters
    ----------
    context_first, context_last : str, optional
        First and last CRDS context, such as ``"jwst_1130.pmap"``, both inclusive.
    photom, flat : str or tuple of str, optional
        Names of the photom and flat reference files.
    """

    context_first: str | None = None
    context_last: str | None = None
    photom: tuple[str, ...] = ()
    flat: tuple[str, ...] = ()

    path = ("valid_for",)

    def given(self) -> dict[str, Any]:
        """Collect what is given, as a file has it."""
        ends = {"first": self.context_first, "last": self.context_last}
        context = {name: end for name, end in ends.items() if end is not None}
        block = {"context": context or None, "photom": self.photom, "flat": self.flat}
        return {name: value for name, value in block.items() if value not in (None, ())}

    def _finish(self, place: str) -> list[str]:
        context = vars(self).pop("context", {})
        vars(self).update({f"context_{name}": end for name, end in context.items()})
        first, last = self.context_first, self.context_last
        if first and last and (context_number(first) or 0) > (context_number(last) or 0):
            return [f"{place}.context: first ({first}) is later than last ({last})"]
        return []

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known of the calibration."""
        return not any(vars(self).values())

    def covers(self, context: str | None) -> bool:
        """Test whether a context is one of those; without one, every context is."""
        first, last, number = map(context_number, (self.context_first, self.context_last, context))
        if first is None and last is None:
            return True
        return number is not None and (first is None or first <= number) and (last is None or number <= last)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class OffsetTable:
    """
    Offsets between the modules, or zero points of detectors, by filter and pupil.

    Tables are equal if their coefficients, conventions and validity are; names, metadata and the order of rows do
    not count.

    Parameters
    ----------
    rows : sequence of OffsetRow or ZeroPointRow
        One row for each array ID or detector, filter, pupil and, where it matters, subarray. A filter and pupil has
        rows of one kind only.
    baseline : str, optional
        The flux scale that is kept. For offsets ``'B'`` or ``'A'``, or ``'mean'``, which splits each offset in equal
        halves. For zero points the mean of module B's, module A's or all detectors of the filter and pupil (and of
        the group), or one detector by its name. None for zero points without a common reference, as published.
    gradient : Gradient, optional
        Needed where a row has a slope.
    valid_for : Validity
        The calibration that the table was derived on.
    name : str
        The name to use in messages and headers, mostly that of the file.
    meta : dict, optional
        Block ``meta`` of the file. To write a table, ``description`` is enough: the rest has defaults.

    Raises
    ------
    ReferenceTableError
        Two rows with one key, rows of two kinds for one filter and pupil, a slope without a gradient, or a value that
        breaks a rule.
    """

    rows: tuple[Row, ...] = ()
    baseline: str | None = "B"
    gradient: Gradient | None = None
    valid_for: Validity = dataclasses.field(default_factory=Validity)
    name: str = "table"
    meta: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    _index: ClassVar[Mapping[tuple[str | None, ...], Row]] = {}  # of each table its own, by arrays and detectors

    def __post_init__(self) -> None:
        rows: Any = self.rows
        problems = [
            f"{name} must be {words}, got {getattr(self, name)!r}"
            for name, words, is_right in (
                ("rows", "a list of OffsetRow or ZeroPointRow",
                 isinstance(rows, list | tuple) and set(map(type, rows)) <= {OffsetRow, ZeroPointRow}),
                ("gradient", "a Gradient or None", isinstance(self.gradient, Gradient | None)),
                ("valid_for", "a Validity", isinstance(self.valid_for, Validity)),
                ("name", "text", isinstance(self.name, str)),
            )
            if not is_right
        ]  # fmt: skip
        if problems:
            raise ReferenceTableError(problems=problems)
        # What is required is written by default.
        object.__setattr__(self, "meta", check(self.meta, {**schema_of("meta"), "required": ()}, "meta", problems))
        bands: dict[tuple[str, str], str] = {}
        index: dict[tuple[str | None, ...], Row] = {}
        identities = set()
        for row in self.rows:
            if row.identity in identities:
                problems.append(f"duplicate {row.label}; give one row for each array or detector, filter and pupil")
            identities.add(row.identity)
            for name in (row.name, *row.detectors):
                index[name, *row.identity[1:]] = row
            if bands.setdefault(row.band, row.kind) != row.kind:
                problems.append(f"{row.label}: this filter and pupil has offsets, too; give rows of one kind only")
            if row.slope is not None and self.gradient is None:
                problems.append(f"{row.label} has a slope ({row.slope:g}), but the table has no gradient block")
        has_offsets = "offset" in bands.values()
        if self.baseline is not None or has_offsets:
            allowed = BASELINES if has_offsets else (*BASELINES, *DETECTORS)
            check(self.baseline, {"type": "string", "enum": allowed}, "baseline", problems)
        if problems:
            raise ReferenceTableError(self.name, problems)
        object.__setattr__(self, "rows", tuple(self.rows))
        object.__setattr__(self, "_index", index)

    @property
    def offsets(self) -> tuple[OffsetRow, ...]:
        """The rows that are offsets between the modules."""
        return tuple(row for row in self.rows if isinstance(row, OffsetRow))

    @property
    def zero_points(self) -> tuple[ZeroPointRow, ...]:
        """The rows that are zero points of detectors."""
        return tuple(row for row in self.rows if isinstance(row, ZeroPointRow))

    def __eq__(self, other: object) -> bool:
        return self.digest == other.digest if isinstance(other, OffsetTable) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        counts = [(len(self.offsets), "row"), (len(self.zero_points), "zero point")]
        both = ", ".join(count_nouns(number, noun) for number, noun in counts if number) or "0 rows"
        return f"<OffsetTable {self.name!r}: {both}, baseline {self.baseline}, hash {self.digest}>"

    def _repr_html_(self) -> str:
        description = html.escape(self.meta.get("description", ""))
        caption = f"{html.escape(self.name)} (hash {self.digest}, baseline {self.baseline})"
        return f"<p><b>{caption}</b><br>{description}</p>{self.to_table()._repr_html_()}"

    @classmethod
    def read(cls, path: str | os.PathLike[str] = "packaged") -> Self:
        """
        Read a table from its file.

        Parameters
        ----------
        path : str or path
            An ASDF file; ``~`` and ``$VAR`` are expanded. The word ``packaged`` is Table 2 of Ma et al. (2023).

        Returns
        -------
        OffsetTable
            Named after the file.

        Raises
        ------
        ReferenceTableError
            The file cannot be read, or breaks a rule; names the file, the row (array, filter, pupil) and the field.
        """
        from jwst_modfix.table.file import read_table  # the file format builds on this module

        table: Self = read_table(path, cls)
        return table

    def write(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """
        Write the table as an ASDF file of plain YAML, whole or not at all.

        Parameters
        ----------
        path : str or path
            Name of the file, ending in ``.asdf``; ``~`` and ``$VAR`` are expanded.
        overwrite : bool
            Replace a file that is there.

        Raises
        ------
        ReferenceTableError
            The file is there already, its name does not end in ``.asdf``, or ``meta`` has no description.
        """
        from jwst_modfix.table.file import write_table

        write_table(self, path, overwrite=overwrite)

    def to_table(self) -> Table:
        """
        Give the rows as an astropy table.

        Returns
        -------
        astropy.table.Table
            Columns ``array``, ``filter``, ``pupil``, ``offset`` and ``offset_error`` [mag] and, where a row has one,
            ``slope`` and ``slope_error`` [mag/arcmin], ``direction`` [deg], ``photmjsr_A`` and ``photmjsr_B``
            [(MJy/sr) / (DN/s)]; values that a row does not have are masked. The rest of the table is in its ``meta``.
        """
        from jwst_modfix.table.formats import to_astropy

        return to_astropy(self)

    def factor(self, exposure: Any) -> FactorMap:
        """
        Evaluate the factor 10**(0.4 m_sys) that corrects an exposure.

        Parameters
        ----------
        exposure : str, pathlib.Path or JwstDataModel
            A file or a data model.

        Returns
        -------
        FactorMap
            ``.evaluate()`` gives the factor at every pixel, shape (ny, nx).

        Raises
        ------
        ExposureError
            The table is not meant for the exposure, or the exposure was corrected before.
        """
        from jwst_modfix.apply.decide import factor_of

        return factor_of(self, exposure)

    def apply(self, model: Any) -> Any:
        """
        Correct a copy of an exposure.

        Parameters
        ----------
        model : JwstDataModel, str or pathlib.Path
            A data model, or a file; neither is changed.

        Returns
        -------
        JwstDataModel
            The corrected exposure.

        Raises
        ------
        ExposureError
            The table is not meant for the exposure, or the exposure was corrected before.
        """
        from jwst_modfix.apply.decide import corrected_copy

        return corrected_copy(self, model)

    @functools.cached_property
    def digest(self) -> str:
        """First 12 hex digits of the SHA-256 of the coefficients, without metadata."""
        rows = map(asdict, sorted(self.rows, key=operator.attrgetter("identity")))
        content = {  # fields of schema 2 only where present
            "rows": [{n: value for n, value in row.items() if value is not None or n in _SCHEMA_1} for row in rows],
            "baseline": self.baseline,
            "gradient": self.gradient and asdict(self.gradient),
            "valid_for": asdict(self.valid_for),
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]

    def row(
        self, name: str | None, filter: str | None, pupil: str | None = "CLEAR", subarray: str | None = None
    ) -> Row | None:
        """
        Find the row of an array or a detector.

        Parameters
        ----------
        name, filter, pupil : str or None
            An array ID or a detector, and the names in the wheels. A detector has its zero point, else the offset of
            its array.
        subarray : str, optional
            A row of this subarray comes first, then one for every subarray.

        Returns
        -------
        OffsetRow, ZeroPointRow or None
            The row, or None.
        """
        for part in (name, filter, pupil, subarray):
            if not isinstance(part, str | None):
                raise ReferenceTableError(f"{self.name}: rows are found by text such as '1' or 'NRCA1', got {part!r}")
        own = self._index.get((name, filter, pupil, subarray or ""))
        return own or self._index.get((name, filter, pupil, ""))

    def zero_point(self, row: Row, detector: str) -> float:
        """
        Find the zero-point error of a detector, of its row or its share of an offset.

        Parameters
        ----------
        row : OffsetRow or ZeroPointRow
            A row of the table.
        detector : str
            The detector, or its module, ``'A'`` or ``'B'``.

        Returns
        -------
        float
            z [mag]; of an offset z_A - z_B = ``row.offset``, and the baseline's z = 0.
        """
        if isinstance(row, ZeroPointRow):
            return row.zero_point
        module = detector[3:4] or detector
        if module not in MODULES or self.baseline not in _GAUGE:
            raise ReferenceTableError(f"{self.name}: no module {module} in baseline {self.baseline}")
        return _GAUGE[self.baseline][module] * row.offset + 0.0  # and no negative zero

    def exposure_gradient(self, row: Row) -> float:
        """
        Find the gradient g of one exposure; both modules of the array ID carry it.

        Parameters
        ----------
        row : OffsetRow or ZeroPointRow
            A row of the table.

        Returns
        -------
        float
            g = exposure_share * k [mag/arcmin]; 0 where the row has no slope.
        """
        return 0.0 if row.slope is None or self.gradient is None else self.gradient.exposure_share * row.slope

    def direction(self, row: OffsetRow) -> float:
        """
        Find the direction of a row's gradient: its own, else the table's.

        Parameters
        ----------
        row : OffsetRow
            A row of the table.

        Returns
        -------
        float
            Direction in the gradient's frame [deg].

        Raises
        ------
        ReferenceTableError
            The table has no gradient.
        """
        if row.direction is not None:
            return row.direction
        if self.gradient is None:
            raise ReferenceTableError(f"{self.name}: has no gradient block, so {row.label} has no direction")
        return self.gradient.direction
