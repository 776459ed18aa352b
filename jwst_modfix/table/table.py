"""The coefficient table in memory: rows, lookups and the gauge. Every value is checked when it is given."""

from __future__ import annotations

import hashlib
import html
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Self

from jwst_modfix.errors import ReferenceTableError
from jwst_modfix.table.rules import ANY_TEXT, FREE_TEXT, TEXT, Rule, check, context_number
from jwst_modfix.text import count_nouns

if TYPE_CHECKING:
    import os

    import numpy as np
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

# Share of Delta_AB that each module's zero-point error z carries, by baseline: z_A - z_B = Delta_AB.
_GAUGE = {"B": {"A": 1.0, "B": 0.0}, "A": {"A": 0.0, "B": -1.0}, "mean": {"A": 0.5, "B": -0.5}}
_LEVEL = Rule(kind="number", low=-1, high=1)  # mag, or mag/arcmin; 10 mmag is 0.01
_ERROR = Rule(kind="number", low=0, high=1)
_PHOTMJSR = Rule(kind="number", low=0, may_be_zero=False)
_ANGLE = Rule(kind="number", low=-360, high=360)
_WHEEL = Rule(kind="text", pattern="[A-Z][A-Z0-9]+", example="F444W")
_CONTEXT = Rule(kind="text", pattern=r"jwst_[0-9]{1,9}\.pmap", example="jwst_1130.pmap")
_NAMES = Rule(kind="list", items=Rule(kind="text", pattern=r"[^,;*?\\]*", example="a.fits"), single=True)
_BAND = {"filter": _WHEEL, "pupil": _WHEEL, "subarray": Rule(kind="text", pattern="[A-Z0-9-]+", example="SUB160")}
_SCHEMA_1 = ("slope", "slope_error", "direction", "photmjsr")  # optional fields of its rows
_DATE = Rule(kind="date", pattern=r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9:.]+)?", example="2026-03-01")


def array_of(detector: str) -> str:
    """Array ID that a detector shares with that of the other module."""
    return detector[4:].lower()


class _Checked:
    """Base of dataclasses that hold each field to a rule when they are made."""

    rule: ClassVar[Rule]

    def __post_init__(self) -> None:
        given = {}
        for item in fields(self):  # type: ignore[arg-type]
            value = getattr(self, item.name)
            if value is not item.default:
                given[item.name] = value
        problems: list[str] = []
        for name, value in self.check(given, self.label, problems).items():
            object.__setattr__(self, name, value)
        if problems:
            raise ReferenceTableError(problems=problems)

    @classmethod
    def check(cls, block: Any, place: str, problems: list[str]) -> dict[str, Any]:
        """Hold values to the rules: the clean values; what is wrong joins the problems."""
        before = len(problems)
        clean = check(block, cls.rule, place, problems)
        if len(problems) == before and (problem := cls.contradiction(clean)):
            problems.append(f"{place}{problem}")
        return dict(clean)

    @classmethod
    def collect(cls, block: Any, place: str, problems: list[str]) -> Self | None:
        """Make an object of a block of a file; None where it breaks a rule."""
        before = len(problems)
        clean = cls.check(block, place, problems)
        if len(problems) > before:
            return None
        made = object.__new__(cls)  # without __init__, which would check the values again
        for item in fields(cls):  # type: ignore[arg-type]
            object.__setattr__(made, item.name, clean.get(item.name, item.default))
        return made

    @staticmethod
    def contradiction(_values: Mapping[str, Any]) -> str | None:
        """Find fields that contradict each other."""
        return None

    @property
    def label(self) -> str:
        """Name in messages."""
        raise NotImplementedError


class _Row(_Checked):
    """Base of both kinds of rows."""

    key: tuple[str, str, str]
    subarray: str | None
    _value: ClassVar[str]  # name of the field with the offset or zero point

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """The key and the subarray, which are unique in a table."""
        return (*self.key, self.subarray or "")

    @property
    def value(self) -> float:
        """The offset or zero point [mag]."""
        return float(getattr(self, self._value))

    @property
    def error(self) -> float | None:
        """Its standard error [mag]."""
        error: float | None = getattr(self, f"{self._value}_error")
        return error


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
    offset : float
        Delta_AB = z_A - z_B [mag]; positive: module A measures fainter than B. Between -1 and 1.
    offset_error : float
        Its standard error [mag].
    slope : float, optional
        k of Ma et al. (2023), Eq. 9 [mag/arcmin]. Between -1 and 1.
    slope_error : float, optional
        Its standard error [mag/arcmin]; given with a slope, and only then.
    direction : float, optional
        This row's own direction of the gradient [deg], in place of the table's.
    photmjsr : dict, optional
        PHOTMJSR of the two arrays, ``{"A": ..., "B": ...}``, where the row was derived [(MJy/sr) / (DN/s)].
    photmjsr_date : str, optional
        ISO date at which the photom file gives `photmjsr`, as it may depend on time.
    photom : dict, optional
        Names of the photom files of the two arrays, ``{"A": ..., "B": ...}``.
    subarray : str, optional
        Name of the subarray, as in ``SUBARRAY``, that the row is for; without it, the row is for every subarray that
        has no row of its own.

    Raises
    ------
    ReferenceTableError
        A value breaks a rule.
    """

    array: str
    filter: str
    pupil: str = "CLEAR"
    offset: float
    offset_error: float
    slope: float | None = None
    slope_error: float | None = None
    direction: float | None = None
    photmjsr: Mapping[str, float] | None = None
    photmjsr_date: str | None = None
    photom: Mapping[str, str] | None = None
    subarray: str | None = None

    _value: ClassVar[str] = "offset"
    rule: ClassVar[Rule] = Rule(
        kind="mapping",
        required=("array", "filter", "offset", "offset_error"),
        needs={"slope": "slope_error", "slope_error": "slope", "direction": "slope", "photmjsr_date": "photmjsr"},
        keys={
            "array": Rule(kind="text", choices=ARRAYS),
            **_BAND,
            "offset": _LEVEL,
            "offset_error": _ERROR,
            "slope": _LEVEL,
            "slope_error": _ERROR,
            "direction": _ANGLE,
            "photmjsr": Rule(kind="mapping", keys=dict.fromkeys(MODULES, _PHOTMJSR), required=MODULES),
            "photmjsr_date": _DATE,
            "photom": Rule(kind="mapping", keys=dict.fromkeys(MODULES, TEXT), required=MODULES),
        },
    )

    def __hash__(self) -> int:
        return hash(self.key)

    @property
    def key(self) -> tuple[str, str, str]:  # type: ignore[override]
        """``(array, filter, pupil)``; with the subarray, unique in a table."""
        return (self.array, self.filter, self.pupil)

    @property
    def label(self) -> str:
        """Name of the row in messages."""
        subarray = f", subarray={self.subarray}" if self.subarray else ""
        return f"row (array={self.array}, filter={self.filter}, pupil={self.pupil}{subarray})"


@dataclass(frozen=True)
class Field(_Checked):
    """
    How the zero point changes over a detector: a polynomial of Legendre polynomials P.

    ``sum over i, j of coefficients[i][j] P_i(xi) P_j(eta)`` with ``xi = 2 x / 2047 - 1``, ``eta = 2 y / 2047 - 1`` and
    x, y 0-indexed pixels of the full SCI frame.

    Parameters
    ----------
    order : int
        Largest i + j, 0 to 9.
    coefficients : sequence of sequences of float
        ``order + 1`` sequences; ``coefficients[i]`` has ``order + 1 - i`` numbers [mag]. ``coefficients[0][0]`` is 0,
        so that the zero point of the row is the mean over the detector.

    Raises
    ------
    ReferenceTableError
        A value breaks a rule.
    """

    order: int
    coefficients: tuple[tuple[float, ...], ...]

    rule: ClassVar[Rule] = Rule(
        kind="mapping",
        required=("order", "coefficients"),
        keys={
            "order": Rule(kind="whole number", low=0, high=9),
            "coefficients": Rule(kind="list", items=Rule(kind="list", items=_LEVEL)),
        },
    )
    label = "field"

    @staticmethod
    def contradiction(values: Mapping[str, Any]) -> str | None:
        """Find a list of another length than the order says, and a mean that is not 0."""
        order, coefficients = values["order"], values["coefficients"]
        sizes, expected = list(map(len, coefficients)), list(range(order + 1, 0, -1))
        if sizes != expected:
            return f".coefficients: of order {order} must be lists of {expected} numbers, got {sizes}"
        if coefficients[0][0] != 0:
            return f".coefficients: [0][0] must be 0, got {coefficients[0][0]}; add it to zero_point"
        return None

    @property
    def rms(self) -> float:
        """Root mean square over the detector [mag]."""
        squares = 0.0
        for i, row in enumerate(self.coefficients):
            for j, value in enumerate(row):
                squares += value**2 / (2 * i + 1) / (2 * j + 1)  # the mean of P_i^2 is 1 / (2 i + 1)
        return math.sqrt(squares)

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
        import numpy as np

        matrix = np.zeros((self.order + 1, self.order + 1))
        for i, row in enumerate(self.coefficients):
            matrix[i, : len(row)] = row
        xi, eta = (2 * np.asarray(pixel, float) / 2047 - 1 for pixel in (x, y))
        return np.asarray(np.polynomial.legendre.legval2d(xi, eta, matrix))


@dataclass(frozen=True, kw_only=True)
class ZeroPointRow(_Row):
    """
    The zero-point error of one detector through one filter and pupil.

    Parameters
    ----------
    detector : str
        As in ``DETECTOR``: ``"NRCA1"`` to ``"NRCB4"``, ``"NRCALONG"`` or ``"NRCBLONG"``.
    filter, pupil : str
        Names in the filter and the pupil wheel, as in ``FILTER`` and ``PUPIL``.
    subarray : str, optional
        Name of the subarray, as in ``SUBARRAY``, that the row is for; without it, the row is for every subarray that
        has no row of its own.
    zero_point : float
        z [mag], between -1 and 1; positive: the detector measures faint.
    zero_point_error : float, optional
        Its standard error [mag]; None where it is not known.
    field : Field, optional
        How the zero-point error changes over the detector, beside its mean z.
    field_error : float, optional
        Standard error of the field, rms over the detector [mag].
    photmjsr : float, optional
        PHOTMJSR of the detector where the row was derived [(MJy/sr) / (DN/s)].
    photmjsr_date : str, optional
        ISO date at which the photom file gives `photmjsr`, as it may depend on time.
    photom : str, optional
        Name of the photom file.
    group : int, optional
        Number of the group of linked detectors; zero points of two groups have no common scale.

    Raises
    ------
    ReferenceTableError
        A value breaks a rule.
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

    _value: ClassVar[str] = "zero_point"
    rule: ClassVar[Rule] = Rule(
        kind="mapping",
        required=("detector", "filter", "zero_point"),
        needs={"field_error": "field", "photmjsr_date": "photmjsr"},
        keys={
            "detector": Rule(kind="text", choices=DETECTORS, meant={"NRCA5": "NRCALONG", "NRCB5": "NRCBLONG"}),
            **_BAND,
            "zero_point": _LEVEL,
            "zero_point_error": _ERROR,
            "field": Rule(kind="any"),  # has rules of its own
            "field_error": _ERROR,
            "photmjsr": _PHOTMJSR,
            "photmjsr_date": _DATE,
            "photom": TEXT,
            "group": Rule(kind="whole number", low=0, high=999),
        },
    )

    @classmethod
    def check(cls, block: Any, place: str, problems: list[str]) -> dict[str, Any]:
        """Hold values to the rules, and those of the field to its own."""
        clean = super().check(block, place, problems)
        if "field" in clean and not isinstance(clean["field"], Field):
            clean["field"] = Field.collect(clean["field"], f"{place}, field field", problems)
        return clean

    @property
    def array(self) -> str:
        """Array ID that the detector shares with that of the other module."""
        return array_of(self.detector)

    @property
    def key(self) -> tuple[str, str, str]:  # type: ignore[override]
        """``(detector, filter, pupil)``; with the subarray, unique in a table."""
        return (self.detector, self.filter, self.pupil)

    @property
    def label(self) -> str:
        """Name of the row in messages."""
        subarray = f", subarray={self.subarray}" if self.subarray else ""
        return f"zero point (detector={self.detector}, filter={self.filter}, pupil={self.pupil}{subarray})"


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

    Raises
    ------
    ReferenceTableError
        A value breaks a rule.
    """

    frame: str
    direction: float
    origin: tuple[float, float]
    exposure_share: float

    rule: ClassVar[Rule] = Rule(
        kind="mapping",
        required=("frame", "direction", "origin", "exposure_share"),
        keys={
            "frame": Rule(kind="text", choices=FRAMES),
            "direction": _ANGLE,
            "origin": Rule(kind="list", items=Rule(kind="number"), length=2),
            "exposure_share": Rule(kind="number", low=0, high=1),
        },
    )
    label = "gradient"

    @staticmethod
    def contradiction(values: Mapping[str, Any]) -> str | None:
        """Find an origin that is no place on the sky."""
        first, second = values["origin"]
        if values["frame"] == "sky" and (abs(first) > 360 or abs(second) > 90):
            return f".origin: must be RA, Dec [deg] in frame sky, got [{first}, {second}]"
        return None


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

    Raises
    ------
    ReferenceTableError
        A value breaks a rule.
    """

    context_first: str | None = None
    context_last: str | None = None
    photom: tuple[str, ...] = ()
    flat: tuple[str, ...] = ()

    rule: ClassVar[Rule] = Rule(
        kind="mapping",
        may_be_empty=True,
        keys={"context_first": _CONTEXT, "context_last": _CONTEXT, "photom": _NAMES, "flat": _NAMES},
    )
    label = "valid_for"

    @staticmethod
    def contradiction(values: Mapping[str, Any]) -> str | None:
        """Find contexts in the wrong order."""
        first, last = values.get("context_first"), values.get("context_last")
        if first and last and (context_number(first) or 0) > (context_number(last) or 0):
            return f".context: first ({first}) is later than last ({last})"
        return None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known of the calibration."""
        return not (self.context_first or self.context_last or self.photom or self.flat)


META_RULE = Rule(
    kind="mapping",
    may_be_empty=True,
    keys={
        "reftype": Rule(kind="text", choices=("moduleoffset",)),
        "schema_version": Rule(kind="text", pattern=r"[0-9]+\.[0-9]+\.[0-9]+", example="1.0.0"),
        "telescope": Rule(kind="text", choices=("JWST",)),
        "instrument": Rule(
            kind="mapping",
            keys={"name": Rule(kind="text", choices=("NIRCAM",)), "detector": ANY_TEXT},
            required=("name",),
        ),
        "description": FREE_TEXT,
        "author": FREE_TEXT,
        "pedigree": FREE_TEXT,
        "useafter": FREE_TEXT,
        "history": Rule(kind="list", items=ANY_TEXT, may_be_empty=True),
        "derivation": Rule(kind="mapping", may_be_empty=True),
        # Fields that other reference files have, and that data models write; not used.
        **dict.fromkeys(("date", "filename", "filetype", "model_type", "origin", "time_sys", "time_unit"), ANY_TEXT),
    },
)
"""Rule of the block ``meta`` of a file."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class OffsetTable:
    """
    Offsets between the modules, or zero points of detectors, by filter and pupil.

    Tables are equal if their coefficients, conventions and validity are; names, metadata and the order of rows do
    not count.

    Parameters
    ----------
    rows : sequence of OffsetRow
        Offsets between the modules: one row for each array ID, filter, pupil and, where it matters, subarray.
    zero_points : sequence of ZeroPointRow
        Zero points of detectors: one row for each detector, filter, pupil and, where it matters, subarray. A filter
        and pupil has rows of one kind only.
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

    rows: tuple[OffsetRow, ...] = ()
    zero_points: tuple[ZeroPointRow, ...] = ()
    baseline: str | None = "B"
    gradient: Gradient | None = None
    valid_for: Validity = field(default_factory=Validity)
    name: str = "table"
    meta: Mapping[str, Any] = field(default_factory=dict)
    _index: ClassVar[Mapping[tuple[str, ...], OffsetRow | ZeroPointRow]] = {}  # of each table its own

    def __post_init__(self) -> None:
        problems = self._wrong_types()
        if problems:
            raise ReferenceTableError(problems=problems)
        object.__setattr__(self, "rows", tuple(self.rows))
        object.__setattr__(self, "zero_points", tuple(self.zero_points))
        object.__setattr__(self, "meta", check(self.meta, META_RULE, "meta", problems))
        if self.baseline is not None or self.rows:
            allowed = BASELINES if self.rows else (*BASELINES, *DETECTORS)
            check(self.baseline, Rule(kind="text", choices=allowed), "baseline", problems)
        index: dict[tuple[str, ...], OffsetRow | ZeroPointRow] = {}
        kinds: dict[tuple[str, str], type] = {}
        for row in self.all_rows:
            band = row.key[1:]
            if (key := row.identity) in index:
                problems.append(f"duplicate {row.label}; give one row for each array or detector, filter and pupil")
            index[key] = row
            if kinds.setdefault(band, type(row)) is not type(row):
                problems.append(f"{row.label}: this filter and pupil has offsets, too; give rows of one kind only")
            if isinstance(row, OffsetRow) and row.slope is not None and self.gradient is None:
                problems.append(f"{row.label} has a slope ({row.slope:g}), but the table has no gradient block")
        if problems:
            raise ReferenceTableError(self.name, problems)
        object.__setattr__(self, "_index", index)  # names of detectors and arrays differ

    def _wrong_types(self) -> list[str]:
        problems = []
        for name, kind in (("rows", OffsetRow), ("zero_points", ZeroPointRow)):
            rows: Any = getattr(self, name)
            if not isinstance(rows, list | tuple) or not set(map(type, rows)) <= {kind}:
                problems.append(f"{name} must be a list of {kind.__name__}, got {rows!r}")
        if not isinstance(self.gradient, Gradient | None):
            problems.append(f"gradient must be a Gradient or None, got {self.gradient!r}")
        if not isinstance(self.valid_for, Validity):
            problems.append(f"valid_for must be a Validity, got {self.valid_for!r}")
        if not isinstance(self.name, str):
            problems.append(f"name must be text, got {self.name!r}")
        return problems

    @property
    def all_rows(self) -> tuple[OffsetRow | ZeroPointRow, ...]:
        """Offsets and zero points."""
        return (*self.rows, *self.zero_points)

    def __eq__(self, other: object) -> bool:
        return self._content() == other._content() if isinstance(other, OffsetTable) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        rows = count_nouns(len(self.rows), "row") if self.rows or not self.zero_points else ""
        both = ", ".join(
            [rows] * bool(rows) + [count_nouns(len(self.zero_points), "zero point")] * bool(self.zero_points)
        )
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

    def _content(self) -> dict[str, Any]:
        """Collect what counts for equality and the digest; an absent field of schema 2 leaves a digest as it was."""
        rows = []
        for key in sorted(self._index):
            rows.append(values := asdict(self._index[key]))
            for name in [*values]:
                if values[name] is None and name not in _SCHEMA_1:
                    del values[name]
        return {
            "rows": rows,  # of both kinds
            "baseline": self.baseline,
            "gradient": self.gradient and asdict(self.gradient),
            "valid_for": asdict(self.valid_for),
        }

    @property
    def digest(self) -> str:
        """First 12 hexadecimal digits of the SHA-256 of the coefficients: not of the comments, layout or metadata."""
        return hashlib.sha256(json.dumps(self._content(), sort_keys=True).encode()).hexdigest()[:12]

    def row(
        self, array: str | None, filter: str | None, pupil: str | None = "CLEAR", subarray: str | None = None
    ) -> OffsetRow | None:
        """
        Find the offset of an array ID, filter and pupil.

        Parameters
        ----------
        array, filter, pupil : str
            The key of the row.
        subarray : str, optional
            A row of this subarray comes first, then one for every subarray.

        Returns
        -------
        OffsetRow or None
            The row, or None.
        """
        row: OffsetRow | None = self._find(array, filter, pupil, subarray)
        return row

    def zero_point(
        self, detector: str | None, filter: str | None, pupil: str | None = "CLEAR", subarray: str | None = None
    ) -> ZeroPointRow | None:
        """
        Find the zero point of a detector, filter and pupil.

        Parameters
        ----------
        detector, filter, pupil : str
            The key of the row.
        subarray : str, optional
            A row of this subarray comes first, then one for every subarray.

        Returns
        -------
        ZeroPointRow or None
            The row, or None.
        """
        row: ZeroPointRow | None = self._find(detector, filter, pupil, subarray)
        return row

    def row_of(
        self, detector: str | None, filter: str | None, pupil: str | None, subarray: str | None = None
    ) -> OffsetRow | ZeroPointRow | None:
        """
        Find the row of a detector, of either kind.

        Parameters
        ----------
        detector, filter, pupil : str or None
            As in the headers of an exposure.
        subarray : str, optional
            A row of this subarray comes first, then one for every subarray.

        Returns
        -------
        OffsetRow, ZeroPointRow or None
            The row of the detector, or that of its array ID, or None.
        """
        return self.zero_point(detector, filter, pupil, subarray) or self.row(
            array_of(detector) if detector else None, filter, pupil, subarray
        )

    def _find(self, name: str | None, *place: str | None) -> Any:
        """Find the row of an array or detector in a filter, pupil and subarray, else the row for every subarray."""
        if wrong := [part for part in (name, *place) if not isinstance(part, str | None)]:
            raise ReferenceTableError(f"{self.name}: rows are found by text such as '1' or 'NRCA1', got {wrong[0]!r}")
        index: Mapping[Any, Any] = self._index
        *band, subarray = place
        return index.get((name, *band, subarray or "")) or index.get((name, *band, ""))

    def module_zero_point(self, row: OffsetRow, module: str) -> float:
        """
        Zero-point error z of one module's array: the offset in the table's gauge.

        Parameters
        ----------
        row : OffsetRow
            A row of the table.
        module : {'A', 'B'}
            The module.

        Returns
        -------
        float
            z [mag], with z_A - z_B = ``row.offset`` and the baseline's z = 0.
        """
        if module not in MODULES or self.baseline not in _GAUGE:
            raise ReferenceTableError(f"{self.name}: no module {module} in baseline {self.baseline}")
        return _GAUGE[self.baseline][module] * row.offset + 0.0  # and no negative zero

    def exposure_gradient(self, row: OffsetRow) -> float:
        """
        Gradient g of one exposure; both modules of the array ID carry it.

        Parameters
        ----------
        row : OffsetRow
            A row of the table.

        Returns
        -------
        float
            g = exposure_share * k [mag/arcmin]; 0 where the row has no slope.
        """
        return 0.0 if row.slope is None or self.gradient is None else self.gradient.exposure_share * row.slope

    def direction(self, row: OffsetRow) -> float:
        """
        Direction of a row's gradient: its own, else the table's.

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
