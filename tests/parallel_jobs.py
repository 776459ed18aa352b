"""Jobs for the tests of workers, which import them by name."""

import os
import signal
import time
from pathlib import Path

from jwst_modfix.errors import ExposureError
from jwst_modfix.text import log

HANG = 300  # s; nothing takes so long on the busiest machine


def meet(number, last, fifo):
    """Let the first job wait until the last one begins: both ends of a pipe open at once, however long that takes."""
    signal.alarm(HANG)  # ends a worker that waits alone
    if number == 0:
        Path(fifo).read_text()
    elif number == last:
        Path(fifo).write_text("")
    signal.alarm(0)


def square(number, *meeting):
    log.warning("job %d", number)
    if meeting:
        meet(number, *meeting)
    return number**2


def process_of(number, *meeting):
    if meeting:
        meet(number, *meeting)
    return number, os.getpid()


def die(number, fatal):
    """Die as for lack of memory."""
    if number == fatal:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def die_once(number, fatal, folder):
    """Die the first time that the fatal number comes."""
    mark = Path(folder) / "died"
    if number == fatal and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def refuse(number, refused):
    if number == refused:
        raise ExposureError(f"member {number}: is refused")
    return number


def mark(number, folder):
    """Leave a file; the second job fails, the others take a while."""
    (Path(folder) / str(number)).touch()
    if number == 1:
        raise ExposureError("member 1: is refused")
    time.sleep(0.1)


def write_pid(fifo, number):
    """Write this process's number with the first job only, and go on."""
    if number == 0:
        Path(fifo).write_text(str(os.getpid()))
    return number


def write_pid_and_wait(fifo, number):
    """Write this process's number with the first job only, and stay busy until killed."""
    write_pid(fifo, number)
    signal.pause()
