"""Test the supported versions, each in its own environment: ``nox`` tests all, ``nox -l`` lists them."""

import os
import tempfile
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["tests", "oldest", "package"]

ROOT = Path(__file__).parent
# jwst pins photutils, stdatamodels, stpipe, stcal and gwcs: each version requires its own.
MATRIX = [("3.11", "1.20.2"), ("3.11", "2.0.1"), ("3.11", "3.0.0"), ("3.12", "3.0.0"), ("3.13", "3.0.0"),
          ("3.14", "3.0.0")]  # fmt: skip
ONE_THREAD = dict.fromkeys(["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"], "1")  # xdist runs one process for each core


def _pytest(session, *options):
    session.run(
        "python",
        "-m",
        "pytest",
        "--numprocesses=logical",
        "--dist=loadfile",
        "--no-loadscope-reorder",
        *options,
        *session.posargs,
        env=ONE_THREAD,
    )


@nox.session
@nox.parametrize(("python", "jwst"), MATRIX)
def tests(session, jwst):
    """Run the whole suite on one pair of Python and jwst; other arguments go to pytest: ``nox -- -m "not slow"``."""
    session.install("-e", ".[test]", f"jwst=={jwst}")
    _pytest(session)


@nox.session(python="3.11")
def oldest(session):
    """Run the whole suite on the lower bound of every dependency."""
    session.install("-e", ".[test]", "-c", "constraints-oldest.txt")
    _pytest(session)


@nox.session(python="3.13")
def development(session):
    """Run the fast tests on the development head of the pipeline, which shows what its next release will break."""
    session.install("-e", ".[test]")
    session.install("--upgrade", "jwst @ git+https://github.com/spacetelescope/jwst@main")
    _pytest(session, "-m", "not slow or versions")


@nox.session(python="3.11")
@nox.parametrize("kind", ["wheel", "sdist", "clone"])
def package(session, kind):
    """Install the package as users do, and correct one simulated exposure in an empty folder."""
    session.install(str(_built(session, kind)) + "[sim]")
    with session.chdir(session.create_tmp()):
        folder = Path(tempfile.mkdtemp(dir="."))
        session.run(
            "modfix", "simulate", str(folder), "--epochs", "1", "--dithers", "1",
            "--filter", "F444W", "--subarray", "701,401,64,48",
        )  # fmt: skip
        session.run("strun", "module_offset", "--help", silent=True)
        exposure = min(folder.glob("*_cal.fits"))
        session.run("strun", "module_offset", str(exposure), f"--output_dir={folder}")
        code = "import sys; from astropy.io import fits; assert fits.getval(sys.argv[1], 'S_MODOFF') == 'COMPLETE'"
        session.run("python", "-c", code, str(exposure).replace("_cal", "_modfix"))


def _built(session, kind):
    """Path for pip to install: the clone, or the wheel or the sdist that is built from it."""
    if kind == "clone":
        return ROOT
    session.install("build")
    output = Path(session.create_tmp()) / "dist"
    session.run("python", "-m", "build", f"--{kind}", f"--outdir={output}", str(ROOT))
    return max(output.glob("*.whl" if kind == "wheel" else "*.tar.gz"), key=os.path.getmtime).resolve()


@nox.session(python="3.11")
def citation(session):
    """Validate CITATION.cff."""
    session.install("cffconvert>=2")
    session.run("cffconvert", "--validate")


@nox.session(python="3.11")
def changelog(session):
    """Render the fragments of the changelog, without changing a file."""
    session.install("towncrier>=24")
    session.run("towncrier", "build", "--draft", "--version", "next")


@nox.session(python="3.11")
def release(session):
    """Rehearse a release in a scratch clone of the last commit: ``nox -s release -- 0.1.0``."""
    (version,) = session.posargs or ["0.1.0"]
    session.install("build>=1.2", "towncrier>=24", "twine>=6")
    clone = Path(tempfile.mkdtemp(dir=session.create_tmp())) / "clone"
    session.run("git", "clone", "--quiet", str(ROOT), str(clone), external=True)
    with session.chdir(clone):
        session.run("towncrier", "build", "--yes", "--version", version)
        me = ["-c", "user.name=release", "-c", "user.email=release@localhost"]
        session.run("git", *me, "commit", "--quiet", "--all", f"--message=Release {version}", external=True)
        session.run("git", *me, "tag", "--annotate", f"v{version}", f"--message={version}", external=True)
        session.run("python", "-m", "build")
        session.run("twine", "check", "--strict", *map(str, Path("dist").iterdir()))
        names = {path.name for path in Path("dist").iterdir()}
    expected = {f"jwst_modfix-{version}-py3-none-any.whl", f"jwst_modfix-{version}.tar.gz"}
    if names != expected:
        session.error(f"built {sorted(names)}, and the tag asks for {sorted(expected)}")
