"""Workers: the truth is what the same jobs give in this process."""

import ast
import contextlib
import errno
import itertools
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import parallel_jobs
import psutil
import pytest
from astropy.io import fits
from disturbed_runs import DATES
from parallel_jobs import HANG

from jwst_modfix import ModuleOffsetStep, jobs
from jwst_modfix.apply import decide
from jwst_modfix.errors import AssociationError, ExposureError, WorkerError
from jwst_modfix.jobs import Workers
from jwst_modfix.text import log

TESTS = Path(__file__).parent


def run(workers, function, jobs):
    return list(workers.map(function, jobs, [f"member {job[0]}" for job in jobs]))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"count": -1}, r"workers: must be 0 \(one for each core\) or more; got -1"),
        ({"count": 2, "scheduler": "tcp://a:1"}, "give workers or scheduler, got workers=2 and scheduler='tcp://a:1'"),
        ({"count": 0, "scheduler": "tcp://a:1"}, "give workers or scheduler, got workers=0 and scheduler='tcp://a:1'"),
    ],
)
def test_numbers_of_workers_that_make_no_sense_are_refused(parameters, message):
    with pytest.raises(WorkerError, match=message):
        Workers(**parameters)


def test_0_is_one_for_each_core():
    assert Workers(count=0).processes == len(os.sched_getaffinity(0))
    assert Workers(count=3).processes == 3


@pytest.mark.parametrize(("count", "number"), [(1, 3), (2, 1)])
def test_one_worker_or_one_job_is_done_by_this_process(count, number):
    results = run(Workers(count=count), parallel_jobs.process_of, [(n,) for n in range(number)])
    assert results == [(n, os.getpid()) for n in range(number)]


def test_no_temporary_folder_is_named():
    """Processes listen at a socket in a temporary folder."""
    code = """
import tempfile
from jwst_modfix.jobs import Workers
from jwst_modfix.text import log
from parallel_jobs import process_of
tempfile._candidate_tempdir_list = lambda: ["/nowhere"]
list(Workers(count=2).map(process_of, [(1,), (2,)], ["a", "b"]))
"""
    ended = subprocess.run([sys.executable, "-c", code], cwd=TESTS, capture_output=True, text=True, check=False)
    assert "WorkerError: processes cannot be started: No usable temporary directory found" in ended.stderr


@pytest.fixture
def fifo(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    return str(tmp_path / "fifo")


def test_two_workers_are_two_other_processes_and_keep_the_order(fifo):
    """The first job is the last to end."""
    results = run(Workers(count=2), parallel_jobs.process_of, [(n, 11, fifo) for n in range(12)])
    assert [number for number, _ in results] == list(range(12))
    processes = {pid for _, pid in results}
    assert len(processes) == 2
    assert os.getpid() not in processes
    assert not any(psutil.pid_exists(pid) for pid in processes), "workers outlive their jobs"


def test_two_threads_of_this_process_do_two_jobs_at_a_time_and_keep_the_order(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    both, second = threading.Barrier(2, timeout=HANG), threading.Event()  # which one job at a time would never pass

    def meet(number):
        both.wait()
        if number == 0:
            second.wait(HANG)  # so that it is not the first to end
        elif number == 1:
            second.set()
        return number, os.getpid()

    results = run(Workers(threads=2), meet, [(n,) for n in range(6)])
    assert results == [(n, os.getpid()) for n in range(6)]


def test_one_core_does_one_job_at_a_time(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    done_by = run(Workers(threads=2), lambda _: threading.get_ident(), [(n,) for n in range(3)])
    assert done_by == [threading.get_ident()] * 3


@pytest.mark.parametrize("count", [1, 2])
def test_no_jobs_give_no_results(count):
    assert run(Workers(count=count), parallel_jobs.square, []) == []


@pytest.mark.parametrize("count", [1, 2])
def test_log_lines_come_once_in_the_order_of_the_jobs_and_before_their_results(count, caplog, fifo):
    meeting = (4, fifo) if count > 1 else ()
    results = Workers(count=count).map(parallel_jobs.square, [(n, *meeting) for n in range(5)], [""] * 5)
    seen = [(result, [record.message for record in caplog.records]) for result in results]
    assert seen == [(n**2, [f"job {m}" for m in range(n + 1)]) for n in range(5)]


@pytest.mark.parametrize("workers", [Workers(), Workers(threads=2), Workers(count=2)])
def test_an_error_is_the_same_as_in_this_process(workers):
    with pytest.raises(ExposureError, match="^member 2: is refused$"):
        run(workers, parallel_jobs.refuse, [(n, 2) for n in range(6)])


@pytest.mark.parametrize("workers", [Workers(), Workers(threads=2), Workers(count=2)])
def test_an_error_ends_the_rest(workers, tmp_path):
    with pytest.raises(ExposureError, match="^member 1: is refused$"):
        run(workers, parallel_jobs.mark, [(n, tmp_path) for n in range(1000)])
    done = set(tmp_path.iterdir())
    assert len(done) < 500, "the error must reach this process before half of the jobs are done"
    time.sleep(0.5)  # five times as long as a job takes
    assert set(tmp_path.iterdir()) == done, "no job goes on after the error"


def test_a_worker_that_dies_is_an_error_that_names_what_was_under_way_and_says_how_to_go_on():
    with pytest.raises(WorkerError) as caught:
        run(Workers(count=2), parallel_jobs.die, [(n, 3) for n in range(8)])
    message = str(caught.value)
    assert "member 3" in message
    assert message.count("member") <= 2, "only two can be under way"
    assert "a worker process died, because memory ran out or it was killed; set fewer workers (now 2)" in message
    assert "on_existing='skip'" in message


def test_a_machine_that_starts_no_process_is_an_error(monkeypatch):
    def refuse_to_start(*_args, **_kwargs):
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(jobs.ProcessPoolExecutor, "submit", refuse_to_start)
    with pytest.raises(WorkerError, match="cannot be started: Resource temporarily unavailable; set workers=1"):
        run(Workers(count=2), parallel_jobs.square, [(1,), (2,)])


def test_a_worker_of_another_version_is_refused(monkeypatch):
    monkeypatch.setattr(jobs, "_VERSION", "0.0.1")
    with pytest.raises(WorkerError, match=r"the worker on .* has jwst_modfix .*, this process has 0.0.1; install"):
        run(Workers(count=2), parallel_jobs.square, [(1,), (2,)])


# The user's script has no guard: run again by each process, it would start processes without end.
SCRIPT = """
import os, signal, sys
import parallel_jobs
from jwst_modfix.jobs import Workers
from jwst_modfix.text import log
signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background passes on that it is ignored
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


def test_a_script_needs_no_guard(start, fifo):
    out, err = start("process_of", f"[(n, 11, {fifo!r}) for n in range(12)]").communicate(timeout=HANG)
    assert "Error" not in err, err
    results = ast.literal_eval(out)
    assert [number for number, _ in results] == list(range(12))
    assert len({pid for _, pid in results}) == 2


def test_workers_end_when_the_process_that_started_them_is_killed(start, fifo):
    process = start("write_pid_and_wait", repr([(fifo, n) for n in range(2)]))
    worker = psutil.Process(int(Path(fifo).read_text()))
    process.kill()
    worker.wait(timeout=HANG)


def test_ctrl_c_ends_everything(start, fifo):
    process = start("write_pid", f"[({fifo!r}, n) for n in range(10**5)]")
    worker = psutil.Process(int(Path(fifo).read_text()))
    process.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in process.communicate(timeout=HANG)[1]
    worker.wait(timeout=HANG)


def test_a_cluster_that_is_not_there_is_named(monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(jobs, "_CONNECT_TIMEOUT", 0.5)
    with pytest.raises(WorkerError, match="scheduler: 'tcp://127.0.0.1:9' cannot be reached: "):
        run(Workers(scheduler="tcp://127.0.0.1:9"), parallel_jobs.square, [(1,)])


def test_the_extra_is_named_where_dask_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(WorkerError, match=r"not installed: install jwst_modfix with its extra 'dask'"):
        run(Workers(scheduler="tcp://a:1"), parallel_jobs.square, [(1,)])


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A scheduler and two workers of two threads in separate processes, on loopback; gives the address."""
    folder = tmp_path_factory.mktemp("cluster")
    with contextlib.ExitStack() as stack:
        address = _launch(stack, folder, "scheduler", "--port=0", "--dashboard-address=127.0.0.1:0", "--host=127.0.0.1")
        for _ in range(2):
            # With a nanny, which replaces a worker that is killed.
            _launch(stack, folder, "worker", address, "--nthreads=2", "--host=127.0.0.1", "--no-dashboard")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(jobs, "_CONNECT_TIMEOUT", HANG)
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
    assert [r.message for r in caplog.records if r.levelname == "WARNING"] == [f"job {n}" for n in range(5)]


def test_a_job_that_ends_hides_no_record_of_another_thread(monkeypatch):
    """A worker of a cluster does jobs in threads, which share the handlers of the root logger."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    begun, logging_began, ended = (threading.Event() for _ in range(3))

    class Slow(logging.Handler):
        def emit(self, record):  # between the first job's handler and the second's, if each has one
            logging_began.set()
            assert ended.wait(HANG)

    def first():
        logging.getLogger().addHandler(Slow())
        begun.set()
        assert logging_began.wait(HANG)

    def second():
        assert begun.wait(HANG)
        log.warning("seen")
        log.warning("seen after the end of the first")

    with ThreadPoolExecutor(2) as pool:
        one, other = (pool.submit(jobs._record, jobs._VERSION, job) for job in (first, second))
        one.add_done_callback(lambda _: ended.set())
        assert [record.message for record in other.result(HANG)[1]] == ["seen", "seen after the end of the first"]
        assert one.result() == (None, [])


def test_an_error_on_a_cluster_is_the_same(cluster):
    with pytest.raises(ExposureError, match="^member 2: is refused$"):
        run(Workers(scheduler=cluster), parallel_jobs.refuse, [(n, 2) for n in range(6)])


def test_a_worker_of_a_cluster_that_is_killed_costs_its_jobs_only(cluster, tmp_path):
    assert run(Workers(scheduler=cluster), parallel_jobs.die_once, [(n, 3, str(tmp_path)) for n in range(8)]) == [
        *range(8)
    ]
    assert (tmp_path / "died").exists()


@pytest.fixture
def association(small_exposure, tmp_path):
    """Three exposures: with an offset and a gradient, with an offset and a warning, and without a row in the table."""
    members = []
    for detector, band in (("NRCALONG", "F444W"), ("NRCA2", "F200W"), ("NRCB2", "F115W")):
        model = small_exposure(detector, band)
        model.save(str(tmp_path / model.meta.filename))
        members.append({"expname": str(tmp_path / model.meta.filename), "exptype": "science"})
    fits.setval(members[1]["expname"], "S_TWKREG", value="FAILED")
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


@pytest.fixture
def alone(association, tmp_path, monkeypatch):
    """Files corrected one at a time."""
    with monkeypatch.context() as patch:
        patch.setattr(os, "sched_getaffinity", lambda _: {0})
        return correct(association, tmp_path / "alone")


def test_corrected_files_are_the_same_bit_for_bit(association, alone, cluster, tmp_path):
    assert_same_files(correct(association, tmp_path / "cluster", scheduler=cluster), alone)
    assert_same_files(correct(association, tmp_path / "two", workers=2), alone)


def test_two_files_at_a_time_give_the_same_files_and_log_and_leave_the_filters_of_warnings(
    association, alone, tmp_path, monkeypatch, caplog
):
    def lines(when):
        return [line for record in caplog.get_records(when) if ".fits:" in (line := record.getMessage())]

    def correct_in_thread(*job):
        threads.add(threading.get_ident())
        if next(begun) < 2:
            both.wait()  # which one file at a time would never pass
        return correct_file(*job)

    before, threads, correct_file = warnings.filters.copy(), set(), decide.correct_file
    begun, both = itertools.count(), threading.Barrier(2, timeout=HANG)
    monkeypatch.setattr(decide, "correct_file", correct_in_thread)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    assert_same_files(correct(association, tmp_path / "threads"), alone)
    assert lines("call") == lines("setup")
    assert [("FAILED" in line, "took out" in line) for line in lines("call")[:3]] == [
        (False, True), (True, False), (False, True),
    ]  # fmt: skip
    assert warnings.filters == before
    assert len(threads) == 2


def test_the_step_passes_on_its_workers_and_its_scheduler(association, tmp_path):
    with pytest.raises(WorkerError, match="got workers=2 and scheduler='tcp://a:1'"):
        correct(association, tmp_path / "out", workers=2, scheduler="tcp://a:1")


def test_a_refused_member_leaves_nothing(association, tmp_path):
    with pytest.raises((ExposureError, AssociationError), match="F115W"):
        correct(association, tmp_path / "out", workers=2, on_missing="error")
    assert not list(tmp_path.glob("out/*"))
