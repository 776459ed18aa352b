"""Files that appear whole or not at all, whatever ends the process that writes them."""

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

from jwst_modfix.errors import OutputError

__all__ = ["HiddenFolder", "check_writable", "find_existing", "remove_leftovers", "telling", "written_whole"]

_MARK = ".modfix-part"  # ends the name of each hidden folder of ours
_LOCK = "lock"
# What flock says on a file system that has no locks: leftovers are then left, since they may belong to a live run.
_NO_LOCKS = {errno.ENOTSUP, errno.ENOSYS, errno.ENOLCK, errno.EINVAL, errno.EBADF}


@contextlib.contextmanager
def telling(target, rule="cannot be written", *, folder=None):
    """Turn an error of the operating system into one line that names the file."""
    try:
        yield
    except OSError as error:
        cause = error.__cause__ if isinstance(error, OutputError) else error  # which named a place that is hidden
        if cause is None:
            raise
        raise OutputError(f"{target}: {rule}: {_reason(cause, folder)}") from cause


def _reason(error, folder):
    """Say why, in the words of the operating system where they can be had, and else in those of the error."""
    link = error
    while link is not None:
        if getattr(link, "strerror", None):
            return link.strerror
        link = link.__cause__ or link.__context__
    try:
        if folder:
            _probe(folder / "probe")
    except OSError as refusal:
        return refusal.strerror
    return " ".join(str(error).split())


def _probe(path):
    """Write a little, and see it on the disk."""
    with path.open("wb", buffering=0) as file:
        for _ in range(16):
            file.write(bytes(4096))
        os.fsync(file.fileno())


@contextlib.contextmanager
def written_whole(target):
    """Write a file beside its place, and put it there when it is complete.

    A process that is killed leaves ``target`` as it was, or complete. The rename is not forced to the disk: a power
    failure can undo the last seconds of writing, as with any copied file.
    """
    target = Path(target)
    with telling(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        hidden = HiddenFolder(target)
    with hidden as folder, telling(target, folder=folder):
        yield folder / target.name
        (folder / target.name).replace(target)


class HiddenFolder:
    """A hidden folder beside a file that is to be written; locked, so that other runs see that this one lives."""

    def __init__(self, target):
        self._lock = None
        while True:
            self.path = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=_MARK))
            try:
                self._lock = _locked(self.path)
            except (BlockingIOError, FileNotFoundError):
                continue  # another run took it for a leftover, in the moment before it was locked
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    self.remove()
                    raise
            return

    def __enter__(self):
        return self.path

    def __exit__(self, *_):
        self.remove()

    def remove(self):
        """Remove the folder with all that is in it."""
        _remove(self.path, self._lock)
        self._lock = None


def check_writable(folder):
    """Refuse a folder that files cannot be written to."""
    with telling(folder, "cannot be written to"):
        folder.mkdir(parents=True, exist_ok=True)
        with HiddenFolder(folder / "check"):
            pass


def find_existing(targets):
    """Find what is there already of what is to be written."""
    return [str(target) for target in targets if os.path.lexists(target)]


def remove_leftovers(targets):
    """Remove the hidden folders that killed runs left beside files which are to be written anew."""
    names = {}
    for target in targets:
        names.setdefault(target.parent, set()).add(target.name)
    found = [path for folder in names for path in folder.glob(f".*{_MARK}") if _owner(path) in names[folder]]
    return [path for path in found if _remove_dead(path)]


def _owner(path):
    """Name of the file that a hidden folder was made for."""
    return path.name.removesuffix(_MARK)[1:].rpartition(".")[0]


def _remove_dead(path):
    if path.is_symlink() or not path.is_dir():
        return False
    try:
        lock = _locked(path)
    except OSError:  # a run that lives holds it, or there is no way to know
        return False
    _remove(path, lock)
    return True


def _locked(folder):
    """Lock a folder until the descriptor is closed, as it is when the process ends in whatever way."""
    path = folder / _LOCK
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(lock), path.stat()):
            raise BlockingIOError(errno.EWOULDBLOCK, "the folder is being removed", str(folder))
    except OSError:
        os.close(lock)
        raise
    return lock


def _remove(folder, lock):
    shutil.rmtree(folder, ignore_errors=True)
    if lock is not None:
        os.close(lock)
    with contextlib.suppress(OSError):  # NFS keeps the name of a file that is open, and with it the folder
        folder.rmdir()
