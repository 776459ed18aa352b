"""Files that appear whole or not at all, however their process ends."""

import contextlib
import errno
import os
import re
import shutil
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from jwst_modfix.errors import AssociationError, ModuleOffsetError, OutputError

_PREFIX = ".modfix-part"  # then host, process id and a random word: the names of our hidden folders
_MAX_NAME = 255  # bytes, of most file systems
_ABANDONED = 7 * 86400  # s; after this time a folder of another host, whose processes cannot be seen, is a leftover


@contextlib.contextmanager
def explained(target: str | Path, rule: str = "cannot be written") -> Iterator[None]:
    """Convert an error of the operating system into one that names the file."""
    try:
        yield
    except OSError as error:
        cause = error.__cause__ if isinstance(error, OutputError) else error  # that one named a hidden place
        if cause is None:
            raise
        raise OutputError(f"{target}: {rule}: {_reason(cause, Path(target).parent)}") from cause


def _reason(error, folder):
    """Find the words of the operating system, which libraries replace by their own."""
    link = error
    while link is not None:
        if getattr(link, "strerror", None):
            return link.strerror
        link = link.__cause__ or link.__context__
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as probe:
            for _ in range(16):
                probe.write(bytes(4096))
            os.fsync(probe.fileno())
    except OSError as refusal:
        return refusal.strerror
    text = " ".join(str(error).split())
    # Of astropy and numpy; by now another output, which failed as well, may have made room again.
    return os.strerror(errno.ENOSPC) if re.search(r"Not enough space on disk|requested and \d+ written", text) else text


@contextlib.contextmanager
def written_whole(target: str | Path) -> Iterator[Path]:
    """Write a file in a hidden folder, and move it to its place when complete.

    A process that is killed leaves ``target`` as it was, or complete. The move is not forced to the disk: a power
    failure can undo the last seconds of writing, as with any copied file.
    """
    target = Path(target)
    with contextlib.ExitStack() as stack:
        with explained(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            folder = stack.enter_context(part_folder(target.parent))
        with explained(target):
            yield folder / target.name
            (folder / target.name).replace(target)


@contextlib.contextmanager
def part_folder(folder: Path) -> Iterator[Path]:
    """Make a hidden folder, named by this process, for files that are not complete."""
    prefix = f"{_PREFIX}-{socket.gethostname()}-{os.getpid()}-"
    path = Path(tempfile.mkdtemp(dir=folder, prefix=prefix))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def remove_leftovers(folders: Iterable[Path]) -> list[Path]:
    """Remove the hidden folders that killed runs left in folders; return their paths."""
    removed = []
    for folder in dict.fromkeys(folders):
        for path in Path(folder).glob(f"{_PREFIX}-*"):
            if path.is_dir() and not path.is_symlink() and _is_leftover(path):
                shutil.rmtree(path, ignore_errors=True)
                removed.append(path)
    return removed


def _is_leftover(path):
    name = re.fullmatch(rf"{re.escape(_PREFIX)}-(.+)-(\d{{1,9}})-\w+", path.name)
    if name is None:
        return False
    if name[1] == socket.gethostname():
        return not _is_alive(int(name[2]))
    with contextlib.suppress(FileNotFoundError):
        return time.time() - path.stat().st_mtime > _ABANDONED
    return False


def _is_alive(process):
    if os.name == "nt":  # where os.kill ends a process
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # a process of another user
        pass
    return True


def check_writable(folder: Path) -> None:
    """Refuse a folder that files cannot be written to."""
    with explained(folder, "cannot be written to"):
        folder.mkdir(parents=True, exist_ok=True)
        with part_folder(folder):
            pass


def find_existing(targets: Iterable[str | Path]) -> list[str]:
    """Find which of the files to be written exist."""
    return [str(target) for target in targets if os.path.lexists(target)]


def refuse_existing(targets: Iterable[str | Path], error: type[ModuleOffsetError] = OutputError) -> None:
    """Refuse to write over files."""
    if existing := find_existing(targets):
        raise error(f"{', '.join(existing)}: exists already and is not overwritten; give another name or remove it")


def check_targets(
    targets: Collection[Path], inputs: Iterable[Any], *, ends: tuple[str, ...] = ("",), allow_existing: bool = True
) -> None:
    """Refuse outputs that cannot be written, or would overwrite each other or inputs."""
    protected, bad, problems = set(map(identify, inputs)) - {None}, [], []
    # Two names that differ in case only are one file on some systems.
    counts = Counter([(target.parent, target.name.lower()) for target in targets])
    for target in dict.fromkeys(targets):
        count = counts[target.parent, target.name.lower()]
        if not target.name.endswith(ends):
            bad.append(f"{target}: outputs are .fits or .asdf files; set output_ext to one of them")
        elif target.suffix == ".fits" and not (target.name.isascii() and target.name.isprintable()):
            bad.append(f"{target}: a FITS header holds names of printable ASCII only; rename the input")
        elif len(target.name.encode("utf-8", "surrogateescape")) > _MAX_NAME:
            bad.append(f"{target}: the name has more than {_MAX_NAME} bytes; rename the input")
        if count > 1:
            problems.append(f"{target} would be written for {count} exposures")
        if identify(target) in protected:
            problems.append(f"{target} is an input, which is never overwritten")
    if bad:
        raise OutputError("; ".join(bad))
    if problems:
        raise AssociationError(problems=[*problems[:-1], f"{problems[-1]}: set output_dir or suffix"])
    existing = [] if allow_existing else find_existing(targets)
    if existing:
        exist = "exists" if len(existing) == 1 else "exist"
        raise OutputError(f"{', '.join(existing)}: {exist}, and on_existing is 'error'")


def write_text(target: str | Path, text: str) -> None:
    """Write a file of UTF-8 text with the line ends of Unix, whole or not at all."""
    with written_whole(target) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def identify(path):
    """Identify a file by device and inode; None where there is none."""
    try:
        status = os.stat(path)  # noqa: PTH116 - of text too
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def file_state(path: Path) -> tuple[int, ...] | None:
    """Find a state of a file that changes with its content; None without a file."""
    try:
        stat = path.stat()
    except (OSError, ValueError):  # the latter of a name that no file can have
        return None
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns


def locate(path) -> Path:
    """Find the absolute path; links of folders are followed, not that of the file.

    Relative paths between two places of this kind lead to the right file.
    """
    folder, name = os.path.split(path)
    with explained(path, "is relative to the working directory, which cannot be found"):
        return Path(os.path.realpath(folder), name)
