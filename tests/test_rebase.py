"""Tables carried from one calibration to another, held against pixels that both calibrations have gone through."""

import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from derivation_of_magnitudes import derive, simulate_photometry
from numpy.polynomial.legendre import legval2d
from reference_files import PIXAR_SR, T0, run_flat, run_photom, write_area, write_flat, write_photom
from stdatamodels.jwst.datamodels import dqflags

from jwst_modfix.errors import ReferenceTableError
from jwst_modfix.table.calibration import Photom, PhotomLine
from jwst_modfix.table.rebase import Calibration, read_calibration, rebase_table
from jwst_modfix.table.table import Field, Gradient, OffsetRow, OffsetTable, Validity, ZeroPointRow

REAL = Path(__file__).parents[1] / "docs" / "data" / "photmjsr_2023_2026.csv"
FULL = (2048, 2048)
XI, ETA = np.meshgrid(*[2 * np.arange(2048) / 2047 - 1] * 2)
GRADIENT = Gradient(frame="focal_plane", direction=90.0, origin=(-1.74, -492.4), exposure_share=0.5)
SKY_GRADIENT = replace(GRADIENT, frame="sky", origin=(10.0, 20.0))


def offset(array="2", filter="F200W", value=-0.05, error=0.001, **more):
    return OffsetRow(array=array, filter=filter, offset=value, offset_error=error, **more)


def point(detector="NRCA2", value=0.03, error=0.001, **more):
    return ZeroPointRow(detector=detector, filter="F200W", zero_point=value, zero_point_error=error, **more)


def table_of(*rows, **more):
    return OffsetTable(rows=rows, meta={"description": "d"}, name="t.asdf", **more)


def change(old, new):
    """Change of z by a ratio of fluxes [mag]."""
    return -2.5 * np.log10(new / old)


@pytest.fixture
def calibrate(tmp_path):
    """Write the photom files of two calibrations, and read them: ``calibrate({detector: (old, new)})``."""

    def make(values, *, old_times=None, new_times=None, **more):
        sides = []
        for side, number, times in (("from", 0, old_times), ("to", 1, new_times)):
            files = []
            for detector, pair in values.items():
                lines = pair if isinstance(pair, dict) else {"F200W": pair}
                lines = {key: value[number] for key, value in lines.items()}
                path = tmp_path / f"{side}_{detector}.fits"
                files.append(write_photom(path, detector, lines, times=times))
            images = {kind: [pair[number] for pair in pairs] for kind, pairs in more.items()}
            sides.append(read_calibration(side, photom=files, **images))
        return sides

    return make


# ---- the sign, and the whole, by pixels ----


@pytest.fixture
def measure(small_exposure, tmp_path):
    """Magnitude of one star by the stock steps: ``measure(detector, flat, photom, area, place=(x, y))``."""

    def magnitude(detector, flat, photom, area, *, subarray="FULL", mjd=T0, place=(701, 401)):
        counts = small_exposure(detector, "F200W")
        y, x = np.mgrid[: counts.data.shape[0], : counts.data.shape[1]]
        star = 1e3 * np.exp(-((x - 30.0) ** 2 + (y - 22.0) ** 2) / (2 * 1.5**2))
        counts.data, counts.dq = np.float32(star), np.zeros(star.shape, np.uint32)
        for name in ("var_poisson", "var_rnoise"):
            setattr(counts, name, np.ones(star.shape, np.float32))
        counts.meta.subarray.name, counts.meta.exposure.mid_time = subarray, mjd
        counts.meta.subarray.xstart, counts.meta.subarray.ystart = place
        counts.meta.bunit_data = "DN/s"
        model = run_photom(run_flat(counts, flat), photom, area)
        flux = np.nansum(np.float64(model.data) * model.area) * model.meta.photometry.pixelarea_steradians
        return -2.5 * np.log10(flux)

    return magnitude


def test_an_offset_is_carried_as_the_flux_of_a_star_changes(measure, tmp_path):
    """Truth: the offset is the difference of magnitudes of one star in both modules, by the stock steps."""
    rng, found, files = np.random.default_rng(1201), {}, {"photom": ([], []), "flat": ([], []), "area": ([], [])}
    for detector in ("NRCA2", "NRCB2"):
        for number, side in enumerate(("old", "new")):
            photmjsr, flat, pixar, area = rng.uniform([1.8, 0.95, 2.0e-14, 0.97], [2.2, 1.05, 2.1e-14, 1.03])
            made = {
                "photom": write_photom(tmp_path / f"{side}_p_{detector}.fits", detector, {"F200W": photmjsr},
                                       pixar=2e-14, times={"timecoeff_linear": (rng.uniform(-0.03, 0.03),)}),
                "flat": write_flat(tmp_path / f"{side}_f_{detector}.fits", detector, np.full(FULL, flat)),
                "area": write_area(tmp_path / f"{side}_a_{detector}.fits", detector, np.full(FULL, area), pixar=pixar),
            }  # fmt: skip
            for kind, path in made.items():
                files[kind][number].append(path)
            found[side, detector] = measure(detector, made["flat"], made["photom"], made["area"], mjd=T0 + 365)
    truth = {side: found[side, "NRCA2"] - found[side, "NRCB2"] for side in ("old", "new")}
    assert abs(truth["new"] - truth["old"]) > 0.02
    row = offset(value=truth["old"], photmjsr=None)
    sides = [read_calibration(side, **{kind: pair[n] for kind, pair in files.items()})
             for n, side in enumerate(("from", "to"))]  # fmt: skip
    (after,) = rebase_table(table_of(row), *sides, date="2023-05-01").table.rows
    assert after.offset == pytest.approx(truth["new"], abs=2e-6)
    assert after.offset_error == row.offset_error


def test_a_zero_point_takes_up_the_shape_of_the_new_flat(measure, tmp_path, calibrate):
    """Truth: the magnitude of a star at three places, with a flat whose logarithm is a polynomial of second order."""
    shape = np.zeros((3, 3))
    shape[0, :], shape[1, :2], shape[2, 0] = (0.004, 0.006, -0.003), (-0.005, 0.002), 0.004
    flats = [write_flat(tmp_path / "old.fits", "NRCA2", np.ones(FULL)),
             write_flat(tmp_path / "new.fits", "NRCA2", 10 ** (0.4 * legval2d(XI, ETA, shape)))]  # fmt: skip
    area = write_area(tmp_path / "area.fits", "NRCA2", np.ones(FULL))
    old, new = calibrate({"NRCA2": (2.0, 2.1)}, flat=[flats])
    (row,) = rebase_table(table_of(point(value=0.0), baseline=None), old, new).table.zero_points
    for place in ((1, 1), (701, 401), (1900, 1700)):
        found = [measure("NRCA2", flat, side.of_kind("photom")[0].path, area, place=place)
                 for flat, side in zip(flats, (old, new), strict=True)]  # fmt: skip
        x, y = place[0] - 1 + 30, place[1] - 1 + 22
        assert row.zero_point + row.field.evaluate(x, y) == pytest.approx(found[1] - found[0], abs=3e-5)
    assert row.field.order == 2
    assert row.field_error is None


def test_a_derivation_on_the_new_calibration_gives_the_same_table():
    """Truth: the same measurements with fluxes and PHOTMJSR times R of each detector, derived again: within errors."""
    made, headers, epochs = simulate_photometry()
    ratio = {"NRCA2": 1.03, "NRCB2": 0.99, "NRCALONG": 0.98, "NRCBLONG": 1.01}
    photmjsr = {header.detector: header.photmjsr for header in headers}
    old, new = (
        Calibration(side, tuple(
            Photom(path=Path(f"jwst_nircam_photom_{name.lower()}.fits"), detector=name, lines=tuple(
                PhotomLine(0, band, "CLEAR", None, value * ratio[name] ** power) for band in ("F200W", "F444W")))
            for name, value in photmjsr.items()), is_list=True)
        for side, power in (("from", 0), ("to", 1))
    )  # fmt: skip
    rebased = rebase_table(derive(made, headers, epochs).table, old, new).table
    table = made.measurements.copy()
    detectors = [f"NRC{row['module']}{str(row['array']).upper()}" for row in table]
    table["mag"] = table["mag"] - 2.5 * np.log10([ratio[name] for name in detectors])
    headers = [replace(h, photmjsr=h.photmjsr * ratio[h.detector]) for h in headers]
    again = derive(replace(made, measurements=table), headers, epochs).table
    for one, other in zip(rebased.rows, again.rows, strict=True):
        assert one.key == other.key
        assert abs(one.offset - other.offset) < 0.5 * np.hypot(one.offset_error, other.offset_error)
        assert one.photmjsr == pytest.approx(other.photmjsr, rel=1e-6)


# ---- PHOTMJSR ----


def test_zero_points_change_by_the_ratio_of_fluxes(calibrate):
    """Truth: z - 2.5 log10(PHOTMJSR' / PHOTMJSR), and errors as before; a table without a baseline keeps its scale."""
    old, new = calibrate({"NRCA1": (2.0, 1.9), "NRCA2": (2.1, 2.2), "NRCB4": (1.8, 1.81)})
    rows = [point(name, z) for name, z in (("NRCA1", 0.03), ("NRCA2", -0.02), ("NRCB4", 0.0))]
    after = rebase_table(table_of(*rows, baseline=None), old, new).table
    truth = [0.03 + change(2.0, 1.9), -0.02 + change(2.1, 2.2), change(1.8, 1.81)]
    assert [row.zero_point for row in after.zero_points] == pytest.approx(truth, abs=1e-6)
    assert [row.zero_point_error for row in after.zero_points] == [0.001] * 3
    assert [row.photmjsr for row in after.zero_points] == pytest.approx([1.9, 2.2, 1.81])
    assert [row.photom for row in after.zero_points] == ["to_NRCA1.fits", "to_NRCA2.fits", "to_NRCB4.fits"]


@pytest.mark.parametrize("baseline", ["B", "mean", "NRCB4"])
def test_the_baseline_is_0_again_on_the_new_flux_scale(calibrate, baseline):
    """Truth: differences between detectors change by the ratios; the mean of the baseline does not change."""
    old, new = calibrate({"NRCA1": (2.0, 1.9), "NRCB1": (2.1, 2.2), "NRCB4": (1.8, 1.81)})
    values = {"B": (0.03, 0.01, -0.01), "mean": (0.02, -0.005, -0.015), "NRCB4": (0.02, 0.04, 0.0)}[baseline]
    rows = [point(name, z) for name, z in zip(("NRCA1", "NRCB1", "NRCB4"), values, strict=True)]
    done = rebase_table(table_of(*rows, baseline=baseline), old, new)
    z = np.array([row.zero_point for row in done.table.zero_points])
    shifts = np.array([change(2.0, 1.9), change(2.1, 2.2), change(1.8, 1.81)])
    assert np.diff(z) == pytest.approx(np.diff(values + shifts), abs=1e-6)
    mean = {"B": z[1:].mean(), "mean": z.mean(), "NRCB4": z[2]}[baseline]
    assert mean == pytest.approx(0, abs=1e-6)
    assert any(f"changes the flux scale of the baseline {baseline}" in line for line in done.table.meta["history"])


@pytest.mark.parametrize("kept", [0.02, -0.02])
def test_a_baseline_whose_zero_points_were_not_0_in_the_mean_keeps_its_values(calibrate, kept):
    """Truth: z - 2.5 log10(PHOTMJSR' / PHOTMJSR), as the table did not keep the flux scale of B before."""
    old, new = calibrate({"NRCA2": (2.0, 2.1), "NRCB2": (2.0, 1.9)})
    done = rebase_table(table_of(point("NRCA2", 0.03), point("NRCB2", kept), baseline="B"), old, new)
    found = [row.zero_point for row in done.table.zero_points]
    assert found == pytest.approx([0.03 + change(2.0, 2.1), kept + change(2.0, 1.9)], abs=1e-7)


@pytest.mark.parametrize(("date", "years"), [("2022-05-01", 0), ("2024-04-30", 2)])
def test_a_correction_for_time_counts_at_the_date(calibrate, date, years):
    """Truth: the new PHOTMJSR of A is 2.1 / (1 - 0.02 t), t years of 365 days after MJD 59700 (2022-05-01)."""
    old, new = calibrate({"NRCA2": (2.0, 2.1)}, new_times={"timecoeff_linear": (0.02,)})
    done = rebase_table(table_of(point(), baseline=None), old, new, date=date).table
    (row,) = done.zero_points
    assert f"from from_NRCA2.fits to to_NRCA2.fits, at {date}" in done.meta["history"][-1]
    assert row.zero_point == pytest.approx(0.03 + change(2.0, 2.1 / (1 - 0.02 * years)), abs=1e-6)
    assert row.photmjsr == pytest.approx(2.1 / (1 - 0.02 * years), rel=1e-6)
    assert (row.photmjsr_date, row.photom) == (date, "to_NRCA2.fits")
    own = table_of(point(photmjsr=2.0, photmjsr_date=date), baseline=None)
    assert rebase_table(own, old, new).table.zero_points == (row,), "the date of the row itself is the default"
    other = table_of(point(photmjsr=2.0, photmjsr_date="2023-01-01"), baseline=None)
    assert rebase_table(other, old, new, date=date).table.zero_points == (row,), "--date comes first"
    with pytest.raises(ReferenceTableError, match="to_NRCA2.fits corrects for time, and zero point .* give --date"):
        rebase_table(table_of(point(), baseline=None), old, new)


def test_names_of_subarrays_may_have_underscores_and_an_empty_one_is_no_subarray(calibrate):
    """Truth: FULL changes by 2.1 / 2.0, SUB32TA_DHS, a subarray of NIRCam, by 2.2 / 2.0."""
    names = ("FULL", "", "SUB32TA_DHS")
    lines = {("F200W", "CLEAR", name): (2.0, value) for name, value in zip(names, (2.1, 2.3, 2.2), strict=True)}
    done = rebase_table(table_of(point(), baseline=None), *calibrate({"NRCA2": lines}))
    found = {row.subarray: row.zero_point for row in done.table.zero_points}
    assert found == pytest.approx({None: 0.03 + change(2.0, 2.1), "SUB32TA_DHS": 0.03 + change(2.0, 2.2)}, abs=1e-6)


def test_rows_of_subarrays_come_first_and_new_ones_are_made_where_they_differ(calibrate):
    """Truth: SUB160 has a row; SUB320 and SUB640 have none, and only SUB320 changes by another ratio than FULL."""
    pairs = {"FULL": (2.0, 2.1), "SUB160": (2.0, 2.2), "SUB320": (2.0, 2.3), "SUB640": (1.9, 1.995)}
    values = {("F200W", "CLEAR", name): pair for name, pair in pairs.items()}
    old, new = calibrate({"NRCA2": values})
    done = rebase_table(table_of(point(), point(value=0.01, subarray="SUB160"), baseline=None), old, new)
    found = {row.subarray: row.zero_point for row in done.table.zero_points}
    assert found == pytest.approx({None: 0.03 + change(2.0, 2.1), "SUB160": 0.01 + change(2.0, 2.2),
                                   "SUB320": 0.03 + change(2.0, 2.3)}, abs=1e-6)  # fmt: skip


# ---- flats ----


def test_flats_that_differ_by_a_constant_give_no_field_and_bad_pixels_do_not_count(tmp_path, calibrate):
    """Truth: 1.02 everywhere but in bad pixels: single ones, flagged or not, and two areas that only DQ marks.

    DQ_DEF gives the bits of the flags, which are others than those of the jwst package; JUMP_DET is not bad.
    """
    rng = np.random.default_rng(7)
    flat, dq = np.full(FULL, 1.02), np.full(FULL, dqflags.pixel["JUMP_DET"], np.uint32)
    single = rng.integers(0, 20, FULL)
    flat[single == 0], flat[single == 1], flat[single == 2] = np.nan, 0.0, 7.0
    flat[:, :256], dq[:, :256] = 7.0, dqflags.pixel["NO_FLAT_FIELD"]
    flat[:256, 256:], dq[:256, 256:] = 7.0, dqflags.pixel["DO_NOT_USE"]
    names = [(1, 2, "NO_FLAT_FIELD", ""), (2, 4, "DO_NOT_USE", ""), (0, 1, "JUMP_DET", "")]
    columns = [("BIT", "i4"), ("VALUE", "u4"), ("NAME", "S40"), ("DESCRIPTION", "S80")]
    new = {"dq": dq, "dq_def": np.array(names, columns)}
    flats = [
        write_flat(tmp_path / "old.fits", "NRCA2", np.ones(FULL)),
        write_flat(tmp_path / "new.fits", "NRCA2", flat, **new),
    ]
    old, new = calibrate({"NRCA2": (2.0, 2.0)}, flat=[flats])
    done = rebase_table(table_of(point(), baseline=None), old, new)
    (row,) = done.table.zero_points
    assert row.zero_point == pytest.approx(0.03 - change(1.0, 1.02), abs=1e-6)
    assert row.field is None
    assert done.changes[0].remainder < 1e-6
    assert done.table.valid_for.flat == ("new.fits",)


def test_the_field_of_a_row_is_added_to(tmp_path, calibrate):
    """Truth: P_1(xi) of 2 mmag in the row, and of 3 mmag in the new flat."""
    flats = [write_flat(tmp_path / "old.fits", "NRCA2", np.ones(FULL)),
             write_flat(tmp_path / "new.fits", "NRCA2", 10 ** (0.4 * 0.003 * XI))]  # fmt: skip
    old, new = calibrate({"NRCA2": (2.0, 2.0)}, flat=[flats])
    field = Field(order=1, coefficients=((0.0, 0.0), (0.002,)))
    (row,) = rebase_table(table_of(point(field=field, field_error=0.001), baseline=None), old, new).table.zero_points
    assert row.field.coefficients[1][0] == pytest.approx(0.005, abs=1e-6)
    assert row.field_error == 0.001


def test_an_offset_takes_up_the_mean_and_a_slope_the_gradient_of_both_modules(tmp_path, calibrate):
    """Truth: flats that grow toward +V2 by 4 mmag/arcmin in both modules are 8 mmag/arcmin of slope (share 0.5)."""
    import pysiaf

    flats = []
    for detector, aperture in (("NRCALONG", "NRCA5_FULL"), ("NRCBLONG", "NRCB5_FULL")):
        x, y = (grid.ravel() for grid in np.meshgrid(*[np.arange(4.5, 2048, 8)] * 2))  # centres of 8 x 8 pixels
        v2, _ = pysiaf.Siaf("NIRCam")[aperture].sci_to_tel(x, y)
        u = np.kron((v2.reshape(256, 256) + 1.74) / 60, np.ones((8, 8)))
        new = 10 ** (0.4 * (0.004 * u + 0.006 * (detector[3] == "A")))
        pair = [write_flat(tmp_path / f"{side}_{detector}.fits", detector, data, band=("F444W", "CLEAR"))
                for side, data in (("old", np.ones(FULL)), ("new", new))]  # fmt: skip
        flats.append(pair)
    values = {name: {"F444W": (0.4, 0.4)} for name in ("NRCALONG", "NRCBLONG")}
    old, new = calibrate(values, flat=flats)
    row = offset("long", "F444W", slope=0.004, slope_error=0.001)
    done = rebase_table(table_of(row, gradient=GRADIENT), old, new)
    (after,) = done.table.rows
    assert after.slope == pytest.approx(0.004 + 0.008, abs=1e-4)
    assert after.offset == pytest.approx(row.offset + 0.006, abs=1e-4)
    assert done.changes[0].remainder < 1e-4
    # Without a slope the row cannot hold 16 mmag/arcmin over 2.15 arcmin: 16 * 2.15 / sqrt(12) = 9.9 mmag rms.
    with pytest.raises(ReferenceTableError, match=r"cannot hold .*array=long.*: 9\.9 mmag rms"):
        rebase_table(table_of(offset("long", "F444W")), *calibrate(values, flat=[[f[0], steeper(f[1])] for f in flats]))

    # A slope that is fixed to the sky turns against the detectors.
    sky = table_of(row, gradient=SKY_GRADIENT)
    with pytest.raises(ReferenceTableError, match="flats are fixed to the detector and the slope of this row to the s"):
        rebase_table(sky, old, new)
    assert rebase_table(sky, *calibrate(values)).table.rows[0].slope == row.slope, "without flats the slope stays"


def steeper(path):
    """Write a flat with four times the structure."""
    from astropy.io import fits

    data = fits.getdata(path, "SCI") ** 4
    name = Path(path).with_name(f"steep_{Path(path).name}")
    return write_flat(name, fits.getval(path, "DETECTOR"), data, band=("F444W", "CLEAR"))


@pytest.mark.parametrize(("size", "is_refused"), [(0.0025, False), (0.0035, True)])
def test_structure_that_no_polynomial_holds_is_stated_and_refused_above_3_mmag(tmp_path, calibrate, size, is_refused):
    """Truth: a chessboard of 64 pixels with +size and -size [mag], whose rms is the size."""
    squares = np.where(np.add.outer(np.arange(2048) // 64, np.arange(2048) // 64) % 2, size, -size)
    flats = [
        write_flat(tmp_path / "old.fits", "NRCA2", np.ones(FULL)),
        write_flat(tmp_path / "new.fits", "NRCA2", 10 ** (0.4 * squares)),
    ]
    old, new = calibrate({"NRCA2": (2.0, 2.0)}, flat=[flats])
    if is_refused:
        with pytest.raises(ReferenceTableError, match=r"limit 3 mmag rms\): zero point .*: 3\.5 mmag rms; derive"):
            rebase_table(table_of(point(), baseline=None), old, new)
    else:
        done = rebase_table(table_of(point(), baseline=None), old, new)
        assert done.changes[0].remainder == pytest.approx(size, rel=0.01)


def test_a_flat_of_the_filter_comes_before_one_of_all_filters(tmp_path, calibrate):
    """Truth: 1.02, which the flat of F200W has; that of any filter has 1.1, and is for another row."""
    flats = [
        [write_flat(tmp_path / f"{side}_{band[0]}.fits", "NRCA2", np.full(FULL, value), band=band)
         for side, value in (("old", 1.0), ("new", new))]
        for band, new in ((("ANY", "ANY"), 1.1), (("F200W", "CLEAR"), 1.02))
    ]  # fmt: skip
    old, new = calibrate({"NRCA2": {"F200W": (2.0, 2.0), "F150W": (2.0, 2.0)}}, flat=flats)
    rows = point(), replace(point(), filter="F150W")
    found = [row.zero_point for row in rebase_table(table_of(*rows, baseline=None), old, new).table.zero_points]
    assert found == pytest.approx([0.03 - change(1.0, 1.02), 0.03 - change(1.0, 1.1)], abs=1e-6)


@pytest.mark.parametrize(("size", "is_refused"), [((2048, 1536), False), ((48, 64), True)])
def test_flats_of_a_part_of_the_detector_do_not_stand_for_the_rest(tmp_path, calibrate, size, is_refused):
    """Three quarters of the detector are enough; a subarray is not, as the polynomial would be extrapolated."""
    flats = [
        write_flat(tmp_path / f"{side}.fits", "NRCA2", np.full(size, value))
        for side, value in (("old", 1.0), ("new", 1.1))
    ]
    old, new = calibrate({"NRCA2": (2.0, 2.0)}, flat=[flats])
    if is_refused:
        with pytest.raises(ReferenceTableError, match="good pixels in only 0% of the detector, less than 50%"):
            rebase_table(table_of(point(), baseline=None), old, new)
    else:
        (row,) = rebase_table(table_of(point(), baseline=None), old, new).table.zero_points
        assert row.zero_point == pytest.approx(0.03 - change(1.0, 1.1), abs=1e-6)


@pytest.mark.parametrize(("bad", "is_refused"), [(8, False), (9, True)])
def test_blocks_of_flats_are_half_good(tmp_path, calibrate, bad, is_refused):
    """Truth: 8 or 9 bad rows in each block of 16, of which the others have a change of 10%."""
    data = np.where(np.arange(2048)[:, None] % 16 < bad, np.nan, np.ones((2048, 2048)))
    flats = [
        write_flat(tmp_path / f"{side}.fits", "NRCA2", value * data) for side, value in (("old", 1.0), ("new", 1.1))
    ]
    old, new = calibrate({"NRCA2": (2.0, 2.0)}, flat=[flats])
    if is_refused:
        with pytest.raises(ReferenceTableError, match="good pixels in only 0% of the detector"):
            rebase_table(table_of(point(), baseline=None), old, new)
    else:
        (row,) = rebase_table(table_of(point(), baseline=None), old, new).table.zero_points
        assert row.zero_point == pytest.approx(0.03 - change(1.0, 1.1), abs=1e-6)


# ---- what is refused ----


def test_all_that_does_not_fit_is_named_at_once(calibrate):
    old, new = calibrate({"NRCA1": (2.0, 2.1), "NRCA2": {"F150W": (2.0, 2.1)}, "NRCB2": (2.0, 2.1)})
    table = table_of(offset("1"), offset("2", photmjsr={"A": 2.0, "B": 1.9}))
    with pytest.raises(ReferenceTableError) as caught:
        rebase_table(table, old, new)
    for words in (
        "--from-photom has no file of NRCB1, which row (array=1",
        "--to-photom has no file of NRCB1, which row (array=1",
        "--from-photom: from_NRCA2.fits has no row of NRCA2 for row (array=2",
        "PHOTMJSR of row (array=2, filter=F200W, pupil=CLEAR) is 2, but the row was derived at 1.9",
    ):
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (table_of(point(photmjsr=2.1), baseline=None), "is 2, but the row was derived at 2.1.*the order is wrong"),
        (table_of(point(photom="to_NRCA2.fits"), baseline=None), "was derived with to_NRCA2.fits.*the order is wrong"),
        (table_of(point(), baseline=None, valid_for=Validity(photom=("to_NRCA2.fits",))),
         "--from-photom is from_NRCA2.fits, but the table is valid for to_NRCA2.fits.*the order is wrong"),
        (table_of(point(photmjsr=1.7), baseline=None), "is 2, but the row was derived at 1.7"),
        (table_of(point(photom="a.fits"), baseline=None), "is from_NRCA2.fits, but zero point .* derived with a.fits"),
    ],
)  # fmt: skip
def test_files_of_another_calibration_than_that_of_the_table_are_refused(calibrate, table, words):
    old, new = calibrate({"NRCA2": (2.0, 2.1)})
    with pytest.raises(ReferenceTableError, match=words):
        rebase_table(table, old, new)


@pytest.mark.parametrize("is_photom", [False, True])
def test_each_kind_of_files_has_an_order(tmp_path, calibrate, is_photom):
    """Truth: the table names the old photom and flat files; those of one kind are exchanged."""
    flats = [write_flat(tmp_path / f"{name}.fits", "NRCA2", np.ones(FULL)) for name in ("old", "new")]
    old, new = calibrate({"NRCA2": (2.0, 2.1)}, flat=[flats[:: 1 if is_photom else -1]])
    valid = Validity(photom=("to_NRCA2.fits" if is_photom else "from_NRCA2.fits",), flat=("old.fits",))
    order = f"the new {'photom' if is_photom else 'flat'} files are those of the table: the order is wrong"
    with pytest.raises(ReferenceTableError, match=order):
        rebase_table(table_of(point(), baseline=None, valid_for=valid), old, new)


@pytest.mark.parametrize("loss", [np.nan, 1.0])
def test_a_correction_for_time_that_gives_no_positive_photmjsr_is_refused(calibrate, loss):
    """A loss that is not a number, and one of 100% a year, which leaves no throughput after two years."""
    old, new = calibrate({"NRCA2": (2.0, 2.1)}, new_times={"timecoeff_linear": (loss,)})
    with pytest.raises(
        ReferenceTableError, match="to_NRCA2.fits: PHOTMJSR of NRCA2, .* must be positive, got (nan|-2.1)"
    ):
        rebase_table(table_of(point(), baseline=None), old, new, date="2024-04-30")


@pytest.mark.parametrize("date", ["yesterday", "2026-13-01", "2026-03-01T00:00:00+02:00"])
def test_a_date_that_is_none_is_refused(calibrate, date):
    with pytest.raises(
        ReferenceTableError, match=re.escape(f"--date must be an ISO date such as 2026-03-01, got {date}")
    ):
        rebase_table(table_of(point(), baseline=None), *calibrate({"NRCA2": (2.0, 2.1)}), date=date)


def test_one_name_with_two_contents_is_refused(tmp_path):
    paths = []
    for folder, value in (("old", 2.0), ("new", 2.1), ("same", 2.0)):
        (tmp_path / folder).mkdir()
        paths.append(tmp_path / folder / "jwst_nircam_photom_0155.fits")
        write_photom(paths[-1], "NRCA2", {"F200W": value})
    shutil.copyfile(paths[0], paths[2])
    (tmp_path / "flats").mkdir()
    flat = write_flat(tmp_path / "flats" / paths[0].name, "NRCA2", np.ones(FULL))  # of another kind: no matter
    old, new, same = (
        read_calibration(side, photom=[path]) for side, path in zip(("from", "to", "to"), paths, strict=True)
    )
    with pytest.raises(ReferenceTableError, match="have one name and different contents"):
        rebase_table(table_of(point(), baseline=None), old, new)
    old, same = (
        read_calibration(side, photom=[path], flat=[flat]) for side, path in (("from", paths[0]), ("to", paths[2]))
    )
    rebase_table(table_of(point(), baseline=None), old, same)


def test_two_files_of_one_detector_and_files_that_are_none_are_refused(tmp_path, calibrate):
    old, new = calibrate({"NRCA2": (2.0, 2.1)})
    twice = read_calibration("to", photom=[old.files[0].path, new.files[0].path, tmp_path / "no.fits"])
    with pytest.raises(ReferenceTableError) as caught:
        rebase_table(table_of(point(), baseline=None), old, twice)
    assert "--to-photom: from_NRCA2.fits and to_NRCA2.fits are of one detector, NRCA2; give one of them" in str(
        caught.value
    )
    assert "no.fits: cannot be read as a photom file of NIRCam imaging: no such file" in str(caught.value)


def test_a_row_is_not_left_out_because_the_first_of_two_files_lacks_it(tmp_path, calibrate):
    old, new = calibrate({"NRCA2": (2.0, 2.1), "NRCB2": (2.0, 2.1)})
    other = write_photom(tmp_path / "other.fits", "NRCA2", {"F150W": 3.0})
    twice = read_calibration("from", photom=[other, *(file.path for file in old.files)])
    with pytest.raises(ReferenceTableError, match=r"other.fits and from_NRCA2.fits are of one detector, NRCA2"):
        rebase_table(table_of(point(), point("NRCB2", -0.03), baseline="mean"), twice, new, drop_missing=True)


def test_another_pixar_sr_needs_the_area_files(tmp_path):
    files = [
        write_photom(tmp_path / f"{n}.fits", "NRCA2", {"F200W": 2.0}, pixar=PIXAR_SR * (1 + 0.01 * n)) for n in (0, 1)
    ]
    areas = [
        write_area(tmp_path / f"area{n}.fits", "NRCA2", np.ones(FULL), pixar=PIXAR_SR * (1 + 0.01 * n)) for n in (0, 1)
    ]
    table = table_of(point(), baseline=None)
    with pytest.raises(
        ReferenceTableError, match=r"PIXAR_SR of the photom files of NRCA2 differs \(-10.8 mmag\).*--from-area"
    ):
        rebase_table(table, read_calibration("from", photom=files[:1]), read_calibration("to", photom=files[1:]))
    old, new = (read_calibration(side, photom=[files[n]], area=[areas[n]]) for n, side in enumerate(("from", "to")))
    (row,) = rebase_table(table, old, new).table.zero_points
    assert row.zero_point == pytest.approx(0.03 + change(1, 1.01), abs=1e-6)


# ---- the command, and the real values of PHOTMJSR ----


def test_the_command_carries_a_table_and_says_what_is_no_longer_needed(modfix, tmp_path, calibrate):
    """Truth: -50 mmag, of which 2.5 log10(2.1 / 2.0055) = 49.97 are in the new photom file of module A."""
    calibrate({"NRCA2": (2.1, 2.0055), "NRCB2": (2.0, 2.0)})
    table_of(offset(photmjsr={"A": 2.1, "B": 2.0})).write("t.asdf")
    words = ["--from-photom", "from_NRCA2.fits", "from_NRCB2.fits", "--to-photom", "to_NRCA2.fits", "to_NRCB2.fits"]
    output = modfix("rebase", "t.asdf", *words, "-o", "new.asdf", "--context", "jwst_1568.pmap")
    assert "-50.00 ± 1.00" in output
    assert "within its error of 0: no longer needed" in output
    table = OffsetTable.read("new.asdf")
    assert (table.valid_for.context_first, table.valid_for.photom) == (
        "jwst_1568.pmap",
        ("to_NRCA2.fits", "to_NRCB2.fits"),
    )
    assert (
        "carried to another calibration, from from_NRCA2.fits, from_NRCB2.fits to to_NRCA2.fits"
        in table.meta["history"][-1]
    )
    assert "exists already" in modfix("rebase", "t.asdf", *words, "-o", "new.asdf", status=1)
    swapped = [word.replace("from_", "x_").replace("to_", "from_").replace("x_", "to_") for word in words]
    assert "the order is wrong" in modfix("rebase", "t.asdf", *swapped, "-o", "other.asdf", status=1)
    assert not Path("other.asdf").exists()


def test_folders_of_files_are_read(modfix, tmp_path, calibrate):
    """Of the files in a folder, those of the kind are taken: the flat is not read as a photom file."""
    calibrate({"NRCA2": (2.1, 2.0), "NRCB2": (2.0, 2.0)})
    for side in ("from", "to"):
        Path(side).mkdir()
        for path in tmp_path.glob(f"{side}_*.fits"):
            path.rename(tmp_path / side / path.name)
        write_flat(tmp_path / side / "flat.fits", "NRCA2", np.ones((8, 8)))
    table_of(offset()).write("t.asdf")
    modfix("rebase", "t.asdf", "--from-photom", "from", "--to-photom", "to", "-o", "new.asdf")
    assert OffsetTable.read("new.asdf").rows[0].offset == pytest.approx(-0.05 + change(2.1, 2.0), abs=1e-6)


def test_most_of_table_2_is_in_the_photom_files_of_2026(modfix):
    """Truth: the numbers of the issue that asked for it, from public values of PHOTMJSR of 2023 and 2026."""
    missing = modfix("rebase", "packaged", "--photmjsr", REAL, "-o", "new.asdf", status=1)
    assert "has no row of NRCALONG for row (array=long, filter=F356W, pupil=CLEAR)" in missing
    output = modfix("rebase", "packaged", "--photmjsr", REAL, "--drop-missing", "-o", "new.asdf")
    before, after = OffsetTable.read("packaged"), OffsetTable.read("new.asdf")
    keys = [(array, name) for name in ("F150W", "F200W") for array in "1234"]
    old, new = (1e3 * np.array([table.row(*key).offset for key in keys]) for table in (before, after))
    assert new[:4] == pytest.approx([-1.3, -8.7, +5.2, -28.1], abs=0.06)
    assert new[4:] == pytest.approx([+4.9, -3.8, -4.6, -9.5], abs=0.06)
    assert np.corrcoef(old, new - old)[0, 1] == pytest.approx(-0.960, abs=5e-4)
    assert np.sqrt(np.mean(old**2)) == pytest.approx(33.9, abs=0.05)
    assert np.sqrt(np.mean(new**2)) == pytest.approx(11.4, abs=0.05)
    assert output.count("no longer needed") == 1
    assert "does not say at which PHOTMJSR it was derived" in " ".join(output.split())


def test_a_list_may_name_subarrays(modfix):
    """Truth: FULL, where the cell is empty, and SUB160 change by ratios of their own. A mark of UTF-8 is no text."""
    rows = [
        "\ufeffdetector,filter,pupil,subarray,from,to",
        "NRCA2,F200W,CLEAR,,2,2.1",
        "NRCA2,F200W,CLEAR,SUB160,2,2.2",
    ]
    Path("list.csv").write_text("\r\n".join(rows))
    table_of(point(), point(value=0.01, subarray="SUB160"), baseline=None).write("t.asdf")
    modfix("rebase", "t.asdf", "--photmjsr", "list.csv", "-o", "new.asdf")
    found = [row.zero_point for row in OffsetTable.read("new.asdf").zero_points]
    assert found == pytest.approx([0.03 + change(2, 2.1), 0.01 + change(2, 2.2)], abs=1e-6)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("detector,filter,pupil,from\nNRCA2,F200W,CLEAR,2.0\n", "has no column to"),
        ("detector,filter,pupil,from,to\nNRCA6,F200W,CLEAR,2.0,2.0\n", "row 1: detector must be one of"),
        (
            "detector,filter,pupil,from,to\nNRCA2,F200W,CLEAR,-2.0,2.0\n",
            "row 1: from must be a positive number, got -2.0",
        ),
        ("detector;filter;pupil;from;to\nNRCA2;F200W;CLEAR;2,0;2,1\n", "columns must be separated by commas, got"),
        ("detector,filter,pupil,from,to\n", "list.csv: has no rows"),
        ("detector,filter,pupil,from,to\nNRCA2,F200W,CLEAR,2,x\n", "row 1: to must be a positive number, got x"),
        (
            "detector,filter,pupil,from,to\n" + "NRCA2,F200W,CLEAR,2,2\n" * 2,
            "row 2: NRCA2, filter=F200W, pupil=CLEAR has",
        ),
    ],
)
def test_a_list_of_photmjsr_is_refused_by_its_row(modfix, text, words):
    Path("list.csv").write_text(text)
    assert words in modfix("rebase", "packaged", "--photmjsr", "list.csv", "-o", "new.asdf", status=1)
    assert not Path("new.asdf").exists()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("pipe", "pipe: is not a regular file"),
        ("https://example.org/list.csv", "is a URL; download the file and give the copy"),
        ("none.csv", "none.csv: cannot be read: No such file or directory"),
    ],
)
def test_a_list_of_photmjsr_that_is_no_file_is_refused(modfix, tmp_path, name, words):
    """A pipe would hang, and a URL ask the network."""
    os.mkfifo(tmp_path / "pipe")
    assert words in modfix("rebase", "packaged", "--photmjsr", name, "-o", "new.asdf", status=1)
