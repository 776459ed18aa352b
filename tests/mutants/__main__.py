"""
Put plausible mistakes into the package, one at a time, and see whether the fast tests notice them.

Run as ``make test-mutants``, or ``python tests/mutants [AREA ...] [--workers N] [--match TEXT]``. Each file
``tests/mutants/AREA.toml`` names the test files of an area and its mutants: file, original text, replacement. Ends with
status 1 if the tests notice less than 90 % of them, and with status 2 if a mutant does not fit the code any more.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
COPIED = ("jwst_modfix", "tests", "examples", "docs", "changes")
REQUIRED = 0.90
TIMEOUT = 600  # s; a mutant that makes a loop endless is noticed
NOTICED, SURVIVED, BROKEN = "noticed", "SURVIVED", "BROKEN"


@dataclass(frozen=True)
class Mutant:
    """One mistake: in a file of the package, `new` in the place of `old`, to be noticed by some test files."""

    area: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    @property
    def path(self):
        """Path of the file from the root of the repository."""
        return Path("jwst_modfix", self.file)

    def apply(self, text):
        """Make the mistake in the text of the file."""
        if text.count(self.old) != 1:
            raise ValueError(
                f"{self.area}.toml: {self.old!r} occurs {text.count(self.old)} times in {self.path}, not once"
            )
        return text.replace(self.old, self.new)

    def __str__(self):
        return f"{self.area}: {self.file}: {_one_line(self.old)}  ->  {_one_line(self.new)}"


def _one_line(text):
    return " ".join(text.split()) or "(nothing)"


def read_mutants(areas):
    """Read the lists of some areas; all of them if none is named."""
    for path in [HERE / f"{area}.toml" for area in areas] or sorted(HERE.glob("*.toml")):
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        for entry in content["mutants"]:
            tests = entry.pop("tests", content["tests"])
            yield Mutant(area=path.stem, tests=tuple(tests), **entry)


class Copy:
    """A copy of the tree, in which one mutant after the other is tested."""

    def __init__(self, folder):
        self.root = Path(folder)
        for name in COPIED:
            ignored = shutil.ignore_patterns("__pycache__", "_build")
            shutil.copytree(ROOT / name, self.root / name, ignore=ignored)
        for path in ROOT.iterdir():
            if path.is_file() and not path.name.startswith("."):
                shutil.copy(path, self.root)

    def test(self, tests):
        """Run test files, up to the first failure; give pytest's status and its last lines."""
        names = [str(Path("tests", name)) for name in tests]
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-m", "not slow", "-p", "no:cacheprovider", *names]
        environment = os.environ | {"PYTHONPATH": str(self.root), "PYTHONDONTWRITEBYTECODE": "1"}
        with tempfile.TemporaryFile("w+") as output:
            process = subprocess.Popen(
                command, cwd=self.root, env=environment, stdout=output, stderr=output, start_new_session=True
            )
            try:
                status = process.wait(TIMEOUT)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                return 1, f"no end after {TIMEOUT} s"
            output.seek(0)
            return status, _summary(output.read())

    def judge(self, mutant):
        """Test one mutant, and restore the file."""
        path = self.root / mutant.path
        original = path.read_text(encoding="utf-8")
        path.write_text(mutant.apply(original), encoding="utf-8")
        status, summary = self.test(mutant.tests)
        path.write_text(original, encoding="utf-8")
        return {0: SURVIVED, 1: NOTICED}.get(status, BROKEN), summary


def _summary(text):
    failed = [line for line in text.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return failed[0] if failed else text.strip().splitlines()[-1]


def main():
    """Test all mutants, and print what became of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("areas", nargs="*", help="lists to use; default: all")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="tests at a time (%(default)s)")
    parser.add_argument("--match", default="", help="only mutants whose line contains this text")
    given = parser.parse_args()
    mutants = [mutant for mutant in read_mutants(given.areas) if given.match in str(mutant)]
    wrong = [message for mutant in mutants if (message := _find_mismatch(mutant))]
    if wrong or not mutants:
        print(*wrong or ["no mutant matches"], sep="\n")
        return 2
    with tempfile.TemporaryDirectory() as folder:
        results = _test_all(mutants, Path(folder), given.workers)
    return _conclude(results)


def _find_mismatch(mutant):
    try:
        mutant.apply((ROOT / mutant.path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return str(error)
    return None


def _test_all(mutants, folder, workers):
    copies = threading.local()

    def copy():
        if not hasattr(copies, "mine"):
            copies.mine = Copy(tempfile.mkdtemp(dir=folder))
        return copies.mine

    def check(tests):
        status, summary = copy().test(tests)
        if status:
            raise SystemExit(f"{' '.join(tests)}: fails without any mutant: {summary}")

    def judge(mutant):
        result, summary = copy().judge(mutant)
        print(f"{result:8s}  {mutant}\n          {summary}", flush=True)
        return result, mutant

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(check, sorted({mutant.tests for mutant in mutants})))
        return list(pool.map(judge, mutants))


def _conclude(results):
    """Print the numbers and the mutants that were not noticed, and give the status."""
    count = {state: [mutant for result, mutant in results if result == state] for state in (SURVIVED, BROKEN)}
    share = 1 - (len(count[SURVIVED]) + len(count[BROKEN])) / len(results)
    print(f"\n{len(results)} mutants, {share:.0%} noticed; {REQUIRED:.0%} are required")
    for state, found in count.items():
        print(*(f"{state}: {mutant}" for mutant in found), sep="\n", end="\n" if found else "")
    return 2 if count[BROKEN] else int(share < REQUIRED)


if __name__ == "__main__":
    raise SystemExit(main())
