"""Measurements of each exposure in files, so that a run that was killed, or is repeated, measures only the rest."""

import contextlib
import functools
import hashlib
import importlib.metadata
import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from jwst_modfix.files import written_whole

_LIBRARIES = ("astropy", "gwcs", "numpy", "photutils", "scipy")
_DIGEST = "digest"


@dataclass(frozen=True)
class Cache:
    """A folder of results, each identified by all that it depends on: the pixels, the parameters, the code."""

    folder: Path  # made with the first entry

    def fetch(
        self, kind: str, path: Path, parameters: Iterable[str | bytes], make: Callable[[], Mapping]
    ) -> dict[str, np.ndarray]:
        """Return the result from the cache, or else a new one, which is stored. A damaged entry counts as absent."""
        state = _state(path)
        if state is None:
            return _as_arrays(make())  # the reader's message says what is wrong with the file
        key = _digest([kind, _code(), _digest_file(path, state), *parameters])
        entry = self.folder / f"{kind}-{key}.npz"
        known = _read(entry, key)
        if known is not None:
            return known
        made = _as_arrays(make())
        if _state(path) == state:  # otherwise the content is not the one of the key
            _write(entry, key, made)
        return made


@functools.lru_cache(maxsize=4096)
def _digest_file(path, _state):
    """Digest the content of a file; detection and measurement ask for it one after the other."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, functools.partial(hashlib.blake2b, digest_size=16)).hexdigest()


@functools.cache
def _code():
    """Digest of the code that measures: the sources of this package, and the versions of libraries."""
    sources = sorted(resources.files("jwst_modfix.photometry").iterdir(), key=lambda file: file.name)
    content = [file.read_bytes() for file in sources if file.name.endswith(".py")]
    return _digest([*content, *(f"{name} {importlib.metadata.version(name)}" for name in _LIBRARIES)])


def _digest(parts):
    """Digest of parts, each with its length, so that ("ab", "c") differs from ("a", "bc")."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        content = part.encode() if isinstance(part, str) else bytes(part)
        digest.update(len(content).to_bytes(8, "little") + content)
    return digest.hexdigest()


def _state(path):
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns


def _as_arrays(result):
    return {name: np.asarray(value) for name, value in result.items()}


def _seal(key, arrays):
    """Digest of an entry: its key, and each array with its name, type and shape."""
    parts = [key]
    for name, array in sorted(arrays.items()):
        parts += [name, array.dtype.str, str(array.shape), array.tobytes()]
    return _digest(parts)


def _read(entry, key):
    try:
        with entry.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception:  # any error that the readers of a damaged file raise
        return None
    return arrays if str(arrays.pop(_DIGEST, None)) == _seal(key, arrays) else None


def _write(entry, key, arrays):
    """Store an entry; a folder that cannot be written costs the next run its time, and nothing else."""
    content = io.BytesIO()
    np.savez(content, **arrays, **{_DIGEST: np.array(_seal(key, arrays))})
    with contextlib.suppress(OSError), written_whole(entry) as partial:
        partial.write_bytes(content.getvalue())
