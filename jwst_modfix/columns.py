"""Lines of a table of text, its columns aligned."""

import itertools

__all__ = ["align"]


def align(rows, *, right=()):
    """
    Pad cells so that columns are aligned.

    Parameters
    ----------
    rows : list of list of str
        Cells, row by row; rows may be of different length.
    right : collection of int, optional
        Columns that are aligned at their right, such as those of counts.

    Returns
    -------
    list of str
        One line a row, without blanks at its end.
    """
    widths = [max(map(len, column)) for column in itertools.zip_longest(*rows, fillvalue="")]
    formats = [f"{{:{'>' if column in right else '<'}{width}}}" for column, width in enumerate(widths)]
    return ["  ".join(map(str.format, formats, row)).rstrip() for row in rows]
