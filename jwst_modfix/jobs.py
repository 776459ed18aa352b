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
import time
import types
from collections import Counter, deque
from concurrent.futures import FIRST_COMPLETED, CancelledError, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import connection

from jwst_modfix.errors import WorkerError
from jwst_modfix.text import get_logger, held_records, say

__all__ = [
    "THIS_PROCESS",
    "Pool",
    "SharingPool",
    "Workers",
    "as_task",
    "do_on_cluster",
    "do_on_machine",
    "find_version",
]


def find_version():
    """Tell which version of this package a process has."""
    return importlib.metadata.version("jwst-modfix")


def as_task(function):
    """Make a function that another process calls in place of one of ours."""
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


log = get_logger(f"stpipe.{__name__}")  # the name that a stock pipeline shows

_CHANCES = 3  # a job that is lost with its worker so often is at fault itself
_WORTH_STARTING = 8.0  # seconds of light work; a process takes two of them to start, and a thread does its share
_THREADS = 2  # light jobs at a time in this process
_MAIN = threading.Lock()  # whoever has hidden the user's script puts it back before another hides it


def do_on_machine(pool, count):
    """Yield results, in order, from this machine."""
    try:
        for number in range(count):
            yield pool.result(number)
    finally:
        pool.close()


class Pool:
    """Processes of this machine; where one dies, what was under way is done again by new ones."""

    def __init__(self, count, function, jobs, names):
        self._count, self._function, self._jobs, self._names = min(count, len(jobs)), function, jobs, names
        self._waiting, self._running, self._done = deque(range(len(jobs))), {}, {}
        self._losses = Counter()
        self._processes = None

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
        if self._processes:
            self._processes.shutdown(cancel_futures=True)

    def _start(self):
        """Start the first process, and give what is done when it can work."""
        # Never a plain fork: it would copy locks that threads of this process hold.
        methods = multiprocessing.get_all_start_methods()
        context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
        if "forkserver" in methods:
            context.set_forkserver_preload([self._function.__module__])  # imports once, not in each process
        self._processes = ProcessPoolExecutor(self._count, mp_context=context, initializer=_prepare_process)
        with _without_main():
            return self._processes.submit(find_version)

    def _advance(self):
        """Keep everyone busy, with no job in a queue, and wait for one to end."""
        self._begin()
        for future in wait(self._running, return_when=FIRST_COMPLETED).done:
            if isinstance(future.exception(), BrokenProcessPool):
                raise future.exception()
            number, _ = self._running.pop(future)
            self._done[number] = future

    def _begin(self):
        if self._waiting and self._processes is None:
            self._start()
        with _without_main():  # each job may start a process
            self._give(self._processes, self._count, as_task(self._function))

    def _give(self, executor, most, function):
        """Give an executor jobs until it has so many."""
        busy = sum(place is executor for _, place in self._running.values())
        for _ in range(min(most - busy, len(self._waiting))):
            future = executor.submit(function, *self._jobs[self._waiting[0]])
            self._running[future] = self._waiting.popleft(), executor

    def _replace(self):
        """Start anew with the jobs that were under way, unless they were lost too often."""
        lost = {future: number for future, (number, place) in self._running.items() if place is self._processes}
        numbers = sorted(lost.values()) or [self._waiting[0]]  # which was about to be given
        names = ", ".join(self._names[number] for number in numbers)
        self._losses.update(numbers)
        self._processes.shutdown(cancel_futures=True)
        self._processes = None
        if max(self._losses[number] for number in numbers) >= _CHANCES:
            raise WorkerError(
                f"a worker process died {_CHANCES} times with the same jobs under way, for lack of memory or because "
                f"it was killed; fewer workers need less memory: {names}"
            )
        log.warning("A worker process died, for lack of memory or because it was killed; done again: %s", names)
        for future in lost:
            del self._running[future]
        self._waiting.extendleft(sorted(lost.values(), reverse=True))


class SharingPool(Pool):
    """A pool for light jobs: threads of this process do them, and processes join where that is worth their start."""

    def __init__(self, count, function, jobs, names):
        self._here, self._joining = ThreadPoolExecutor(_THREADS), None
        self._begun = time.monotonic()
        super().__init__(count - 1, function, jobs, names)

    def close(self):  # noqa: D102 - inherited
        self._here.shutdown(cancel_futures=True)
        if self._joining:
            self._joining.join()
        super().close()

    def _begin(self):
        joined = self._joining and not self._joining.is_alive() and self._count
        if joined:
            super()._begin()  # first: what killed one process may kill this one
        self._give(self._here, 1 if joined else _THREADS, self._do_here)
        if self._joining is None and self._count and self._time_left() > _WORTH_STARTING:
            self._joining = threading.Thread(target=self._join)
            self._joining.start()

    def _do_here(self, *job):
        try:
            with held_records() as records:
                return self._function(*job), records
        except BaseException:
            say(records)
            raise

    def _join(self):
        try:
            self._start().result()
        except Exception as error:  # whatever the system refuses; the jobs go on without
            log.warning("No other process could be started; this one goes on alone: %s", " ".join(str(error).split()))
            self._count = 0

    def _time_left(self):
        """Seconds that this process would need for what waits, at its pace so far."""
        return len(self._waiting) * (time.monotonic() - self._begun) / (len(self._jobs) - len(self._waiting))


@contextlib.contextmanager
def _without_main():
    """Hide the user's script from new processes, which would run it again; no job needs it."""
    with _MAIN:
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


log = get_logger(f"stpipe.{__name__}")  # the name that a stock pipeline shows

_PATIENCE = 10  # seconds to wait for a scheduler


def do_on_cluster(address, task, jobs, names):
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
            f"scheduler: {address!r} needs dask.distributed, which is not installed: install jwst_modfix with its "
            "extra 'dask'"
        ) from None
    try:
        client = Client(address, timeout=_PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise WorkerError(f"scheduler: {address!r} cannot be reached: {error}") from error
    with client:
        log.info("%d workers at %s", len(client.scheduler_info(n_workers=-1)["workers"]), address)
        yield client


@dataclass(frozen=True, kw_only=True)
class Workers:
    """
    Who does the jobs.

    Results come in the order of the jobs and are the same for any workers. Log lines of a job are said by this process,
    before its result; an error of a job is raised here, and ends the rest.

    Parameters
    ----------
    count : int
        Processes on this machine: 1 is this process itself, 0 one process for each core. Of light jobs this process
        does its share, and the others start only where there is enough to do.
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

    def map(self, function, jobs, names, *, light=False):
        """Do jobs, and yield their results in order."""
        if not jobs or not (self.are_elsewhere or light):
            yield from (function(*job) for job in jobs)
            return
        if self.scheduler:
            spread = do_on_cluster(self.scheduler, as_task(function), jobs, names)
        else:
            pool = SharingPool if light else Pool
            spread = do_on_machine(pool(self.processes, function, jobs, names), len(jobs))
        with contextlib.closing(spread) as done:
            for result, records in done:
                say(records)
                yield result


THIS_PROCESS = Workers()
"""No other process: the default of all who have jobs."""


def _cores():
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
