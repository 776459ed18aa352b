"""What was measured in each exposure, kept in files: a run that was killed, or is repeated, measures only the rest."""

import contextlib
import functools
import hashlib
import importlib.metadata
import io
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from jwst_modfix.files import written_whole

__all__ = ["Cache", "digest_file"]


_LIBRARIES = ("astropy", "gwcs", "numpy", "photutils", "scipy")
_DIGEST = "digest"


@dataclass(frozen=True)
class Cache:
    """
    A folder of results, each known by all that it depends on: the pixels, the parameters, the code.

    An entry that is damaged, or that is another's, counts as absent.

    Parameters
    ----------
    folder : pathlib.Path
        The folder; it is made with the first entry.
    """

    folder: Path

    def fetch(self, kind, path, parameters, make):
        """Give a result: the one that is kept, or else a new one, which is kept from now on."""
        state = _state(path)
        if state is None:
            return _as_arrays(make())  # which tells what is wrong with the file
        key = _digest([kind, _code(), digest_file(path), *parameters])
        entry = self.folder / f"{kind}-{key}.npz"
        known = _read(entry, key)
        if known is not None:
            return known
        made = _as_arrays(make())
        if _state(path) == state:  # else it is of another content than the key says
            _write(entry, key, made)
        return made


def digest_file(path):
    """Digest the content of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, functools.partial(hashlib.blake2b, digest_size=16)).hexdigest()


@functools.cache
def _code():
    """Digest of the code that measures: this room's sources, and the versions of libraries."""
    sources = sorted(resources.files("jwst_modfix.photometry").iterdir(), key=lambda file: file.name)
    content = [file.read_bytes() for file in sources if file.name.endswith(".py")]
    return _digest([*content, *(f"{name} {importlib.metadata.version(name)}" for name in _LIBRARIES)])


def _digest(parts):
    """Digest of parts, each with its length, so that none runs into the next."""
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
    return stat.st_size, stat.st_mtime_ns, stat.st_ino


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
    except Exception:  # whatever the readers of a damaged file raise
        return None
    return arrays if str(arrays.pop(_DIGEST, None)) == _seal(key, arrays) else None


def _write(entry, key, arrays):
    """Keep an entry; a folder that cannot be written to costs the next run its time, and this one nothing."""
    content = io.BytesIO()
    np.savez(content, **arrays, **{_DIGEST: np.array(_seal(key, arrays))})
    with contextlib.suppress(OSError), written_whole(entry) as partial:
        partial.write_bytes(content.getvalue())
