"""Jobs, one for each exposure, in processes or on a cluster; a cache of results."""

import contextlib
import functools
import hashlib
import importlib.metadata
import io
import itertools
import logging
import math
import multiprocessing
import os
import signal
import socket
import sys
import threading
import types
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import CancelledError, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from importlib import resources
from logging.handlers import QueueHandler
from multiprocessing import connection
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from jwst_modfix.errors import ExposureError, WorkerError
from jwst_modfix.exposure import open_fits
from jwst_modfix.files import file_state, written_whole
from jwst_modfix.text import log

__all__ = ["THIS_PROCESS", "Cache", "Known", "Workers"]

_CONNECT_TIMEOUT = 10  # s
_VERSION = importlib.metadata.version("jwst-modfix")
_LIBRARIES = ("astropy", "gwcs", "jwst-modfix", "numpy", "photutils", "scipy")
_KEY = "key"
_BUFFER = 2**18  # bytes
_MAIN_LOCK, _LOGGING_LOCK = threading.Lock(), threading.Lock()
_RESUME = "run again: finished results are kept (on_existing='skip' for a correction, the cache for a derivation)"


@dataclass(frozen=True, kw_only=True)
class Workers:
    """
    Do jobs in processes.

    Results and log lines come in the order of the jobs and are the same for any workers. An error of a job is raised
    in this process and ends the rest.
    """

    count: int = 1  # processes on this machine: 1 is this process itself, 0 one for each core
    scheduler: str | None = None  # address of the scheduler of a Dask cluster, which replaces processes here
    threads: int = 1  # jobs at a time where this process does them, if it has as many cores; they must not log

    def __post_init__(self):
        if self.count < 0:
            raise WorkerError(f"workers: must be 0 (one for each core) or more; got {self.count}")
        if self.scheduler and self.count != 1:
            raise WorkerError(
                f"workers: a scheduler has its own workers; give workers or scheduler, got workers={self.count} and "
                f"scheduler={self.scheduler!r}"
            )

    @property
    def processes(self) -> int:
        """Number of processes on this machine."""
        return self.count or _count_cores()

    def map(self, function: Any, jobs: Any, names: Any) -> Any:
        """Do jobs, tuples of arguments, and yield results in order; messages use names."""
        if self.scheduler:
            results = _do_on_cluster(self.scheduler, function, jobs, names)
        elif min(self.processes, len(jobs)) > 1:
            results = _do_in_processes(self.processes, function, jobs, names)
        elif (threads := min(self.threads, _count_cores(), len(jobs))) > 1:
            pool = ThreadPoolExecutor(threads)
            try:
                for future in [pool.submit(function, *job) for job in jobs]:
                    yield future.result()
            finally:
                pool.shutdown(cancel_futures=True)  # jobs that were begun are completed
            return
        else:
            yield from itertools.starmap(function, jobs)
            return
        with contextlib.closing(results):
            for result, records in results:
                for record in records:
                    logging.getLogger(record.name).handle(record)
                yield result


THIS_PROCESS = Workers()


def _count_cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _do_in_processes(count, function, jobs, names):
    """Yield results and log records from processes of this machine."""
    # Never a plain fork: it copies locks that threads of this process hold.
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    if "forkserver" in methods:
        context.set_forkserver_preload([function.__module__])  # imported once, not in each process
    pool = ProcessPoolExecutor(min(count, len(jobs)), mp_context=context, initializer=_prepare_process)
    futures = []
    try:
        futures += _submit(pool, function, jobs)
        for future in futures:
            yield future.result()
    except BrokenProcessPool as error:
        # Jobs are begun in their order: the first ones without a result were under way.
        done = {name for name, future in zip(names, futures, strict=False) if not future.exception()}
        lost = [name for name in names if name not in done][:count]
        raise WorkerError(
            f"{', '.join(lost)}: a worker process died, because memory ran out or it was killed; set fewer workers "
            f"(now {count}) and {_RESUME}"
        ) from error
    finally:
        # Jobs that were begun are completed, so that no file is left half-written.
        pool.shutdown(cancel_futures=True)


def _submit(pool, function, jobs):
    try:
        with _interrupt_held_back(), _MAIN_LOCK:  # a job may start a process
            main = sys.modules["__main__"]
            sys.modules["__main__"] = types.ModuleType("__main__")  # or each process runs the user's script again
            try:
                return [pool.submit(_record, _VERSION, function, *job) for job in jobs]
            finally:
                sys.modules["__main__"] = main
    except OSError as error:
        reason = error.strerror or error
        raise WorkerError(f"processes cannot be started: {reason}; set workers=1") from error


@contextlib.contextmanager
def _interrupt_held_back():
    """Delay Ctrl-C to the end of the block: in the pool's locks it blocks forever."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    held = []
    before = signal.signal(signal.SIGINT, lambda *signalled: held.append(signalled))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if held and callable(before):
            before(*held[0])


def _prepare_process():
    """Leave Ctrl-C to the parent, and end when the parent ends or is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent():
    connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)


def _record(version, function, *job):
    """Do a job in another process, if it has this version; return its log too."""
    if version != _VERSION:
        raise WorkerError(
            f"the worker on {socket.gethostname()} has jwst_modfix {_VERSION}, this process has {version}; "
            "install the same version"
        )
    recorder, root, thread = QueueHandler(SimpleQueue()), logging.getLogger(), threading.get_ident()
    recorder.addFilter(lambda record: record.thread == thread)
    # A new list each time: other threads go through the old one, and would skip a handler where it shrinks.
    with _LOGGING_LOCK:
        root.handlers = [*root.handlers, recorder]
    try:
        result = function(*job)
    finally:
        with _LOGGING_LOCK:
            root.handlers = [handler for handler in root.handlers if handler is not recorder]
    return result, [recorder.queue.get() for _ in range(recorder.queue.qsize())]


def _do_on_cluster(address, function, jobs, names):
    """Yield results and log records from a Dask cluster, which repeats lost jobs."""
    try:
        from distributed import Client, KilledWorker
    except ImportError:
        raise WorkerError(
            f"scheduler: {address!r} needs dask.distributed, which is not installed: install jwst_modfix with its "
            "extra 'dask'"
        ) from None
    try:
        client = Client(address, timeout=_CONNECT_TIMEOUT, set_as_default=False)
    except (OSError, ValueError) as error:
        raise WorkerError(f"scheduler: {address!r} cannot be reached: {error}") from error
    with client:
        log.info("%d workers at %s", len(client.scheduler_info(n_workers=-1)["workers"]), address)
        futures = [client.submit(_record, _VERSION, function, *job, pure=False) for job in jobs]
        try:
            for future, name in zip(futures, names, strict=True):  # noqa: B007 - the errors below name it
                yield future.result()
        except (KilledWorker, CancelledError) as error:
            raise WorkerError(f"{name}: its workers died or {address} was lost: {error}; {_RESUME}") from error
        except ModuleNotFoundError as error:
            raise WorkerError(f"the workers of {address} must have jwst_modfix installed as here: {error}") from error
        finally:
            client.cancel(futures)


class Known(dict[str, np.ndarray]):
    """A result that was in the cache."""


@dataclass(frozen=True)
class Cache:
    """A folder of results, identified by the pixels, parameters and code behind each."""

    folder: Path  # made with the first entry
    package: str = "jwst_modfix.photometry"  # whose code makes the results

    def fetch(
        self, kind: str, path: Path, parameters: Iterable[str | bytes], make: Callable[[], Mapping]
    ) -> dict[str, np.ndarray]:
        """Return the result from the cache, if intact, else compute and store it."""
        if (state := file_state(path)) is not None:  # else the reader's message says what is wrong with the file
            key = _digest([kind, _code(self.package), _digest_file(path, state), *parameters])
            entry = self.folder / f"{kind}-{key}.npz"
            if (known := _read(entry, key)) is not None:
                return Known(known)
        made = {name: np.asarray(value) for name, value in make().items()}
        if state is not None and file_state(path) == state:  # otherwise the content is not the one of the key
            content = io.BytesIO()
            np.savez(content, **made, **{_KEY: np.array(key)})
            with contextlib.suppress(OSError), written_whole(entry) as partial:  # else the next run measures again
                partial.write_bytes(content.getvalue())
        return made


@functools.lru_cache(maxsize=4096)
def _digest_file(path, _state):
    """Digest a file without its variances, which are 40% of it and are not read."""
    spans = []
    with contextlib.suppress(ExposureError), open_fits(path) as hdulist:  # of what is no FITS file, everything
        is_packed = path.suffix.lower() == ".gz"  # whose bytes are at other places
        places = [hdu.fileinfo() for hdu in hdulist if hdu.name.startswith("VAR_") and not is_packed]
        spans = [(place["datLoc"], place["datLoc"] + place["datSpan"]) for place in places]
    digest, buffer = hashlib.sha256(), memoryview(bytearray(_BUFFER))
    with path.open("rb") as file:
        for first, after in [*spans, (math.inf, 0)]:
            while size := file.readinto(buffer[: int(min(first - file.tell(), _BUFFER))]):
                digest.update(buffer[:size])
            file.seek(after)
    return digest.hexdigest()


@functools.cache
def _code(package):
    """Digest code that makes results: a package, and versions of libraries."""
    files = [*resources.files(package).iterdir(), resources.files("jwst_modfix") / "exposure.py"]
    sources = sorted(files, key=lambda file: file.name)
    content = [file.read_bytes() for file in sources if file.name.endswith(".py")]
    return _digest([*content, *(f"{name} {importlib.metadata.version(name)}" for name in _LIBRARIES)])


def _digest(parts):
    """Digest parts with lengths, so that ("ab", "c") differs from ("a", "bc")."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        content = part.encode() if isinstance(part, str) else bytes(part)
        digest.update(len(content).to_bytes(8, "little") + content)
    return digest.hexdigest()


def _read(entry, key):
    try:
        with entry.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}  # whose checksums zip compares
    except Exception:  # any error that the readers of a damaged file raise
        return None
    return arrays if str(arrays.pop(_KEY, None)) == key else None
