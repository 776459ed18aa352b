"""Lines of a table of text, its columns aligned."""

__all__ = ["align"]


def align(rows, gap="  "):
    """
    Pad cells so that columns are aligned.

    Parameters
    ----------
    rows : list of list of str
        Cells, row by row; rows may be of different length.
    gap : str
        What stands between columns.

    Returns
    -------
    list of str
        One line a row, without blanks at its end.
    """
    widths = [
        max((len(row[i]) for row in rows if i < len(row)), default=0) for i in range(max(map(len, rows), default=0))
    ]
    return [gap.join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip() for row in rows]
