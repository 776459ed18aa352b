"""Hostile files run no code, reach for no other file, write nowhere else, and forge no line of a log."""

import io
import logging
import os
import tracemalloc

import pytest
from astropy.io import fits
from fuzzing import time_limit
from pair_of_exposures import write_association

from jwst_modfix import ModuleOffsetModel, ModuleOffsetStep, OffsetTable
from jwst_modfix.errors import ExposureError, ModuleOffsetError, ReferenceTableError
from jwst_modfix.exposure import open_exposure
from jwst_modfix.files import written_whole
from jwst_modfix.photometry.frames import read_header
from jwst_modfix.table.file import PACKAGED_TABLE
from jwst_modfix.text import log, plain_text

HEAD = b"#ASDF 1.0.0\n#ASDF_STANDARD 1.5.0\n%YAML 1.1\n%TAG ! tag:stsci.edu:asdf/\n--- !core/asdf-1.1.0\n"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("!!python/object/apply:os.system ['touch HERE/ran']", "python/object/apply:os.system' is not allowed"),
        ("!!python/name:os.system ''", "is not allowed"),
        ("!!binary aGVsbG8=", "tag:yaml.org,2002:binary' is not allowed"),
        ("{$ref: 'HERE/other.asdf#/x'}", "must be text"),
        ("!core/ndarray-1.0.0 {source: 'file://HERE/other.asdf', datatype: float64, shape: [1]}", "must be text"),
        ("!core/externalarray-1.0.0 {fileuri: 'HERE/other.asdf', target: x, datatype: int8, shape: [1]}", "be text"),
        ("!core/ndarray-1.0.0 {source: 0, datatype: float64, shape: [1000000000000]}", "must be text"),
        ("&a [x, *a]", "aliases"),
    ],
)  # fmt: skip
def test_a_reference_file_runs_nothing_and_opens_nothing_else(value, message, tmp_path, monkeypatch):
    text = PACKAGED_TABLE.read_text().replace("author: ", f"author: {value.replace('HERE', str(tmp_path))} #", 1)
    path = tmp_path / "mine.asdf"
    path.write_text(text)
    (tmp_path / "other.asdf").write_bytes(HEAD + b"x: 1\n...\n")
    opened = _watch_files(monkeypatch)
    for read in (OffsetTable.read, ModuleOffsetModel):
        with pytest.raises(ReferenceTableError, match=message):
            read(path)
    assert not [name for name in opened if "other" in name]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine.asdf", "other.asdf"]


def _watch_files(monkeypatch):
    opened = []
    real = io.open
    for module, name in ((io, "open"), (os, "open")):
        original = getattr(module, name)
        monkeypatch.setattr(
            module, name, lambda file, *a, _f=original, **k: opened.append(str(file)) or _f(file, *a, **k)
        )
    monkeypatch.setattr("builtins.open", lambda file, *a, **k: opened.append(str(file)) or real(file, *a, **k))
    return opened


def test_an_untouched_derivation_block_is_plain_data_and_is_not_followed(tmp_path, monkeypatch):
    (tmp_path / "other.asdf").write_bytes(HEAD + b"x: 1\n...\n")
    text = PACKAGED_TABLE.read_text().replace(
        "meta:\n", f"meta:\n  derivation: {{$ref: '{tmp_path}/other.asdf#/x'}}\n", 1
    )
    (tmp_path / "mine.asdf").write_text(text)
    opened = _watch_files(monkeypatch)
    model = ModuleOffsetModel(tmp_path / "mine.asdf")
    assert dict(model.meta.derivation.instance) == {"$ref": f"{tmp_path}/other.asdf#/x"}
    model.save(tmp_path / "again.asdf")
    assert not [name for name in opened if "other" in name]


@pytest.mark.parametrize("size", [1024**2 + 1, 1024**3])
def test_a_table_of_any_size_takes_no_more_memory_than_the_limit(size, tmp_path):
    path = tmp_path / "mine.asdf"
    path.write_bytes(HEAD)
    os.truncate(path, size)  # a sparse file
    tracemalloc.start()
    with time_limit(5), pytest.raises(ReferenceTableError, match="is larger than 1048576 bytes"):
        OffsetTable.read(path)
    assert tracemalloc.get_traced_memory()[1] < 8 * 1024**2
    tracemalloc.stop()


def test_a_header_that_declares_a_huge_image_takes_no_memory(small_exposure, tmp_path):
    path = tmp_path / "jw_cal.fits"
    small_exposure("NRCA2", "F200W").save(str(path))
    content = bytearray(path.read_bytes())
    at = content.index(b"NAXIS1  =", content.index(b"EXTNAME = 'SCI"[:8]) - 1000)
    content[at : at + 30] = b"NAXIS1  =        1000000000000"
    path.write_bytes(content)
    with time_limit(10), pytest.raises(ExposureError, match="cannot be read as FITS"), open_exposure(path):
        pass


@pytest.fixture
def data(small_exposure, tmp_path, monkeypatch):
    """Two exposures in data/, with the working directory above."""
    (tmp_path / "work" / "data").mkdir(parents=True)
    for detector in ("NRCA2", "NRCB2"):
        small_exposure(detector, "F200W").save(str(tmp_path / "work" / "data" / f"{detector}_cal.fits"))
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work" / "data"


def tree_of(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_members_from_anywhere_are_written_into_the_output_folder_only(data, tmp_path):
    """Reading by an absolute path or by ``..`` is the user's right; writing there is not."""
    names = data / "NRCA2_cal.fits", "../data/NRCB2_cal.fits"
    asn = write_association(data / "set_asn.json", *names, product="../../evil")
    before = tree_of(tmp_path)
    ModuleOffsetStep.call(asn, save_results=True, output_dir="out")
    assert tree_of(tmp_path) - before == {
        f"work/out/{n}" for n in ("NRCA2_modfix.fits", "NRCB2_modfix.fits", "set_modfix_asn.json")
    }


@pytest.mark.parametrize("name", ["../../evil_cal.fits", "/evil_cal.fits"])
def test_a_filename_in_a_header_is_a_name_and_no_path(name, data, small_exposure, tmp_path):
    model = small_exposure("NRCA2", "F200W")
    model.meta.filename = name
    before = tree_of(tmp_path)
    ModuleOffsetStep.call(model, save_results=True, output_dir="out")
    assert tree_of(tmp_path) - before == {"work/out/evil_modfix.fits"}


@pytest.mark.parametrize(("keyword", "value"), [("FILTER", "../../evil"), ("PUPIL", "a/b"), ("FILTER", "")])
def test_a_filter_names_figures_and_is_no_path(keyword, value, data):
    fits.setval(data / "NRCA2_cal.fits", keyword, value=value)
    with pytest.raises(ExposureError, match=f"{keyword.lower()} must be capital letters and digits"):
        read_header(data / "NRCA2_cal.fits")


def test_an_output_that_is_a_link_is_replaced_and_its_target_left(tmp_path):
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "out").symlink_to(tmp_path / "precious")
    with written_whole(tmp_path / "out") as partial:
        partial.write_text("new")
    assert (tmp_path / "precious").read_text() == "precious"
    assert (tmp_path / "out").read_text() == "new"
    assert not (tmp_path / "out").is_symlink()


FORGED = "x\n2026-01-01 - stpipe - INFO - all is well\x1b[2K\r"


def test_a_name_forges_no_line_of_a_log_or_an_error(caplog):
    assert plain_text(FORGED) == r"x\n2026-01-01 - stpipe - INFO - all is well\x1b[2K\r"
    assert plain_text("Müller 10 µm") == "Müller 10 µm"
    with caplog.at_level(logging.INFO):
        log.info("%s: done", FORGED)
    assert caplog.records[0].getMessage() == plain_text(FORGED) + ": done"
    assert "\n" not in str(ModuleOffsetError(FORGED))


def test_values_of_a_model_forge_no_line_of_its_log(small_exposure, caplog):
    model = small_exposure("NRCA2", "F200W")
    model.meta.filename = "a\nb_cal.fits"
    model.meta.instrument.pupil = None
    ModuleOffsetStep.call(model, configure_log=False)
    ours = [record.getMessage() for record in caplog.records if "jwst_modfix" in record.name]
    assert any(r"a\nb_cal.fits: SKIPPED" in line for line in ours)
    assert all("\n" not in line for line in ours)


def test_the_name_of_a_table_becomes_a_card_whatever_it_is(small_exposure, tmp_path):
    path = tmp_path / "a\nb.asdf"
    path.write_bytes(PACKAGED_TABLE.read_bytes())
    model = small_exposure("NRCA2", "F200W")
    result = ModuleOffsetStep.call(model, override_moduleoffset=str(path))
    result.save(str(tmp_path / "out.fits"))
    assert fits.getval(tmp_path / "out.fits", "R_MODOFF") == r"a\nb.asdf"
