"""A FITS file written from another: what changes is written anew, pixels are scaled on the way, all else is copied."""

import os
from dataclasses import dataclass

import numpy as np

__all__ = ["Image", "Span", "pad", "write_fits"]

_BLOCK = 2880  # bytes: FITS files are made of these
_CHUNK = 1 << 18  # bytes: stays in the cache on its way, as do the rows of an image


@dataclass(frozen=True)
class Span:
    """
    Bytes of the file that is read, copied as they are.

    Parameters
    ----------
    start, size : int
        Place and number of the bytes.
    """

    start: int
    size: int


@dataclass(frozen=True)
class Image(Span):
    """
    The data of an image, scaled on the way.

    Parameters
    ----------
    start, size : int
        Place and number of the bytes, padding included.
    shape : tuple of int
        Shape of the image, (ny, nx).
    dtype : numpy.dtype
        Type of the pixels as stored.
    power : int
        Power of the factor that they take.
    """

    shape: tuple[int, int]
    dtype: np.dtype
    power: int


def write_fits(source, target, pieces, blocks=(), scale=np.multiply):
    """Write a file of pieces of another."""
    images, position = [], 0
    with target.open("xb", buffering=0) as file:
        for piece in pieces:
            if isinstance(piece, Image):
                images.append((piece, position))
            elif isinstance(piece, Span):
                _copy(source, piece, file.fileno(), position)
            else:
                _write(file.fileno(), piece, position)
            position += piece.size if isinstance(piece, Span) else len(piece)
        file.truncate(position)  # so that what no one writes, the padding of images, is zero
        for rows, factor in blocks:
            powers = {1: factor, 2: factor * factor}
            for image, start in images:
                offset, pixels = _read_rows(source, image, rows)
                scale(pixels, powers[image.power], out=pixels)
                _write(file.fileno(), _as_stored(pixels, image.dtype), start + offset)


def pad(content, fill=b"\0"):
    """Fill up bytes to whole FITS blocks."""
    return content + fill * (-len(content) % _BLOCK)


def _copy(source, span, target, position):
    for done in range(0, span.size, _CHUNK):
        size = min(_CHUNK, span.size - done)
        _write(target, _read(source, size, span.start + done), position + done)


def _read_rows(source, image, rows):
    """Read rows of an image; give their offset in its data, and their pixels in this machine's byte order."""
    first, last, _ = rows.indices(image.shape[0])
    line = image.shape[1] * image.dtype.itemsize
    stored = np.frombuffer(_read(source, (last - first) * line, image.start + first * line), image.dtype)
    return first * line, stored.reshape(last - first, -1).astype(image.dtype.newbyteorder("="))


def _as_stored(pixels, dtype):
    return memoryview(pixels.astype(dtype).view(np.uint8).ravel())


def _read(source, size, offset):
    content = os.pread(source, size, offset)
    if len(content) != size:
        raise EOFError(f"it was cut short while it was read: {len(content)} of {size} bytes at {offset}")
    return content


def _write(target, content, offset):
    while content:
        written = os.pwrite(target, content, offset)
        content, offset = content[written:], offset + written
