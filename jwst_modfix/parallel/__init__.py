"""Jobs, one an exposure, spread over this process, processes of this machine or a Dask cluster."""

from jwst_modfix.parallel.workers import THIS_PROCESS, Workers

__all__ = ["THIS_PROCESS", "Workers"]
