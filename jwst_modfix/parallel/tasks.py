"""A job as a worker does it: by the version that this process has, and with what it logs."""

import functools
import importlib.metadata
import logging
import socket
import threading

from jwst_modfix.errors import WorkerError

__all__ = ["as_task", "find_version"]


def find_version():
    """
    Tell which version of this package a process has.

    Returns
    -------
    str
        The version.
    """
    return importlib.metadata.version("jwst-modfix")


def as_task(function):
    """
    Make a function that another process calls in place of one of ours.

    Parameters
    ----------
    function : callable
        Function of a module.

    Returns
    -------
    callable
        Takes the same arguments; gives the result, and the log records of any library that came with it.
    """
    return functools.partial(_record, find_version(), function)


def _record(version, function, *job):
    if find_version() != version:
        raise WorkerError(
            f"the worker on {socket.gethostname()} has jwst_modfix {find_version()}, this process {version}: they must "
            "be the same for results to be"
        )
    recorder, root = _Recorder(), logging.getLogger()
    root.addHandler(recorder)
    try:
        return function(*job), recorder.records
    finally:
        root.removeHandler(recorder)


class _Recorder(logging.Handler):
    """Keeps the log records of one thread, of other libraries too, as plain text, which travels."""

    def __init__(self):
        super().__init__()
        self.records, self._thread = [], threading.get_ident()

    def emit(self, record):
        if record.thread == self._thread:
            record.msg, record.args, record.exc_info = record.getMessage(), None, None
            self.records.append(record)
