"""A real exposure and real values of PHOTMJSR, through the correction, the check and the export.

The exposure was cut out and aligned by others, and its licence keeps it out of the project: its tests run on a stand-in
too, which is cut in the same way out of a simulated exposure, with the headers of the full frame.
"""

import io
import shutil
from pathlib import Path

import asdf
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from reference_files import run_photom, write_area, write_photom
from stdatamodels.jwst import datamodels

from jwst_modfix import ModuleOffsetModel, ModuleOffsetStep
from jwst_modfix.errors import ExposureError
from jwst_modfix.table.file import PACKAGED_TABLE
from jwst_modfix.table.table import OffsetTable

REAL = Path(__file__).parents[2] / "shared/data/real/jw01227002001_02105_00001_nrcalong_cutout_cal.fits"
CHANGED = ["DATE", "FILENAME", "PHOTMJSR", "PHOTUJA2"]

CUT = (slice(100, 200), slice(400, 500))  # rows and columns of the full frame
PHOTMJSR = Path(__file__).parents[1] / "docs" / "data" / "photmjsr_2023_2026.csv"


@pytest.fixture(params=["stand-in", "real"])
def real(request, tmp_path, monkeypatch, make_exposure):
    """A copy of the exposure and of Table 2, widened to its calibration, in the working directory."""
    if request.param == "stand-in":
        make_stand_in(make_exposure("NRCALONG", "F444W"), tmp_path / "real_cal.fits")
    elif REAL.exists():
        shutil.copyfile(REAL, tmp_path / "real_cal.fits")
    else:
        pytest.skip(f"the real exposure {REAL.name} is not beside the project")
    model = ModuleOffsetModel(PACKAGED_TABLE)
    model.instance["valid_for"]["context"]["first"] = "jwst_1046.pmap"
    model.save(tmp_path / "wide.asdf")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make_stand_in(model, path):
    """Cut the arrays, and leave the gWCS and the subarray keywords as they are."""
    for name in ("data", "err", "dq", "area", "var_poisson", "var_rnoise", "var_flat"):
        setattr(model, name, np.ascontiguousarray(getattr(model, name)[CUT]))
    model.meta.ref_file.crds.context_used = "jwst_1046.pmap"
    model.meta.ref_file.photom.name = "crds://jwst_nircam_photom_0111.fits"
    model.save(path)


def correct(**options):
    name = "real_modfix.fits" if options.get("inverse") else "real_cal.fits"
    Path("real_asn.json").write_text(
        f'{{"products": [{{"name": "p", "members": [{{"expname": "{name}", "exptype": "science"}}]}}]}}'
    )
    ModuleOffsetStep.call("real_asn.json", save_results=True, override_moduleoffset="wide.asdf", **options)


def cards(hdu):
    return {c.keyword: c.value for c in hdu.header.cards if c.keyword not in [*CHANGED, "", "COMMENT", "HISTORY"]}


def asdf_tree(hdulist):
    return asdf.util.load_yaml(io.BytesIO(hdulist["ASDF"].data["ASDF_METADATA"].tobytes()), tagged=True)


def test_the_factor_is_right_and_all_else_is_intact(real):
    correct(apply_slope=False)
    factor, positions = 10 ** (0.4 * -0.01654), []
    with fits.open("real_cal.fits") as before, fits.open("real_modfix.fits") as after:
        for name, power in {
            "SCI": 1,
            "ERR": 1,
            "VAR_POISSON": 2,
            "VAR_RNOISE": 2,
            "VAR_FLAT": 2,
            "DQ": 0,
            "AREA": 0,
        }.items():
            np.testing.assert_allclose(after[name].data, before[name].data * factor**power, rtol=4e-7)
        for name in ("DQ", "AREA"):
            np.testing.assert_array_equal(after[name].data, before[name].data)
        record = {"S_MODOFF", "R_MODOFF", "MODFHASH", "MODFDATE", "MODFVER", "MODFOFF", "MODFGRAD"}
        added = record | {"MODFSEAL", "MODFJOB"}
        assert set(cards(after[0])) - set(cards(before[0])) == added
        for one, other in zip(before, after, strict=True):
            kept = {key: value for key, value in cards(other).items() if key not in added}
            assert other.name == "ASDF" or kept == cards(one)
        for key in ("PHOTMJSR", "PHOTUJA2"):
            assert after["SCI"].header[key] == pytest.approx(before["SCI"].header[key] * factor, rel=1e-12)
        old, new = asdf_tree(before), asdf_tree(after)
        assert new["meta"]["cal_step"].pop("module_offset") == "COMPLETE"
        assert list(new.pop("cal_logs")) == ["module_offset"]
        old["meta"].pop("photometry"), new["meta"].pop("photometry")
        for key in ("date", "filename"):
            old["meta"].pop(key), new["meta"].pop(key)
        assert new == old
        for name in ("real_cal.fits", "real_modfix.fits"):  # the WCS, whose tables are binary blocks of the ASDF
            with datamodels.open(name) as model:
                positions.append(model.meta.wcs(30.0, 60.0))
        assert positions[0] == positions[1]


def test_undo_is_exact(real):
    correct(apply_slope=False)
    correct(inverse=True)
    with fits.open("real_cal.fits") as before, fits.open("real_unmodfix.fits") as after:
        for one, other in zip(before, after, strict=True):
            if one.name in ("PRIMARY", "ASDF"):
                continue
            np.testing.assert_allclose(other.data, one.data, rtol=3e-7)
            assert cards(other) == cards(one)
        undone = cards(after[0])
        assert undone.pop("MODFJOB"), "what a run that resumes knows the file by is all that is left"
        assert undone == cards(before[0])
        for key in ("PHOTMJSR", "PHOTUJA2"):
            assert after["SCI"].header[key] == pytest.approx(before["SCI"].header[key], rel=1e-14)


def test_the_packaged_table_does_not_vouch_for_its_calibration(real):
    with pytest.raises(
        ExposureError, match="CRDS_CTX is jwst_1046.pmap, and ma2023_table2.asdf is valid for jwst_1130.pmap"
    ):
        ModuleOffsetStep.call("real_cal.fits", apply_slope=False, on_invalid="error")
    skipped = ModuleOffsetStep.call("real_cal.fits", apply_slope=False)
    np.testing.assert_array_equal(skipped.data, fits.getdata("real_cal.fits", "SCI"))


def full_frame_keywords(header):
    """As it is: SUBSTRT1, SUBSTRT2 = 1 and SUBSIZE1, SUBSIZE2 = 2048 for 100 x 100 pixels."""


def right_keywords(header):
    """Put the keywords right; the gWCS is still that of the full frame, and the gradient would be 0.9 mmag off."""
    header["SUBSTRT1"], header["SUBSTRT2"], header["SUBSIZE1"], header["SUBSIZE2"] = 401, 101, 100, 100


def no_size(header):
    """Without a size, what is left is the bounding box of the gWCS."""
    del header["SUBSIZE1"], header["SUBSIZE2"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (full_frame_keywords, r"shape \(100, 100\) and the subarray keywords .* \(2048, 2048\): a cutout"),
        (right_keywords, r"shape \(100, 100\), but the bounding box of the WCS is .*2047.5.*: a cutout"),
        (no_size, r"the bounding box of the WCS is .*2047.5.*: a cutout"),
    ],
)
def test_the_slope_is_refused_on_a_cutout_whose_wcs_is_that_of_the_full_frame(real, change, words):
    with fits.open("real_cal.fits", mode="update") as hdulist:
        change(hdulist[0].header)
    with pytest.raises(ExposureError, match=words):
        correct(on_invalid="error")
    assert not Path("real_modfix.fits").exists()
    correct()
    assert fits.getval("real_modfix.fits", "S_MODOFF") == "SKIPPED"
    np.testing.assert_array_equal(fits.getdata("real_modfix.fits", "SCI"), fits.getdata("real_cal.fits", "SCI"))


# ---- real values of PHOTMJSR ----


@pytest.fixture
def photoms(tmp_path):
    """Photom files with the real values of 2023 and 2026, by year and detector."""
    values = {}
    for row in Table.read(PHOTMJSR, format="ascii.csv", comment="#"):
        for year, column in (("2023", "from"), ("2026", "to")):
            values.setdefault((year, row["detector"]), {})[row["filter"], row["pupil"]] = row[column]
    return {
        (year, name): write_photom(tmp_path / f"{year}_{name}.fits", name, of) for (year, name), of in values.items()
    }


def test_real_photom_files_carry_table_2_as_the_list_of_their_values_does(modfix, photoms):
    """Two routes to the table of what is left of Table 2; truth for the list: test_rebase."""
    sides = {"from": "2023", "to": "2026"}
    files = [word for side, year in sides.items() for word in
             (f"--{side}-photom", *(path for (of, _), path in photoms.items() if of == year))]  # fmt: skip
    modfix("rebase", "packaged", *files, "--drop-missing", "-o", "by_files.asdf")
    modfix("rebase", "packaged", "--photmjsr", PHOTMJSR, "--drop-missing", "-o", "by_list.asdf")
    one, other = OffsetTable.read("by_files.asdf"), OffsetTable.read("by_list.asdf")
    assert [row.key for row in one.rows] == [row.key for row in other.rows]
    assert [row.offset for row in one.rows] == pytest.approx([row.offset for row in other.rows], abs=2e-7)


def test_check_apply_and_export_agree_on_the_real_values(modfix, photoms, small_exposure, tmp_path):
    """Truth: F200W of A2 has 2.026 in 2026 and 2.100 in 2023, 39 mmag more; -3.84 mmag of Table 2 are left."""
    modfix("rebase", "packaged", "--photmjsr", PHOTMJSR, "--drop-missing", "-o", "left.asdf")
    rate = small_exposure("NRCA2", "F200W")
    rate.meta.bunit_data = "DN/s"
    area = write_area(tmp_path / "area.fits", "NRCA2", np.ones((2048, 2048)))
    stock = {year: run_photom(rate, photoms[year, "NRCA2"], area) for year in ("2023", "2026")}
    for year, is_warned in (("2023", True), ("2026", False)):
        assert stock[year].meta.photometry.conversion_megajanskys == pytest.approx(
            2.1 if is_warned else 2.026, rel=1e-6
        )
        stock[year].save(f"{year}_cal.fits")
        output = " ".join(modfix("check", "left.asdf", f"{year}_cal.fits").split())
        assert "zero-point error -3.84 mmag" in output
        assert (
            "PHOTMJSR is 2.1, but row (array=2, filter=F200W, pupil=CLEAR) was derived at 2.026" in output
        ) == is_warned
    corrected = ModuleOffsetStep.call("2026_cal.fits", override_moduleoffset="left.asdf")
    np.testing.assert_allclose(corrected.data, stock["2026"].data * 10 ** (0.4 * -0.00384), rtol=5e-6)
    modfix("convert", "left.asdf", "new.fits", "--photom", photoms["2026", "NRCA2"])
    np.testing.assert_allclose(run_photom(rate, "new.fits", area).data, corrected.data, rtol=1e-6)
    refused = modfix("convert", "left.asdf", "x.fits", "--photom", photoms["2023", "NRCA2"], status=1)
    assert "F200W, pupil=CLEAR) is 2.1, but the row was derived at 2.026 (-38.9 mmag)" in refused
