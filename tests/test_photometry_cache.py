"""The cache: a hit equals a new measurement; any difference in content, parameters or code is no hit."""

import gzip
import importlib.metadata
import io
import pickle

import numpy as np
import pytest
from astropy.io import fits

from jwst_modfix import jobs
from jwst_modfix.jobs import Cache

MADE = {"x": np.array([1.5, np.nan]), "n": np.array(3)}


@pytest.fixture
def exposure(tmp_path):
    path = tmp_path / "exposure.fits"
    path.write_bytes(b"pixels")
    return path


@pytest.fixture
def fetch(exposure, tmp_path):
    """Function that fetches, and returns whether the result was measured again."""

    def get(kind="kind", path=exposure, parameters=("a",), result=MADE):
        made = []
        found = Cache(tmp_path / "cache").fetch(kind, path, parameters, lambda: made.append(1) or result)
        assert found.keys() == result.keys()
        for name, value in result.items():
            np.testing.assert_array_equal(found[name], value)
        return bool(made)

    return get


def test_the_same_content_is_measured_once_whatever_its_name(fetch, exposure):
    assert fetch()
    assert not fetch()
    assert not fetch(path=exposure.rename(exposure.with_name("other.fits")))


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "other"}, {"parameters": ("ab", "c", "")}, {"parameters": ("a", "bc")}, {"content": b"PIXELS"},
        {"code": "other"},
    ],
    ids=str,
)  # fmt: skip
def test_another_kind_parameter_content_or_code_is_measured_again(fetch, exposure, monkeypatch, change):
    fetch(parameters=("ab", "c"))
    change = {"parameters": ("ab", "c"), **change}
    exposure.write_bytes(change.pop("content", b"pixels"))
    if code := change.pop("code", None):
        monkeypatch.setattr(jobs, "_code", lambda package: code)
    assert fetch(**change)


@pytest.mark.parametrize("library", ["astropy", "gwcs", "jwst-modfix", "numpy", "photutils", "scipy"])
def test_what_another_version_of_a_library_made_is_measured_again(fetch, monkeypatch, library):
    fetch()
    version = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.1" if name == library else version(name))
    monkeypatch.setattr(jobs, "_code", jobs._code.__wrapped__)  # which is found once in a process
    assert fetch()


@pytest.mark.parametrize("name", ["photometry/forced.py", "exposure.py"])
def test_what_other_code_of_the_package_made_is_measured_again(fetch, monkeypatch, tmp_path, name):
    """The code that measures, and the code that opens exposures."""
    folders = {"jwst_modfix": tmp_path / "code", "jwst_modfix.photometry": tmp_path / "code" / "photometry"}
    folders["jwst_modfix.photometry"].mkdir(parents=True)
    for file in ("photometry/forced.py", "exposure.py"):
        (tmp_path / "code" / file).write_text("before")
    monkeypatch.setattr(jobs.resources, "files", folders.__getitem__)
    monkeypatch.setattr(jobs, "_code", jobs._code.__wrapped__)  # which is found once in a process
    fetch()
    assert not fetch()
    (tmp_path / "code" / name).write_text("after")
    assert fetch()


@pytest.mark.parametrize("name", ["PRIMARY", "SCI", "ERR", "DQ", "AREA", "ASDF", "VAR_POISSON"])
def test_a_file_is_known_by_all_but_its_variances(fetch, exposure, name):
    """Truth: one changed byte of the data of each extension, or of the primary header."""
    arrays = [
        fits.ImageHDU(np.zeros((40, 50), np.float32), name=n) for n in ("SCI", "ERR", "VAR_POISSON", "DQ", "AREA")
    ]
    hdulist = fits.HDUList([fits.PrimaryHDU(), *arrays, fits.ImageHDU(np.zeros(3000, np.uint8), name="ASDF")])
    hdulist.writeto(exposure, overwrite=True)
    with fits.open(exposure) as opened:
        place = opened[name].fileinfo()
    fetch()
    assert not fetch()
    content = bytearray(exposure.read_bytes())
    content[place["hdrLoc"] + 79 if name == "PRIMARY" else place["datLoc"] + 2900] ^= 1
    exposure.write_bytes(content)
    assert fetch() == (name != "VAR_POISSON")


def test_a_packed_file_is_known_by_all_of_it(fetch, tmp_path):
    """Truth: the last byte of an extension of noise, which the packed file has where the unpacked one has variances."""
    noise, path = np.random.default_rng(1).integers(0, 256, 30_000, np.uint8), tmp_path / "exposure.fits.gz"
    for is_new in (True, False, True):
        variances = fits.ImageHDU(np.zeros(100_000, np.uint8), name="VAR_FLAT")
        hdulist = fits.HDUList([fits.PrimaryHDU(), variances, fits.ImageHDU(noise, name="AREA")])
        with path.open("wb") as file, gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:
            hdulist.writeto(packed)
        assert fetch(path=path) == is_new
        noise[-1] ^= not is_new


def test_every_flipped_byte_is_noticed_or_harmless(fetch, tmp_path):
    fetch()
    (entry,) = (tmp_path / "cache").iterdir()
    whole = entry.read_bytes()
    for place in range(0, len(whole), 7):
        entry.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        fetch()  # which compares with the truth


def with_pickle():
    """An archive that numpy reads by pickle only."""
    content = io.BytesIO()
    np.savez(content, x=np.array([print], dtype=object), n=np.array(3), digest=np.array("0"))
    return content.getvalue()


@pytest.mark.parametrize("content", [b"", b"PK", pickle.dumps({"x": 1}), b"\x93NUMPY", with_pickle()])
def test_what_is_no_entry_is_made_anew(fetch, tmp_path, content):
    fetch()
    (entry,) = (tmp_path / "cache").iterdir()
    entry.write_bytes(content)
    assert fetch()
    assert not fetch()


def test_an_entry_of_another_key_is_made_anew(fetch, tmp_path):
    fetch(parameters=("a",), result={"x": np.array(1)})
    (first,) = (tmp_path / "cache").iterdir()
    fetch(parameters=("b",), result={"x": np.array(2)})
    (second,) = set((tmp_path / "cache").iterdir()) - {first}
    second.write_bytes(first.read_bytes())
    assert fetch(parameters=("b",), result={"x": np.array(2)})


def test_an_exposure_that_changes_meanwhile_is_not_kept(exposure, tmp_path):
    def make():
        exposure.write_bytes(b"changed pixels")
        return MADE

    Cache(tmp_path / "cache").fetch("kind", exposure, ["a"], make)
    assert not list(tmp_path.glob("cache/*"))


def test_a_folder_that_cannot_be_written_costs_nothing_else(exposure, tmp_path):
    (tmp_path / "file").write_text("no folder")
    found = Cache(tmp_path / "file" / "cache").fetch("kind", exposure, [], lambda: MADE)
    assert found["n"] == 3
