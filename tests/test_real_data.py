"""A real exposure, cut out and aligned by others; it is not part of the project, only of the shared data."""

import io
import shutil
from pathlib import Path

import asdf
import numpy as np
import pytest
from astropy.io import fits
from stdatamodels.jwst import datamodels

from jwst_modfix import ModuleOffsetModel, ModuleOffsetStep
from jwst_modfix.errors import ExposureError
from jwst_modfix.table.file import PACKAGED_TABLE

REAL = Path(__file__).parents[2] / "shared/data/real/jw01227002001_02105_00001_nrcalong_cutout_cal.fits"
CHANGED = ["DATE", "FILENAME", "PHOTMJSR", "PHOTUJA2"]

pytestmark = pytest.mark.skipif(not REAL.exists(), reason=f"the real exposure {REAL.name} is not beside the project")


@pytest.fixture
def real(tmp_path, monkeypatch):
    """A copy of the exposure and of Table 2, widened to its calibration, in the working directory."""
    shutil.copyfile(REAL, tmp_path / "real_cal.fits")
    model = ModuleOffsetModel(PACKAGED_TABLE)
    model.instance["valid_for"]["context"]["first"] = "jwst_1046.pmap"
    model.save(tmp_path / "wide.asdf")
    monkeypatch.chdir(tmp_path)
    return tmp_path


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
        added = {"S_MODOFF", "R_MODOFF", "MODFHASH", "MODFDATE", "MODFVER", "MODFOFF", "MODFGRAD", "MODFJOB"}
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
