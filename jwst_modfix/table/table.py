"""The coefficient table in memory: rows, lookups and the gauge. It knows no file and no data model."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from jwst_modfix.errors import ReferenceTableError

__all__ = ["ARRAYS", "BASELINES", "FRAMES", "MODULES", "Gradient", "OffsetRow", "OffsetTable", "Validity"]


MODULES = ("A", "B")
ARRAYS = ("1", "2", "3", "4", "long")
BASELINES = ("B", "A", "mean")
FRAMES = ("focal_plane", "detector", "sky")

# Share of Delta_AB that each module's zero-point error z carries, by baseline: z_A - z_B = Delta_AB.
_GAUGE = {
    "B": {"A": 1.0, "B": 0.0},
    "A": {"A": 0.0, "B": -1.0},
    "mean": {"A": 0.5, "B": -0.5},
}


@dataclass(frozen=True, kw_only=True)
class OffsetRow:
    """
    The offset of one pair of arrays through one filter and pupil.

    Parameters
    ----------
    array : str
        Array ID that the two modules share: ``"1"`` to ``"4"`` or ``"long"``.
    filter, pupil : str
        Names in the filter and the pupil wheel, as in ``FILTER`` and ``PUPIL``.
    offset : float
        Delta_AB = z_A - z_B [mag]; positive: module A measures fainter than B.
    offset_error : float
        Its standard error [mag].
    slope : float, optional
        k of Ma et al. (2023), Eq. 9 [mag/arcmin].
    slope_error : float, optional
        Its standard error [mag/arcmin].
    direction : float, optional
        This row's own direction of the gradient [deg], over the table's.
    photmjsr : dict, optional
        PHOTMJSR of the two arrays, ``{"A": ..., "B": ...}``, where the row was derived.
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

    @property
    def key(self):
        """``(array, filter, pupil)``, which is unique in a table."""
        return (self.array, self.filter, self.pupil)

    @property
    def label(self):
        """Name of the row in messages."""
        return f"row (array={self.array}, filter={self.filter}, pupil={self.pupil})"


@dataclass(frozen=True, kw_only=True)
class Gradient:
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
        The share of a row's slope that one exposure carries: g = exposure_share * k.
    """

    frame: str
    direction: float
    origin: tuple[float, float]
    exposure_share: float


@dataclass(frozen=True, kw_only=True)
class Validity:
    """
    The calibration that a table was derived on; what is not given is not checked.

    Parameters
    ----------
    context_first, context_last : str, optional
        First and last CRDS context, such as ``"jwst_1130.pmap"``, both inclusive.
    photom, flat : tuple of str, optional
        Names of the photom and flat reference files.
    """

    context_first: str | None = None
    context_last: str | None = None
    photom: tuple[str, ...] = ()
    flat: tuple[str, ...] = ()

    @property
    def is_empty(self):
        """Whether nothing at all is said of the calibration."""
        return self == Validity()


@dataclass(frozen=True, kw_only=True)
class OffsetTable:
    """
    Offsets and slopes of the module A/B zero points.

    Parameters
    ----------
    rows : tuple of OffsetRow
        One row for each array ID, filter and pupil.
    baseline : {'B', 'A', 'mean'}
        The module whose flux scale is kept; ``'mean'`` splits each offset in equal halves.
    gradient : Gradient, optional
        Needed where a row has a slope.
    valid_for : Validity
        The calibration that the table was derived on.
    name : str
        The name to use in messages and headers, mostly that of the file.

    Raises
    ------
    ReferenceTableError
        Two rows with one key, or a slope without a gradient.
    """

    rows: tuple[OffsetRow, ...]
    baseline: str = "B"
    gradient: Gradient | None = None
    valid_for: Validity = field(default_factory=Validity)
    name: str = "table"

    def __post_init__(self):
        problems = [
            f"{label} stands {count} times; there must be one row for each array, filter and pupil"
            for label, count in Counter(row.label for row in self.rows).items()
            if count > 1
        ]
        if self.gradient is None:
            problems += [
                f"{row.label} has a slope ({row.slope:g}), and the table has no gradient block to say its direction"
                for row in self.rows
                if row.slope is not None
            ]
        if problems:
            raise ReferenceTableError(f"{self.name}: " + "; ".join(problems))

    @property
    def digest(self):
        """First 12 hexadecimal digits of the SHA-256 of the coefficients: not of the comments, layout or metadata."""
        content = asdict(self)
        del content["name"]
        content["rows"] = sorted(content["rows"], key=lambda row: (row["array"], row["filter"], row["pupil"]))
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]

    def row(self, array, filter, pupil="CLEAR"):
        """
        Find the row of an array ID, filter and pupil.

        Parameters
        ----------
        array, filter, pupil : str
            The key of the row.

        Returns
        -------
        OffsetRow or None
            None where the table has no such row.
        """
        return next((row for row in self.rows if row.key == (array, filter, pupil)), None)

    def zero_point(self, row, module):
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
        return _GAUGE[self.baseline][module] * row.offset + 0.0  # and no negative zero

    def exposure_slope(self, row):
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
        return 0.0 if row.slope is None else self.gradient.exposure_share * row.slope

    def direction(self, row):
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
        """
        return self.gradient.direction if row.direction is None else row.direction
