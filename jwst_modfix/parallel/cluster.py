"""Jobs done by the workers of a Dask cluster."""

import contextlib
from concurrent.futures import CancelledError

from jwst_modfix.errors import WorkerError
from jwst_modfix.logs import get_logger

__all__ = ["do_on_cluster"]

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
