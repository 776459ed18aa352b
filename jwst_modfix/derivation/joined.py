"""One table from measurement files of several derivations, without their pixels."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table, meta, vstack

from jwst_modfix.derivation.bands import LEAST_ERROR, list_bands
from jwst_modfix.derivation.provenance import find_validity
from jwst_modfix.errors import MeasurementsError, NoSolutionError
from jwst_modfix.fitting.measurements import Measurements
from jwst_modfix.fitting.solution import Solution, fit_quietly
from jwst_modfix.photometry.columns import FITS_META, read_table
from jwst_modfix.table.table import OffsetTable, Validity
from jwst_modfix.text import count_nouns, describe_band

MOST = 5_000_000
"""Measurements that are solved in memory; of more, a sample of as many, and the others in pieces."""

_FORMATS = {".ecsv": "ascii.ecsv", ".fits": "fits", ".parquet": "parquet"}
_NUMBERS = ("source", "exposure", "epoch", "time")
_PIECE = 250_000  # rows
_COMPARED = 2_000_000  # rows of all files, by which measurements that are in two of them are found
_LABELS = ("array", "module", "filter", "pupil")
_NEEDED = ("source", "exposure", "epoch", "time", *_LABELS, "V2", "V3", "mag", "mag_error", "selected")
_OPTIONAL = ("x", "y", "reserved")
_PRODUCT = re.compile(r"(_(cal|jhat|tweakreg|match|crf|modfix|unmodfix))?\.(fits|asdf)(\.gz)?$", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Joined:
    """Solutions of measurements of several derivations."""

    table: OffsetTable
    solutions: dict[str, Solution]  # by the name of the band
    failures: dict[str, str]  # why a band has none
    files: tuple[str, ...]


def derive_from(
    paths: Sequence[str | Path], *, baseline: str = "B", allow_mixed: bool = False,
    name: str = "joined_moduleoffset.asdf", **options: Any,
) -> Joined:  # fmt: skip
    """Solve files together; no source, exposure or epoch is in two of them."""
    files = [Path(path) for path in paths]
    if not files:
        raise MeasurementsError("no measurement file is given")
    if streams := open_streams(files):
        streams, tables, numbers = draw_samples(streams)
    else:
        tables = [read_measurements(path) for path in files]
        numbers = [_number_rows(table) for table in tables]
    calibration = _join_calibrations(files, tables, numbers, allow_mixed=allow_mixed)
    del numbers
    solutions, failures, parts, found = {}, {}, [], _split(tables, renumber=not streams)
    for filter_, pupil in sorted(found):
        label = describe_band(filter_, pupil)
        rest = partial(read_rest, streams, filter=filter_, pupil=pupil, least_error=LEAST_ERROR) if streams else None
        try:
            # What is degenerate is in the summary; the first epoch of each file has no other to be linked to.
            solution = fit_quietly(_join(found.pop((filter_, pupil)), f"{filter_}+{pupil}"), **options, rest=rest)
            parts.append(solution.to_table(baseline=baseline))
            solutions[label] = solution
        except NoSolutionError as error:
            failures[label] = str(error)
    if not any(part.rows for part in parts):
        reasons = "; ".join(f"{label}: {why}" for label, why in failures.items())
        raise NoSolutionError(f"{', '.join(path.name for path in files)}: no row can be derived: {reasons or 'errors'}")
    table = OffsetTable(
        rows=tuple(row for part in parts for row in part.rows), baseline=baseline, gradient=parts[0].gradient,
        valid_for=calibration, name=name,
        meta={"description": f"Derived from the measurements of {count_nouns(len(files), 'derivation')}"},
    )  # fmt: skip
    return Joined(table, solutions, failures, tuple(path.name for path in files))


def read_measurements(path: Path) -> Table:
    """Read a file of measurements that a derivation wrote."""
    if path.suffix not in _FORMATS:
        raise MeasurementsError(f"{path}: must be a measurement file, {', '.join(_FORMATS)}; got {path.suffix!r}")
    options = {"mask_invalid": False} if path.suffix == ".fits" else {}
    table = read_table(path, _FORMATS[path.suffix], MeasurementsError, **options)
    if FITS_META in table.meta:
        table.convert_bytestring_to_unicode()
        try:
            table.meta = dict(json.loads(table.meta[FITS_META]))
        except (TypeError, ValueError) as error:
            raise MeasurementsError(f"{path}: cannot be read as a table: card {FITS_META} holds no metadata") from error
    _demand_rows(path, len(table), table.colnames, ("filter", "pupil", "selected", "source", "epoch"))
    return table


def _demand_rows(path: Path, number: int, there: Sequence[str], needed: Sequence[str]) -> None:
    if missing := [name for name in needed if name not in there]:
        raise MeasurementsError(f"{path}: has no column {', '.join(missing)}; give a measurement file of a derivation")
    if not number:
        raise MeasurementsError(f"{path}: has no measurements; leave it out")


def _join_calibrations(
    files: Sequence[Path], tables: Sequence[Table], numbers: Sequence[np.ndarray], *, allow_mixed: bool
) -> Validity:
    """Refuse files of different calibrations, or with an exposure in common."""
    # Two files share an exposure if its name is in both, or its magnitudes.
    problems, seen, known, measured = [], {}, {}, {}
    for path, table, mine in zip(files, tables, numbers, strict=True):
        names = {_PRODUCT.sub("", str(name)): name for name in np.atleast_1d(table.meta.get("exposures", ()))}
        if twice := next((stem for stem in names if stem in seen), None):
            raise MeasurementsError(
                f"{path}: exposure {names[twice]} is in {seen[twice]} too; each exposure must be in one file"
            )
        for other, rows in measured.items():
            if number := len(np.intersect1d(mine, rows)):
                raise MeasurementsError(
                    f"{path}: {count_nouns(number, 'measurement')} of it, such as those of one exposure, are in"
                    f" {other} too; each exposure must be in one file"
                )
        seen |= dict.fromkeys(names, path.name)
        measured[path.name] = mine
        calibration = table.meta.get("calibration")
        if not _is_calibration(calibration):
            problems.append(f"{path.name} does not say how its exposures were calibrated")
            continue
        for key, values in calibration["files"].items():
            first, where = known.setdefault(key, (values, path.name))
            if values != first:
                problems.append(f"{key} has {_words(values)} in {path.name} and {_words(first)} in {where}")
    if problems and not allow_mixed:
        raise MeasurementsError(
            f"measurements must be calibrated alike: {'; '.join(problems)}; derive them again, or set allow_mixed"
        )
    if problems:
        return Validity()
    rows = [row for values, _ in known.values() for row in values]
    contexts = [c for table in tables for c in table.meta["calibration"]["contexts"]]
    return find_validity(contexts, *([row[i] or None for row in rows] for i in (0, 1)))


def _number_rows(table: Table, thin: int = 1) -> np.ndarray:
    """Hash magnitude, error and place of each row; give the hashes ``thin`` divides."""
    number = np.zeros(len(table), np.uint64)
    for name in ("mag", "mag_error", "V2", "V3"):
        if name in table.colnames and table[name].dtype.kind == "f":
            bits = np.asarray(table[name], np.float64).view(np.uint64)
            number = _mix(number ^ bits)
    return np.unique(number[np.asarray(table["selected"], bool) & (number % np.uint64(thin) == 0)])


def _is_calibration(value: Any) -> bool:
    """Test whether a header has a calibration in the form of `describe_calibration`."""
    files = value.get("files") if isinstance(value, Mapping) else None
    if not isinstance(files, Mapping) or not isinstance(value.get("contexts"), list):
        return False
    return all(isinstance(rows, list) and all(isinstance(row, list) and len(row) == 3 for row in rows)
               for rows in files.values())  # fmt: skip


def _words(values: list[list[Any]]) -> str:
    return " and ".join(", ".join(str(name) for name in row if name) or "no names" for row in values)


def _split(tables: list[Table], *, renumber: bool) -> dict[tuple[str, str], list[Measurements]]:
    """Split tables by band, with numbers that no two files share; tables are used up."""
    parts: dict[tuple[str, str], list[Measurements]] = {}
    while tables:  # each is as large as its measurements
        table = tables.pop(0)
        for band in list_bands(table):
            mine = parts.setdefault(band, [])
            one = Measurements.from_table(table, filter=band[0], pupil=band[1], least_error=LEAST_ERROR)
            if renumber and len(one):
                first = {name: int(getattr(mine[-1], name).max()) + 1 if mine else 0 for name in _NUMBERS}
                numbers = {name: getattr(one, name) - getattr(one, name).min() + first[name] for name in _NUMBERS}
                one = replace(one, **numbers)
            mine += [one] if len(one) else []
    return parts


def _join(parts: Sequence[Measurements], band: str) -> Measurements:
    """Join the measurements of one band."""
    if not parts:
        raise NoSolutionError(f"no measurement in {band} was selected")
    if len(parts) == 1:
        return parts[0]
    names = [item.name for item in fields(Measurements) if item.name not in ("filter", "pupil")]
    names = [name for name in names if all(getattr(part, name) is not None for part in parts)]
    columns: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return Measurements(**columns, filter=parts[0].filter, pupil=parts[0].pupil)


@dataclass(frozen=True, eq=False)
class Stream:
    """A file that is read in pieces; sources are drawn by a hash of their numbers."""

    path: Path
    file: Any  # pyarrow.parquet.ParquetFile
    columns: list[str]
    share: float  # of the sources that are in the sample
    meta: dict[str, Any]
    shift: dict[str, int] = field(default_factory=dict)  # of numbers, so that no two files share one

    def read(self) -> Iterator[Table]:
        """Read pieces of whole sources."""
        left, last = None, None
        # Batches are of few row groups: Arrow keeps in memory what it has read of them.
        rows = [self.file.metadata.row_group(group).num_rows for group in range(self.file.num_row_groups)]
        pieces = groupby(range(len(rows)), key=(np.cumsum(rows) // _PIECE).__getitem__)
        for batch in (b for _, groups in pieces for b in self.file.iter_batches(_PIECE, list(groups), self.columns)):
            table = Table({name: _decode(batch.column(name), name, self.path) for name in self.columns}, copy=False)
            table = table if left is None else vstack([left, table])
            source = np.asarray(table["source"])
            if (source[1:] < source[:-1]).any() or (last is not None and source[0] <= last):
                raise MeasurementsError(
                    f"{self.path}: has more than {MOST} measurements, and its rows are not sorted by source; sort it"
                )
            cut = int(np.searchsorted(source, source[-1]))
            if cut:
                last = source[cut - 1]
                yield table[:cut]
            left = table[cut:]
        if left is not None:
            yield left

    def is_sampled(self, table: Table) -> np.ndarray:
        """Test whether the source of each row is in the sample."""
        return _mix(np.asarray(table["source"]).astype(np.uint64)) < self.share * 2.0**64


def open_streams(paths: Sequence[Path]) -> list[Stream]:
    """Open files of together more measurements than memory holds; none for fewer."""
    if not all(path.suffix == ".parquet" and path.is_file() for path in paths):
        return []
    try:
        parquet = importlib.import_module("pyarrow.parquet")
        files = [parquet.ParquetFile(path, read_dictionary=list(_LABELS)) for path in paths]
    except (ImportError, OSError, ValueError):
        return []  # the reader of whole files says what is missing or wrong
    total, streams = sum(file.metadata.num_rows for file in files), []
    if total <= MOST:
        return []
    for path, file in zip(paths, files, strict=True):
        there = file.schema_arrow.names
        _demand_rows(path, file.metadata.num_rows, there, _NEEDED)
        columns = [name for name in (*_NEEDED, *_OPTIONAL) if name in there]
        header = (file.schema_arrow.metadata or {}).get(b"table_meta_yaml", b"").decode().splitlines()
        known = dict(meta.get_header_from_yaml(header).get("meta", {})) if header else {}
        streams.append(Stream(path, file, columns, MOST / total, known))
    return streams


def draw_samples(streams: Sequence[Stream]) -> tuple[list[Stream], list[Table], list[np.ndarray]]:
    """Draw sources of all files; shift their numbers; number rows to compare files."""
    # These rows are chosen by their content: a measurement that is in two files is chosen in both.
    shifted, tables, numbers, free = [], [], [], dict.fromkeys(_NUMBERS, 0)
    thin = max(1, sum(stream.file.metadata.num_rows for stream in streams) // _COMPARED)
    for stream in streams:
        parts, rows = [], []
        low, high = dict.fromkeys(_NUMBERS, np.inf), dict.fromkeys(_NUMBERS, -np.inf)
        for table in stream.read():
            for name in _NUMBERS:
                if table[name].dtype.kind not in "iu":
                    raise MeasurementsError(f"{stream.path}: column {name} must hold integers, to be read in pieces")
                low[name], high[name] = min(low[name], table[name].min()), max(high[name], table[name].max())
            rows.append(_number_rows(table, thin))
            sampled = stream.is_sampled(table)
            parts.append({name: np.asarray(table[name])[sampled] for name in stream.columns})
        shift = {name: int(free[name] - low[name]) for name in _NUMBERS}
        free = {name: int(high[name] + shift[name]) + 1 for name in _NUMBERS}
        columns = {name: np.concatenate([part.pop(name) for part in parts]) for name in stream.columns}
        sample = Table(columns, copy=False)
        for name, value in shift.items():
            sample[name] += value
        sample.meta = stream.meta
        shifted.append(replace(stream, shift=shift))
        tables.append(sample)
        numbers.append(np.concatenate(rows))
    return shifted, tables, numbers


def read_rest(streams: Sequence[Stream], **options: Any) -> Iterator[Measurements]:
    """Read sources not in the sample; ``options`` as in `Measurements.from_table`."""
    for stream in streams:
        for table in stream.read():
            m = Measurements.from_table(table[~stream.is_sampled(table)], **options)
            if len(m):
                shifted = {name: getattr(m, name) + value for name, value in stream.shift.items() if value}
                yield replace(m, **shifted) if shifted else m


def _decode(column: Any, name: str, path: Path) -> np.ndarray:
    """Read the values of a column of a batch."""
    if column.null_count:
        raise MeasurementsError(f"{path}: column {name} must be filled in; {column.null_count} rows have no value")
    if hasattr(column, "dictionary"):
        labels = np.array([v.decode() if isinstance(v, bytes) else str(v) for v in column.dictionary.to_pylist()])
        return np.asarray(labels[column.indices.to_numpy(zero_copy_only=False)])
    return np.asarray(column.to_numpy(zero_copy_only=False))


def _mix(bits: np.ndarray) -> np.ndarray:
    """Hash numbers of 64 bits (splitmix64, Steele et al. 2014)."""
    bits = bits + np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        bits = (bits ^ (bits >> np.uint64(shift))) * np.uint64(factor)
    return np.asarray(bits ^ (bits >> np.uint64(31)))
