"""Files that appear whole or not at all."""

import contextlib
import tempfile
from pathlib import Path

__all__ = ["written_whole"]


@contextlib.contextmanager
def written_whole(target):
    """
    Write a file beside its place, and put it there when it is complete.

    Parameters
    ----------
    target : str or pathlib.Path
        Where the file shall stand; its folder is made where it does not exist.

    Yields
    ------
    pathlib.Path
        Where to write: a path with the same file name in a hidden folder beside ``target``. If the block raises,
        the folder goes, and ``target`` is as it was.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
        partial = Path(folder) / target.name
        yield partial
        partial.replace(target)
