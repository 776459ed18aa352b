"""Parquet files larger than memory: a sample of sources, then others in pieces."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table, meta, vstack

from jwst_modfix.errors import MeasurementsError
from jwst_modfix.fitting.measurements import Measurements

MOST = 5_000_000
"""Measurements that are solved in memory; of more, a sample of as many, and the others in pieces."""

_PIECE = 250_000  # rows
_COMPARED = 2_000_000  # rows of all files, by which measurements that are in two of them are found
_LABELS = ("array", "module", "filter", "pupil")
_NEEDED = ("source", "exposure", "epoch", "time", *_LABELS, "V2", "V3", "mag", "mag_error", "selected")
_OPTIONAL = ("x", "y", "reserved")
_NUMBERS = ("source", "exposure", "epoch", "time")


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
        for batch in self.file.iter_batches(batch_size=_PIECE, columns=self.columns):
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
        return _hash(np.asarray(table["source"])) < self.share


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
        if missing := [name for name in _NEEDED if name not in there]:
            raise MeasurementsError(
                f"{path}: has no column {', '.join(missing)}; give a measurement file of a derivation"
            )
        columns = [name for name in (*_NEEDED, *_OPTIONAL) if name in there]
        header = (file.schema_arrow.metadata or {}).get(b"table_meta_yaml", b"").decode().splitlines()
        known = dict(meta.get_header_from_yaml(header).get("meta", {})) if header else {}
        streams.append(Stream(path, file, columns, MOST / total, known))
    return streams


def draw_samples(
    streams: Sequence[Stream], number_rows: Callable[[Table, int], np.ndarray]
) -> tuple[list[Stream], list[Table], list[np.ndarray]]:
    """Draw sources of all files; shift their numbers; number rows to compare files.

    These rows are chosen by their content, so that a measurement that is in two files is chosen in both.
    """
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
            rows.append(number_rows(table, thin))
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


def _hash(source: np.ndarray) -> np.ndarray:
    """Hash numbers of sources to [0, 1) (splitmix64, Steele et al. 2014)."""
    bits = source.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        bits = (bits ^ (bits >> np.uint64(shift))) * np.uint64(factor)
    return np.asarray((bits ^ (bits >> np.uint64(31))) / 2.0**64)
