"""Workers: the truth is what the same jobs give in this process, whatever dies meanwhile."""

import ast
import contextlib
import errno
import os
import re
import signal
import subprocess
import sys
import threading
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import parallel_jobs
import psutil
import pytest
from astropy.io import fits
from disturbed_runs import DATES

import jwst_modfix.jobs as room
from jwst_modfix import ModuleOffsetStep
from jwst_modfix.errors import AssociationError, ExposureError, WorkerError
from jwst_modfix.jobs import Workers

TESTS = Path(__file__).parent


def run(workers, function, jobs):
    return list(workers.map(function, jobs, [f"member {job[0]}" for job in jobs]))


def test_numbers_of_workers_that_make_no_sense_are_refused():
    with pytest.raises(WorkerError, match="workers: must be 0 .* or more; got -1"):
        Workers(count=-1)
    with pytest.raises(WorkerError, match="give workers or scheduler, got workers=2 and scheduler='tcp://a:1'"):
        Workers(count=2, scheduler="tcp://a:1")


def test_0_is_one_for_each_core():
    assert Workers(count=0).processes == len(os.sched_getaffinity(0))


def test_one_worker_is_this_process():
    assert run(Workers(), parallel_jobs.whereabouts, [(7,)]) == [(7, os.getpid())]


def test_two_workers_are_other_processes_and_keep_the_order():
    results = run(Workers(count=2), parallel_jobs.whereabouts, [(n,) for n in range(20)])
    assert [number for number, _ in results] == list(range(20))
    assert os.getpid() not in {pid for _, pid in results}


@pytest.mark.parametrize("count", [1, 3])
def test_few_light_jobs_are_done_here(count):
    jobs = [(n,) for n in range(20)]
    results = list(Workers(count=count).map(parallel_jobs.whereabouts, jobs, [""] * 20, light=True))
    assert results == [(n, os.getpid()) for n in range(20)]


def test_many_light_jobs_are_shared(monkeypatch):
    monkeypatch.setattr(room, "_WORTH_STARTING", 0.5)
    jobs = [(n, 0.05) for n in range(200)]
    results = list(Workers(count=2).map(parallel_jobs.doze, jobs, [""] * 200, light=True))
    assert [number for number, _ in results] == list(range(200))
    assert os.getpid() in {pid for _, pid in results}
    assert len({pid for _, pid in results}) == 2


def test_a_light_job_that_kills_its_worker_every_time_is_named(monkeypatch):
    monkeypatch.setattr(room, "_WORTH_STARTING", 0.1)
    jobs = [(n, os.getpid()) for n in range(400)]
    with pytest.raises(WorkerError, match="a worker process died 3 times with the same jobs under way.*member"):
        list(Workers(count=2).map(parallel_jobs.die_elsewhere, jobs, [f"member {n}" for n, _ in jobs], light=True))


def test_what_killed_processes_did_of_light_jobs_is_done_again(monkeypatch, tmp_path):
    monkeypatch.setattr(room, "_WORTH_STARTING", 0.1)
    jobs = [(n, os.getpid(), tmp_path) for n in range(60)]
    assert list(Workers(count=2).map(parallel_jobs.die_elsewhere_once, jobs, [""] * 60, light=True)) == list(range(60))
    assert len(list(tmp_path.iterdir())) > 2  # were lost


class Taker:
    """An executor that takes jobs and does none."""

    def __init__(self):
        self.jobs = []

    def submit(self, _function, *job):
        self.jobs.append(job)
        return Future()


def test_what_killed_a_process_is_not_given_to_this_one():
    """A job that was lost stands first in the queue."""
    pool = room.SharingPool(2, parallel_jobs.whereabouts, [(n,) for n in range(5)], [""] * 5)
    pool._here, pool._processes, pool._joining = Taker(), Taker(), threading.Thread()
    pool._begin()
    assert (pool._processes.jobs, pool._here.jobs) == ([(0,)], [(1,)])


@pytest.mark.parametrize("count", [1, 2])
def test_log_lines_of_light_jobs_come_in_the_order_of_the_jobs(count, caplog):
    results = Workers(count=count).map(parallel_jobs.square_late, [(n,) for n in range(5)], [""] * 5, light=True)
    lines = [(result, [record.message for record in caplog.records]) for result in results]
    assert lines == [(n**2, [f"job {m}" for m in range(n + 1)]) for n in range(5)]


def test_log_lines_of_a_light_job_that_fails_are_said(caplog):
    with pytest.raises(ExposureError):
        list(Workers().map(parallel_jobs.warn_and_refuse, [(7,)], [""], light=True))
    assert [record.message for record in caplog.records] == ["job 7"]


def test_light_jobs_go_on_where_no_process_can_be_started(monkeypatch, caplog):
    monkeypatch.setattr(room, "_WORTH_STARTING", 0.1)
    monkeypatch.setattr(room, "ProcessPoolExecutor", refuse_to_start)
    jobs = [(n, 0.02) for n in range(50)]
    results = list(Workers(count=2).map(parallel_jobs.doze, jobs, [""] * 50, light=True))
    assert results == [(n, os.getpid()) for n in range(50)]
    assert [record.message for record in caplog.records] == [
        "No other process could be started; this one goes on alone: [Errno 11] Resource temporarily unavailable"
    ]


def refuse_to_start(*_args, **_kwargs):
    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("light", [False, True])
def test_no_jobs_give_no_results(count, light):
    assert list(Workers(count=count).map(parallel_jobs.square, [], [], light=light)) == []


@pytest.mark.parametrize("count", [1, 2])
def test_an_error_of_a_light_job_is_the_same(count):
    with pytest.raises(ExposureError, match="^member 2: is refused$"):
        list(Workers(count=count).map(parallel_jobs.refuse, [(n, 2) for n in range(6)], [""] * 6, light=True))


@pytest.mark.parametrize("count", [1, 2])
def test_log_lines_come_in_the_order_of_the_jobs(count, caplog):
    assert run(Workers(count=count), parallel_jobs.square, [(n,) for n in range(5)]) == [0, 1, 4, 9, 16]
    assert [record.message for record in caplog.records] == [f"job {n}" for n in range(5)]


@pytest.mark.parametrize("count", [1, 2])
def test_an_error_is_the_same_as_in_this_process(count):
    with pytest.raises(ExposureError, match="^member 2: is refused$"):
        run(Workers(count=count), parallel_jobs.refuse, [(n, 2) for n in range(6)])


def test_what_a_killed_process_did_is_done_again(tmp_path, caplog):
    jobs = [(n, 3, tmp_path) for n in range(8)]
    assert run(Workers(count=2), parallel_jobs.die_once, jobs) == list(range(8))
    (line,) = (record.message for record in caplog.records)
    assert re.match("A worker process died.*done again: .*member 3", line)


def test_a_job_that_kills_its_worker_every_time_is_named():
    with pytest.raises(WorkerError, match="a worker process died 3 times with the same jobs under way.*member 3"):
        run(Workers(count=2), parallel_jobs.die, [(n, 3) for n in range(8)])


# The user's script has no guard: run again by each process, it would start processes without end.
SCRIPT = """
import os, sys
import parallel_jobs
from jwst_modfix.jobs import Workers
jobs = eval(sys.argv[2])
print(list(Workers(count=2).map(getattr(parallel_jobs, sys.argv[1]), jobs, [str(job) for job in jobs])))
"""


@pytest.fixture
def start(tmp_path):
    """Give a function that starts a script of ours in a process, which is ended after the test."""
    (tmp_path / "script.py").write_text(SCRIPT)
    with contextlib.ExitStack() as stack:

        def begin(*arguments):
            process = subprocess.Popen(
                [sys.executable, tmp_path / "script.py", *arguments],
                env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
            stack.callback(process.communicate)
            stack.callback(process.kill)
            return process

        yield begin


def environment():
    paths = [str(TESTS.parent), str(TESTS), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def test_a_script_needs_no_guard(start):
    out, err = start("doze", "[(n, 0.5) for n in range(6)]").communicate(timeout=60)
    assert "Error" not in err, err
    results = ast.literal_eval(out)
    assert [number for number, _ in results] == list(range(6))
    assert len({pid for _, pid in results}) == 2


def test_workers_end_when_the_process_that_started_them_is_killed(start, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    process = start("tell_and_wait", repr([(str(tmp_path / "fifo"),)]))
    worker = psutil.Process(int((tmp_path / "fifo").read_text()))
    process.kill()
    worker.wait(timeout=60)


def test_ctrl_c_ends_everything(start, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    process = start("tell", f"[({str(tmp_path / 'fifo')!r}, n) for n in range(10**5)]")
    worker = psutil.Process(int((tmp_path / "fifo").read_text()))
    process.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in process.communicate(timeout=60)[1]
    worker.wait(timeout=60)


def test_a_cluster_that_is_not_there_is_named(monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(room, "_PATIENCE", 0.5)
    with pytest.raises(WorkerError, match="scheduler: 'tcp://127.0.0.1:9' cannot be reached: "):
        run(Workers(scheduler="tcp://127.0.0.1:9"), parallel_jobs.square, [(1,)])


def test_the_extra_is_named_where_dask_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(WorkerError, match=r"not installed: install jwst_modfix with its extra 'dask'"):
        run(Workers(scheduler="tcp://a:1"), parallel_jobs.square, [(1,)])


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A scheduler and two workers as processes of their own, on loopback; gives the address."""
    folder = tmp_path_factory.mktemp("cluster")
    with contextlib.ExitStack() as stack:
        address = _launch(stack, folder, "scheduler", "--port=0", "--dashboard-address=127.0.0.1:0", "--host=127.0.0.1")
        for _ in range(2):
            # With a nanny, which replaces a worker that is killed.
            _launch(stack, folder, "worker", address, "--nthreads=1", "--host=127.0.0.1", "--no-dashboard")
        yield address


def _launch(stack, folder, role, *options):
    """Start a part of a cluster, and give the address that it says it is at."""
    process = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_" + role, *options],
        cwd=folder, env=environment(), stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    stack.callback(process.communicate)
    stack.callback(process.terminate)
    for line in process.stderr:
        if found := re.search(r"(?:Scheduler|Start worker) at: +(tcp://\S+)", line):
            return found[1]
    raise RuntimeError(f"the {role} did not start")


def test_a_cluster_gives_the_same_in_the_same_order(cluster, caplog):
    assert run(Workers(scheduler=cluster), parallel_jobs.square, [(n,) for n in range(5)]) == [0, 1, 4, 9, 16]
    assert [r.message for r in caplog.records if r.name == "jwst_modfix.jobs"] == [f"job {n}" for n in range(5)]


def test_an_error_on_a_cluster_is_the_same(cluster):
    with pytest.raises(ExposureError, match="^member 2: is refused$"):
        run(Workers(scheduler=cluster), parallel_jobs.refuse, [(n, 2) for n in range(6)])


def test_a_worker_of_a_cluster_that_is_killed_costs_its_jobs_only(cluster, tmp_path):
    assert run(Workers(scheduler=cluster), parallel_jobs.die_once, [(n, 3, str(tmp_path)) for n in range(8)]) == [
        *range(8)
    ]
    assert (tmp_path / "died").exists()


def test_a_local_cluster_does():
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0", protocol="tcp"
    ) as local:
        assert run(Workers(scheduler=local.scheduler_address), parallel_jobs.square, [(3,)]) == [9]


@pytest.fixture
def association(small_exposure, tmp_path):
    """Three exposures, one of them with an offset and a gradient, and one with none in the table."""
    members = []
    for detector, band in (("NRCALONG", "F444W"), ("NRCA2", "F200W"), ("NRCB2", "F115W")):
        model = small_exposure(detector, band)
        model.save(str(tmp_path / model.meta.filename))
        members.append({"expname": str(tmp_path / model.meta.filename), "exptype": "science"})
    return {"asn_type": "image3", "products": [{"name": "set", "members": members}]}


def correct(association, folder, **how):
    ModuleOffsetStep.call(association, save_results=True, output_dir=str(folder), **how)
    return sorted(folder.glob("*.fits"))


def cards(hdu):
    return [str(card) for card in hdu.header.cards if card.keyword not in DATES]


def assert_same_files(ours, theirs):
    assert [path.name for path in ours] == [path.name for path in theirs]
    assert ours
    for one, other in zip(ours, theirs, strict=True):
        with fits.open(one) as a, fits.open(other) as b:
            for hdu_a, hdu_b in zip(a, b, strict=True):
                if hdu_a.name != "ASDF":  # which holds dates too
                    assert cards(hdu_a) == cards(hdu_b)
                    np.testing.assert_array_equal(hdu_a.data, hdu_b.data)


def test_corrected_files_are_the_same_bit_for_bit(association, cluster, tmp_path, monkeypatch):
    alone = correct(association, tmp_path / "alone")
    assert_same_files(correct(association, tmp_path / "cluster", scheduler=cluster), alone)
    monkeypatch.setattr(room, "SharingPool", room.Pool)  # leaves nothing to this process
    assert_same_files(correct(association, tmp_path / "two", workers=2), alone)


def test_a_refused_member_leaves_nothing(association, tmp_path):
    with pytest.raises((ExposureError, AssociationError), match="F115W"):
        correct(association, tmp_path / "out", workers=2, on_missing="error")
    assert not list(tmp_path.glob("out/*"))
