"""Who does jobs: this process, processes of this machine or a Dask cluster."""

import contextlib
import os
from dataclasses import dataclass

from jwst_modfix.errors import WorkerError
from jwst_modfix.logs import say
from jwst_modfix.parallel.cluster import do_on_cluster
from jwst_modfix.parallel.machine import Pool, SharingPool, do_on_machine
from jwst_modfix.parallel.tasks import as_task

__all__ = ["THIS_PROCESS", "Workers"]


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
        light : bool
            The jobs do little but read and write: this process does them too, one while the file of another is read
            or written.

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
