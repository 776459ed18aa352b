"""Our loggers: each record one plain line, said at once or held until its turn."""

import contextlib
import contextvars
import logging

from jwst_modfix.plain import plain_text

__all__ = ["get_logger", "held_records", "say"]

_held = contextvars.ContextVar("held", default=None)


def get_logger(name):
    """
    Get a logger whose records are of one line each, whatever file names and headers hold.

    Parameters
    ----------
    name : str
        Name of the logger.

    Returns
    -------
    logging.Logger
        The logger.
    """
    logger = logging.getLogger(name)
    logger.addFilter(_make_plain)
    return logger


@contextlib.contextmanager
def held_records():
    """
    Keep what our loggers are told in this thread from being said, until its turn comes.

    Yields
    ------
    list of logging.LogRecord
        The records, for `say`.
    """
    token = _held.set([])
    try:
        yield _held.get()
    finally:
        _held.reset(token)


def say(records):
    """
    Say what was held.

    Parameters
    ----------
    records : iterable of logging.LogRecord
        The records.
    """
    for record in records:
        get_logger(record.name).handle(record)


def _make_plain(record):
    record.msg, record.args = plain_text(record.getMessage()), None
    held = _held.get()
    if held is not None:
        held.append(record)
    return held is None
