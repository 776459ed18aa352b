"""Jobs for the tests of workers, which import them by name."""

import os
import signal
import time
from pathlib import Path

from jwst_modfix.errors import ExposureError
from jwst_modfix.text import get_logger


def square(number):
    get_logger("jwst_modfix.jobs").warning("job %d", number)
    return number**2


def square_late(number):
    """Square, the first job last."""
    get_logger("jwst_modfix.jobs").warning("job %d", number)
    time.sleep(0.3 if number == 0 else 0)
    return number**2


def whereabouts(number):
    return number, os.getpid()


def doze(number, seconds):
    time.sleep(seconds)
    return number, os.getpid()


def die_elsewhere(number, home):
    """Die in any process but one."""
    if os.getpid() != home:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.05)
    return number


def die_elsewhere_once(number, home, folder):
    """Die in any process but one, the first time."""
    mark = Path(folder) / str(number)
    if os.getpid() != home and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.05)
    return number


def warn_and_refuse(number):
    get_logger("jwst_modfix.jobs").warning("job %d", number)
    raise ExposureError(f"member {number}: is refused")


def die_once(number, fatal, folder):
    """Die as of lack of memory, the first time that the fatal number comes up."""
    if number == fatal:
        try:
            (Path(folder) / "died").touch(exist_ok=False)
        except FileExistsError:
            return number
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def die(number, fatal):
    if number == fatal:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def refuse(number, refused):
    if number == refused:
        raise ExposureError(f"member {number}: is refused")
    return number


def tell_and_wait(fifo):
    """Tell this process's number, and stay busy until killed."""
    Path(fifo).write_text(str(os.getpid()))
    signal.pause()


def tell(fifo, number):
    """Tell of the first job only, and go on."""
    if number == 0:
        Path(fifo).write_text(str(os.getpid()))
    return number
