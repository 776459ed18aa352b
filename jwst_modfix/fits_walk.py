"""A walk over the raw headers of a FITS file, before astropy loops over as many axes or columns as a header claims."""

import math
import re

__all__ = ["refuse_endless"]

_BLOCK, _CARD = 2880, 80
_MOST = 999  # axes, and columns of a table: the FITS standard, 4.4.1.1 and 7.2.1
_INTEGER = re.compile(rb"(NAXIS\d*|TFIELDS|BITPIX|PCOUNT|GCOUNT) *= *([+-]?\d+)")


def refuse_endless(path):
    """Refuse a FITS file of which a header claims more axes or columns than the standard allows."""
    with open(path, "rb") as file:  # noqa: PTH123 - any path
        while (header := _read_header(file)) is not None:
            for key, what in ((b"NAXIS", "axes"), (b"TFIELDS", "columns")):
                if not 0 <= header.get(key, 0) <= _MOST:
                    raise OSError(f"a header claims {header[key]} {what}, and FITS allows {_MOST}")
            file.seek(_data_size(header, header.get(b"NAXIS", 0)), 1)


def _read_header(file):
    """Numbers that tell the size of the data; None at the end, or where there is no header."""
    numbers = {}
    while len(block := file.read(_BLOCK)) == _BLOCK:
        for start in range(0, _BLOCK, _CARD):
            card = block[start : start + _CARD]
            if card.rstrip() == b"END":
                return numbers
            if match := _INTEGER.match(card):
                numbers[match[1]] = int(match[2])
    return None


def _data_size(header, axes):
    """Bytes of the data after a header, whole blocks; astropy follows a negative size back, and round for ever."""
    lengths = [header.get(b"NAXIS%d" % (axis + 1), 0) for axis in range(axes)]
    count = header.get(b"PCOUNT", 0) + (math.prod(lengths) if axes else 0)
    size = abs(header.get(b"BITPIX", 8)) // 8 * header.get(b"GCOUNT", 1) * count
    if min(count, size, *lengths, 0) < 0:
        raise OSError("a header claims data of negative size")
    return -(-size // _BLOCK) * _BLOCK if size < 2**62 else 0
