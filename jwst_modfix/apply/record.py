"""What was taken out of an exposure: its record in FITS cards, written and read."""

from __future__ import annotations

import hashlib
import itertools
import math
import re
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

from jwst_modfix.errors import ExposureError, ReferenceTableError
from jwst_modfix.exposure import (
    FACTOR_PATH,
    JOB_KEYWORD,
    LOG_PATH,
    STATUS_KEYWORD,
    OpenExposure,
    is_finite_number,
    is_ours,
    open_exposure,
    read_primary_header,
)
from jwst_modfix.table.table import FRAMES, Field

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from jwst_modfix.exposure import Exposure

__all__ = ["AppliedOffset", "applied", "describe_applied", "find_foreign", "find_unfinished", "job_card", "read_record"]

# Field, FITS keyword, comment of the card. Keywords begin with MODF, or `is_ours` must know them.
_CARDS = (
    ("table", "R_MODOFF", "Module offset reference file name"),
    ("digest", "MODFHASH", "Hash of the module offset table"),
    ("date", "MODFDATE", "UTC when the module offset was applied"),
    ("version", "MODFVER", "Version of jwst_modfix"),
    ("zero_point", "MODFOFF", "[mag] Zero-point error z taken out"),
    ("gradient", "MODFGRAD", "[mag/arcmin] Gradient g taken out"),
    ("frame", "MODFFRAM", "Frame of the gradient"),
    ("direction", "MODFDIR", "[deg] Direction of the gradient"),
    ("origin_1", "MODFORG1", "First coordinate of the gradient's origin"),
    ("origin_2", "MODFORG2", "Second coordinate of the gradient's origin"),
)
_SEAL = "MODFSEAL"  # digest of the other cards and of what they belong to
_ORDER = "MODFORD"  # and MODFij for coefficient [i][j] of the field
_OF_GRADIENT = ("frame", "direction", "origin_1", "origin_2")  # absent where the gradient is 0
LARGEST = {"zero_point": 1.0, "gradient": 1.0, "direction": 360.0}  # mag, mag/arcmin, deg: as in the table's schema


@dataclass(frozen=True, kw_only=True)
class AppliedOffset:
    """
    Zero-point error z + g u, or z + F(x, y), that was taken out of an exposure.

    Parameters
    ----------
    table, digest : str
        Name and content hash of the table.
    date : str
        When, ISO 8601, UTC.
    version : str
        Version of jwst_modfix.
    zero_point : float
        z [mag].
    gradient : float
        g [mag/arcmin], half of a row's slope by default; where it is 0 there is no frame, direction or origin.
    frame : {'focal_plane', 'detector', 'sky'}, optional
        Frame of the gradient.
    direction : float, optional
        Direction of the gradient [deg].
    origin_1, origin_2 : float, optional
        Where u = 0, in the units of the frame.
    field : Field, optional
        F, the change of the zero point over the detector, of a table of zero points.
    """

    table: str
    digest: str
    date: str
    version: str
    zero_point: float
    gradient: float
    frame: str | None = None
    direction: float | None = None
    origin_1: float | None = None
    origin_2: float | None = None
    field: Field | None = None

    @property
    def origin(self) -> tuple[float | None, float | None]:
        """Where u = 0, in the units of the frame."""
        return (self.origin_1, self.origin_2)

    def cards(self, exposure: Exposure, factor: float) -> list[tuple[str, Any, str]]:
        """
        Write the record as FITS cards, sealed with a digest of the whole.

        Parameters
        ----------
        exposure : Exposure
            The exposure, before it was corrected.
        factor : float
            Factor of its PHOTMJSR.

        Returns
        -------
        list of tuple
            Keyword, value and comment of each card.
        """
        cards: list[tuple[str, Any, str]] = []
        for name, keyword, comment in _CARDS:
            if (value := getattr(self, name)) is not None:
                cards.append((keyword, value, comment))
        if self.field is not None:
            cards.append((_ORDER, self.field.order, "Order of the field taken out"))
            coefficients = itertools.chain(*self.field.coefficients)
            for (keyword, i, j), value in zip(_field_cards(self.field.order), coefficients, strict=True):
                cards.append((keyword, value, f"[mag] Coefficient of P_{i}(xi) P_{j}(eta)"))
        photmjsr = None if exposure.photmjsr is None else exposure.photmjsr * factor
        return [*cards, (_SEAL, _seal(cards, exposure, photmjsr), "Digest of record, detector and PHOTMJSR")]

    def in_words(self) -> str:
        """Describe what was taken out."""
        varying = f", gradient {1e3 * self.gradient:+z.3f} mmag/arcmin" if self.gradient else ""
        if self.field is not None:
            varying = f", field of order {self.field.order}, {1e3 * self.field.rms:.2f} mmag rms"
        return f"zero-point error {1e3 * self.zero_point:+z.2f} mmag{varying}"


def _seal(cards: Iterable[tuple[Any, ...]], exposure: Exposure, photmjsr: float | None) -> str:
    """Digest of a record without its date, and of its exposure; 6 digits of numbers."""
    place = {"DETECTOR": exposure.detector, "FILTER": exposure.filter, "PUPIL": exposure.pupil, "PHOTMJSR": photmjsr}
    lines = []
    for key, value, *_ in [*cards, *place.items()]:
        if key not in (_SEAL, STATUS_KEYWORD, "MODFDATE"):
            lines.append(f"{key}={value:.6g}" if isinstance(value, Real) else f"{key}={value}")
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()[:16]


def _field_cards(order: int) -> list[tuple[str, int, int]]:
    """List keyword, i and j of each coefficient of a field, in the order of its rows."""
    return [(f"MODF{i}{j}", i, j) for i in range(order + 1) for j in range(order + 1 - i)]


def read_record(opened: OpenExposure) -> AppliedOffset:
    """Read the record of a corrected exposure; refuse one with a bad card."""
    values = dict(opened.cards)
    doubled = sorted({key for key, value in opened.cards if repr(value) != repr(values[key])})
    if doubled:
        raise ExposureError(f"{opened.name}: the cards {', '.join(doubled)} of the correction occur twice and differ")
    fields: dict[str, Any] = {field: values.get(keyword) for field, keyword, _ in _CARDS}
    has_gradient = fields["gradient"] != 0
    for field, keyword, _ in _CARDS:
        if field in _OF_GRADIENT and not has_gradient:
            if fields[field] is not None:
                raise ExposureError(f"{opened.name}: the correction has the card {keyword}, and MODFGRAD is 0")
        elif fields[field] is None:
            raise ExposureError(f"{opened.name}: the card {keyword} of the correction is missing")
        elif not _is_valid(field, fields[field]):
            raise ExposureError(f"{opened.name}: the card {keyword} of the correction is {fields[field]!r}")
    record = AppliedOffset(**fields, field=_read_field(opened.name, values))
    if record.field is not None and has_gradient:
        raise ExposureError(f"{opened.name}: has {_ORDER} and MODFGRAD, but a correction has only one of them")
    if opened.tree.get(FACTOR_PATH) is not None and record.frame != "sky":
        raise ExposureError(f"{opened.name}: its ASDF tree has the factor of a sky gradient, but MODFFRAM is not sky")
    if values.get(_SEAL) != _seal(values.items(), opened.exposure, opened.exposure.photmjsr):
        raise ExposureError(
            f"{opened.name}: {_SEAL} = {values.get(_SEAL)} is not the digest of the correction's cards, DETECTOR, "
            "FILTER, PUPIL and PHOTMJSR: they were changed since, or are those of another exposure"
        )
    return record


def _read_field(name: str, values: Mapping[str, Any]) -> Field | None:
    order = values.get(_ORDER)
    found = {key for key in values if re.fullmatch(r"MODF\d\d", key)}
    if order is None and not found:
        return None
    if not isinstance(order, int) or isinstance(order, bool) or not 0 <= order <= 9:
        raise ExposureError(f"{name}: the card {_ORDER} of the correction must be from 0 to 9, got {order!r}")
    cards = _field_cards(order)
    if wrong := sorted(found ^ {keyword for keyword, *_ in cards}):
        raise ExposureError(f"{name}: the cards {', '.join(wrong)} of the correction do not fit {_ORDER} = {order}")
    rows: list[list[Any]] = [[] for _ in range(order + 1)]
    for keyword, i, _ in cards:
        rows[i].append(values[keyword])
    try:
        return Field(order, tuple(map(tuple, rows)))
    except ReferenceTableError as error:
        raise ExposureError(f"{name}: the cards MODF00 to MODF{order}0 of the correction: {error}") from None


def _is_valid(field: str, value: Any) -> bool:
    if field == "frame":
        return value in FRAMES
    if field in ("table", "digest", "date", "version"):
        return isinstance(value, str) and value.strip() != ""
    return is_finite_number(value) and abs(float(value)) <= LARGEST.get(field, math.inf)


def applied(source: Any) -> AppliedOffset | None:
    """
    Read what was taken out of an exposure.

    Parameters
    ----------
    source : str, pathlib.Path or JwstDataModel
        A file or a data model.

    Returns
    -------
    AppliedOffset or None
        None where the exposure is not corrected.

    Raises
    ------
    ExposureError
        The exposure cannot be read, or its record is not complete.
    """
    with open_exposure(source) as opened:
        return read_record(opened) if opened.exposure.status == "COMPLETE" else None


def describe_applied(path: Path) -> list[str]:
    """Describe what was applied to an exposure, from which table, when, and by whom."""
    with open_exposure(path) as opened:
        exposure = opened.exposure
        optics = " ".join(value for value in (exposure.detector, exposure.filter, exposure.pupil) if value)
        lines = [str(path), f"  {optics}, calibrated with {exposure.context or 'an unknown context'}"]
        if opened.exposure.status == "COMPLETE":
            return [*lines, *_describe_record(opened)]
        found = opened.tree.get(LOG_PATH)
        log = [str(line) for line in found] if isinstance(found, list) else []
        if opened.exposure.status == "SKIPPED":
            reasons = [line.partition("SKIPPED: ")[2] for line in log]
            return [*lines, "  not corrected: skipped", *(f"  because {reason}" for reason in reasons[:1] if reason)]
        undone = [
            f": the correction by {line.partition(': undid ')[2]} was undone" for line in log if ": undid " in line
        ]
        return [*lines, f"  not corrected{''.join(undone[-1:])}"]


def _describe_record(opened: OpenExposure) -> list[str]:
    try:
        record = read_record(opened)
    except ExposureError as error:
        return [f"  corrected, but {str(error).removeprefix(f'{opened.name}: ')}"]
    lines = [
        f"  corrected on {record.date} UTC by jwst_modfix {record.version}",
        f"  table {record.table} (hash {record.digest})",
        f"  taken out: zero-point error {1e3 * record.zero_point:+z.2f} mmag",
    ]
    if record.gradient:
        lines += [
            f"             gradient {1e3 * record.gradient:+z.3f} mmag/arcmin toward {record.direction:g} deg",
            f"             in the {record.frame}, zero at {record.origin_1:g}, {record.origin_2:g}",
        ]
    if record.field is not None:
        rms = f"{1e3 * record.field.rms:.2f} mmag rms over the detector"
        lines.append(f"             field of order {record.field.order}, {rms}")
    return lines


def job_card(job: str, header: Any) -> tuple[str, str, str]:
    """Sign an output by its job, date and record, so that a later run recognises it.

    The first word of a job identifies the correction and stays readable, for those who know it alone.
    """
    lines = [str(header.cards[key]).rstrip() for key in dict.fromkeys(header) if key == "DATE" or is_ours(key)]
    signature = hashlib.sha256("\n".join([job, *lines]).encode()).hexdigest()[:16]
    return (JOB_KEYWORD, f"{job.partition(' ')[0]}-{signature}", "Hash of table, input, record and DATE")


def find_unfinished(target: Path, job: str | None) -> str:
    """Find why a file is not the finished output of a job; empty where it is."""
    if job is None:
        return "an exposure in memory does not say what file it is"
    if target.suffix != ".fits":
        return "only a FITS file says what it is the output of"
    try:
        with open_exposure(target):
            return find_foreign(target, job)
    except ExposureError as error:
        return str(error).removeprefix(f"{target}: ")


def find_foreign(target: Path, job: str) -> str:
    """Find by its header why a file is not the output of a job; empty where it is."""
    header = read_primary_header(target)
    if JOB_KEYWORD not in header:
        return f"it has no {JOB_KEYWORD}, so nothing says what it is the output of"
    if header[JOB_KEYWORD] != job_card(job, header)[1] or header.get("FILENAME") != target.name:
        return "it is of another input, table, parameter or version, or was changed or saved again since"
    return ""
