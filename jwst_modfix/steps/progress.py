"""How far a loop is: a bar on a terminal, log lines elsewhere."""

import sys

from astropy.utils.console import ProgressBar

from jwst_modfix.logs import get_logger

__all__ = ["show_progress"]

log = get_logger(__name__)

_LINES = 10


def show_progress(items, stage, what="exposures"):
    """
    Go through a sequence, and show how far it is.

    Parameters
    ----------
    items : sequence
        The sequence.
    stage : str
        What is done with them, such as ``Measuring``.
    what : str, optional
        What its items are.

    Yields
    ------
    object
        Its items.
    """
    items = list(items)
    if sys.stderr.isatty():
        log.info("%s: %d %s", stage, len(items), what)
        yield from ProgressBar(items, file=sys.stderr)
        return
    every = max(1, -(-len(items) // _LINES))
    for number, item in enumerate(items, 1):
        yield item
        if number % every == 0 or number == len(items):
            log.info("%s: %d of %d %s", stage, number, len(items), what)
