"""Jobs, one an exposure, spread over this process, processes of this machine or a Dask cluster."""

import contextlib
import functools
import importlib.metadata
import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
import types
from collections import Counter, deque
from concurrent.futures import FIRST_COMPLETED, CancelledError, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import connection

from jwst_modfix.errors import WorkerError
from jwst_modfix.plain import get_logger

__all__ = ["THIS_PROCESS", "Workers"]

log = get_logger(f"stpipe.{__name__}")  # the name that a stock pipeline shows

_CHANCES = 3  # a job that is lost with its worker so often is at fault itself
_PATIENCE = 10  # seconds to wait for a scheduler


@dataclass(frozen=True, kw_only=True)
class Workers:
    """
    Who does the jobs.

    Results come in the order of the jobs and are the same for any workers. Log lines of a job are said by this process,
    before its result; an error of a job is raised here, and ends the rest.

    Parameters
    ----------
    count : int
        Processes on this machine: 1 is this process itself, 0 one process for each core.
    scheduler : str, optional
        Address of the scheduler of a Dask cluster, whose workers take the place of processes on this machine.

    Raises
    ------
    WorkerError
        ``count`` is negative, or more than 1 beside a scheduler.
    """

    count: int = 1
    scheduler: str | None = None

    def __post_init__(self):
        if self.count < 0:
            raise WorkerError(f"workers: must be 0 (one for each core) or more; got {self.count}")
        if self.scheduler and self.count != 1:
            raise WorkerError(
                f"workers: a scheduler has its own workers; give workers or scheduler, got workers={self.count} and "
                f"scheduler={self.scheduler!r}"
            )

    @property
    def processes(self):
        """Number of processes on this machine."""
        return self.count or _cores()

    @property
    def are_elsewhere(self):
        """Whether the jobs are done by other processes than this one."""
        return bool(self.scheduler) or self.processes > 1

    def map(self, function, jobs, names, *, overlap=False):
        """
        Do jobs, and yield their results in order.

        Parameters
        ----------
        function : callable
            Function of a module, with a small result; called with the arguments of each job.
        jobs : sequence of tuple
            Arguments of each job, small as well: names of files rather than what is in them.
        names : sequence of str
            What each job is about, for messages.
        overlap : bool
            In this process, do one job while the file of another is read or written.

        Yields
        ------
        object
            The result of each job.

        Raises
        ------
        WorkerError
            There is no such cluster, or a job was lost with its worker time and again.
        Exception
            Whatever a job raises.
        """
        if not self.are_elsewhere or not jobs:
            yield from _overlapped(function, jobs) if overlap else (function(*job) for job in jobs)
            return
        task = functools.partial(_record, _version(), function)
        spread, where = (_on_cluster, self.scheduler) if self.scheduler else (_on_machine, self.processes)
        with contextlib.closing(spread(where, task, jobs, names)) as done:
            for result, records in done:
                for record in records:
                    get_logger(record.name).handle(record)
                yield result


THIS_PROCESS = Workers()
"""No other process: the default of all who have jobs."""


def _cores():
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _version():
    return importlib.metadata.version("jwst-modfix")


def _overlapped(function, jobs):
    with ThreadPoolExecutor(max_workers=2) as pool:
        futures = [pool.submit(function, *job) for job in jobs]
        try:
            for future in futures:
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


class _Recorder(logging.Handler):
    """Keeps the log records of one thread, as plain text, which travels."""

    def __init__(self):
        super().__init__()
        self.records, self._thread = [], threading.get_ident()

    def emit(self, record):
        if record.thread == self._thread:
            record.msg, record.args, record.exc_info = record.getMessage(), None, None
            self.records.append(record)


def _record(version, function, *job):
    """Do a job in a worker; give its result and what it logged."""
    if _version() != version:
        raise WorkerError(
            f"the worker on {socket.gethostname()} has jwst_modfix {_version()}, this process {version}: they must be "
            "the same for results to be"
        )
    recorder, root = _Recorder(), logging.getLogger()
    root.addHandler(recorder)
    try:
        return function(*job), recorder.records
    finally:
        root.removeHandler(recorder)


def _on_machine(count, task, jobs, names):
    """Yield results, in order, from processes of this machine."""
    pool = _Pool(count, task, jobs, names)
    try:
        for number in range(len(jobs)):
            yield pool.result(number)
    finally:
        pool.close()


class _Pool:
    """Processes of this machine; where one dies, what was under way is done again by new ones."""

    def __init__(self, count, task, jobs, names):
        self._count, self._task, self._jobs, self._names = min(count, len(jobs)), task, jobs, names
        self._waiting, self._running, self._done = deque(range(len(jobs))), {}, {}
        self._losses = Counter()
        self._executor = self._start()

    def result(self, number):
        """Wait for the result of a job; others are done meanwhile."""
        while number not in self._done:
            try:
                self._advance()
            except BrokenProcessPool:
                self._replace()
        return self._done.pop(number).result()

    def close(self):
        """End: what is under way is completed, so that no file is left half-written, and nothing more is begun."""
        self._executor.shutdown(cancel_futures=True)

    def _start(self):
        # Never a plain fork: it would copy locks that threads of this process hold.
        methods = multiprocessing.get_all_start_methods()
        context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
        if "forkserver" in methods:
            context.set_forkserver_preload([self._task.args[1].__module__])  # imports once, not in each process
        return ProcessPoolExecutor(self._count, mp_context=context, initializer=_prepare_process)

    def _advance(self):
        """Keep every process busy, with no job in a queue, and wait for one to end."""
        while self._waiting and len(self._running) < self._count:
            with _without_main():
                future = self._executor.submit(self._task, *self._jobs[self._waiting[0]])
            self._running[future] = self._waiting.popleft()
        for future in wait(self._running, return_when=FIRST_COMPLETED).done:
            if isinstance(future.exception(), BrokenProcessPool):
                raise future.exception()
            self._done[self._running.pop(future)] = future

    def _replace(self):
        """Start anew with the jobs that were under way, unless they were lost too often."""
        lost = sorted(self._running.values())
        names = ", ".join(self._names[number] for number in lost)
        self._losses.update(lost)
        self.close()
        if max(self._losses[number] for number in lost) >= _CHANCES:
            raise WorkerError(
                f"a worker process died {_CHANCES} times with the same jobs under way, for lack of memory or because "
                f"it was killed; fewer workers need less memory: {names}"
            )
        log.warning("A worker process died, for lack of memory or because it was killed; done again: %s", names)
        self._running.clear()
        self._waiting.extendleft(reversed(lost))
        self._executor = self._start()


@contextlib.contextmanager
def _without_main():
    """Hide the user's script from new processes, which would run it again; no job needs it."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _prepare_process():
    """Leave Ctrl-C to the parent, and end when it does, however that may be."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent():
    connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def _on_cluster(address, task, jobs, names):
    """Yield results, in order, from the workers of a Dask cluster, whose scheduler repeats what a dead worker did."""
    with _connected(address) as client:
        futures = [client.submit(task, *job, pure=False) for job in jobs]
        try:
            for future, name in zip(futures, names, strict=True):
                yield _result(future, name, address)
        finally:
            client.cancel(futures)


def _result(future, name, address):
    from distributed import KilledWorker

    try:
        return future.result()
    except KilledWorker as error:
        raise WorkerError(f"{name}: every worker of {address} that tried it died: {error}") from error
    except CancelledError as error:
        raise WorkerError(f"{name}: the scheduler {address} was lost: {error}") from error
    except ModuleNotFoundError as error:
        raise WorkerError(f"the workers of {address} must have jwst_modfix installed as here: {error}") from error


@contextlib.contextmanager
def _connected(address):
    try:
        from distributed import Client
    except ImportError:
        raise WorkerError(
            f"scheduler: {address!r} needs dask.distributed, which is not installed: pip install 'jwst-modfix[dask]'"
        ) from None
    try:
        client = Client(address, timeout=_PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise WorkerError(f"scheduler: {address!r} cannot be reached: {error}") from error
    with client:
        log.info("%d workers at %s", len(client.scheduler_info(n_workers=-1)["workers"]), address)
        yield client
