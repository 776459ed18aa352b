"""
Put plausible mistakes into the package, one at a time, and see whether the fast tests notice them.

Run as ``make test-mutants``, or ``python tests/mutants [AREA ...] [--workers N] [--match TEXT]``. Each file
``tests/mutants/AREA.toml`` names the test files of an area and its mutants: file, original text, replacement. Ends with
status 1 if the tests notice less than 90 % of them, and with status 2 if a mutant does not fit the code any more.
"""

import argparse
import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from preload import run_tests

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
COPIED = ("jwst_modfix", "tests", "examples", "benchmarks", "docs", "changes")
REQUIRED = 0.90
TIMEOUT = 600  # s; whether a test would fail, or a loop is endless, is then not known
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["preload"])
STATES = {0: "SURVIVED", 1: "noticed"}  # by the status of pytest; any other is BROKEN


@dataclass(frozen=True)
class Mutant:
    """One mistake: in a file of the package, `new` in the place of `old`, to be noticed by some test files."""

    area: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def apply(self, root):
        """Make the mistake in the text of the file; None where it does not fit."""
        path = root / "jwst_modfix" / self.file
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        return text.replace(self.old, self.new) if text.count(self.old) == 1 else None

    def __str__(self):
        old, new = (" ".join(text.split()) or "(nothing)" for text in (self.old, self.new))
        return f"{self.area}: {self.file}: {old}  ->  {new}"


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
        """Run test files, up to the first failure; give the state and the line that says why."""
        output = self.root / "output"
        process = FORKS.Process(target=run_tests, args=(str(self.root), tests, str(output)))
        process.start()
        process.join(TIMEOUT)
        if process.is_alive():
            os.killpg(process.pid, signal.SIGKILL)
            process.join()
            return "TIMEOUT", f"no end after {TIMEOUT} s"
        lines = output.read_text().strip().splitlines()
        failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
        return STATES.get(process.exitcode, "BROKEN"), [*failed, *lines[-1:], ""][0]

    def judge(self, mutant):
        """Test one mutant, restore the file, and print what became of it."""
        path, text = self.root / "jwst_modfix" / mutant.file, mutant.apply(self.root)
        original = path.read_text(encoding="utf-8")
        path.write_text(text, encoding="utf-8")
        state, summary = self.test(mutant.tests)
        path.write_text(original, encoding="utf-8")
        print(f"{state:8s}  {mutant}\n          {summary}", flush=True)
        return state


def test_all(mutants, folder, workers):
    """Test all mutants, after the tests themselves; give their states."""
    copies = threading.local()

    def copy():
        if not hasattr(copies, "mine"):
            copies.mine = Copy(tempfile.mkdtemp(dir=folder))
        return copies.mine

    def check(tests):
        state, summary = copy().test(tests)
        if state != STATES[0]:
            raise SystemExit(f"{' '.join(tests)}: fails without any mutant: {summary}")

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(check, sorted({mutant.tests for mutant in mutants})))
        return list(pool.map(lambda mutant: copy().judge(mutant), mutants))


def main():
    """Test all mutants, and print what became of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("areas", nargs="*", help="lists to use; default: all")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="tests at a time (%(default)s)")
    parser.add_argument("--match", default="", help="only mutants whose line contains this text")
    given = parser.parse_args()
    mutants = [mutant for mutant in read_mutants(given.areas) if given.match in str(mutant)]
    wrong = [f"{mutant}: occurs not once in the file" for mutant in mutants if mutant.apply(ROOT) is None]
    if wrong or not mutants:
        print(*wrong or ["no mutant matches"], sep="\n")
        return 2
    with tempfile.TemporaryDirectory() as folder:
        states = test_all(mutants, folder, given.workers)
    share = states.count(STATES[1]) / len(states)
    print(f"\n{len(states)} mutants, {share:.0%} noticed; {REQUIRED:.0%} are required")
    print(f"{states.count('TIMEOUT')} had no end after {TIMEOUT} s, and do not count as noticed")
    for state, mutant in zip(states, mutants, strict=True):
        if state != STATES[1]:
            print(f"{state}: {mutant}")
    return 2 if "BROKEN" in states else int(share < REQUIRED)


if __name__ == "__main__":
    raise SystemExit(main())
