"""Photom, flat and area files of CRDS: what is read from them, and tables exported into them."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from derivation_of_magnitudes import DRIFT, derive, simulate_photometry
from reference_files import T0, run_flat, run_photom, write_area, write_flat, write_photom

from jwst_modfix import ModuleOffsetStep
from jwst_modfix.derivation.provenance import make_model
from jwst_modfix.errors import ReferenceTableError
from jwst_modfix.table.calibration import find_drifts, read_reference
from jwst_modfix.table.table import Field, OffsetRow, OffsetTable, Validity, ZeroPointRow

LINEAR = {"timecoeff_linear": (0.02,)}
EXPONENTIAL = {"timecoeff_exponential": (0.03, 400.0, 0.97)}
POWERLAW = {"timecoeff_powerlaw": (0.96, 50.0, -0.02)}


@pytest.fixture
def rate(small_exposure):
    """Make a count rate [DN/s], with the time of its exposure: ``rate(detector, filter)``."""

    def make(detector="NRCA2", filter="F200W", mjd=T0 + 500, subarray="FULL"):
        model = small_exposure(detector, filter)
        model.meta.exposure.mid_time, model.meta.subarray.name = mjd, subarray
        model.meta.bunit_data = "DN/s"
        return model

    return make


@pytest.fixture
def area(tmp_path):
    return write_area(tmp_path / "area.fits", "NRCA2", np.ones((2048, 2048)))


@pytest.mark.parametrize("times", [{}, LINEAR, EXPONENTIAL, POWERLAW, LINEAR | EXPONENTIAL | POWERLAW])
@pytest.mark.parametrize("subarray", ["FULL", "SUB160"])
def test_photmjsr_at_a_date_is_that_of_the_photom_step(rate, area, tmp_path, times, subarray):
    values = {("F200W", "CLEAR", "FULL"): 2.1, ("F200W", "CLEAR", "SUB160"): 1.9, ("F150W", "CLEAR", "FULL"): 3.0}
    path = write_photom(tmp_path / "p.fits", "NRCA2", values, times=times)
    truth = run_photom(rate(subarray=subarray), path, area).meta.photometry.conversion_megajanskys
    photom = read_reference(path, "photom")
    assert photom.find("F200W", "CLEAR", subarray).at(T0 + 500) == pytest.approx(truth, rel=1e-6)
    assert bool(times) == (abs(truth / values["F200W", "CLEAR", subarray] - 1) > 1e-3)


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-2880])


def without_photmjsr(path):
    with fits.open(path, mode="update") as hdulist:
        hdulist["PHOTOM"].columns.change_name("photmjsr", "photmj")


def shorter_times(path):
    with fits.open(path, mode="update") as hdulist:
        hdulist["TIMECOEFF_LINEAR"].data = hdulist["TIMECOEFF_LINEAR"].data[:1]


def two_tables(path):
    with fits.open(path, mode="append") as hdulist:
        hdulist.append(fits.ImageHDU(np.zeros(3), name="PHOTOM"))


def rows_twice(path):
    with fits.open(path, mode="update") as hdulist:
        hdulist["PHOTOM"].data["filter"] = "F200W"


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (cut_short, "cannot be read as a photom file of NIRCam imaging: .*bytes"),
        (lambda path: path.write_bytes(b"PK\x03\x04"), "it is a ZIP archive"),
        (lambda path: path.unlink(), "no such file"),
        (lambda path: fits.setval(path, "DETECTOR", value="GUIDER1"), "DETECTOR is GUIDER1"),
        (
            lambda path: fits.setval(path, "REFTYPE", value="FLAT"),
            "is not a photom file of NIRCam imaging: REFTYPE is FLAT",
        ),
        (without_photmjsr, "it has no column photmjsr in PHOTOM"),
        (shorter_times, "TIMECOEFF_LINEAR has 1 row, and PHOTOM has 2"),
        (two_tables, "has several extensions of one name: PHOTOM, TIMECOEFF_LINEAR, PHOTOM"),
        (rows_twice, "has several rows of filter=F200W, pupil=CLEAR"),
    ],
)
def test_a_file_that_is_no_photom_file_is_refused_by_what_it_is(tmp_path, damage, words):
    path = tmp_path / "p.fits"
    write_photom(path, "NRCA2", {"F200W": 2.1, "F150W": 3.0}, times=LINEAR)
    damage(path)
    with pytest.raises(ReferenceTableError, match=words) as caught:
        read_reference(path, "photom")
    assert str(caught.value).startswith(f"{path}: ")


# ---- export into photom files ----


def table_of(*rows, **more):
    return OffsetTable(rows=rows, meta={"description": "d"}, **more)


def point(detector="NRCA2", zero_point=0.05, filter="F200W", **more):
    return ZeroPointRow(detector=detector, filter=filter, zero_point=zero_point, zero_point_error=0.001, **more)


@pytest.fixture
def export(modfix, tmp_path):
    """Export rows into a photom file p.fits of NRCA2: ``export([row, ...], {filter: PHOTMJSR})`` gives the output."""

    def run(rows, values=None, *options, status=0, times=None):
        table_of(*rows).write("t.asdf", overwrite=True)
        path = Path(write_photom(tmp_path / "p.fits", "NRCA2", values or {"F200W": 2.0}, times=times))
        before = path.read_bytes()
        output = modfix("convert", "t.asdf", "new.fits", "--photom", "p.fits", *options, status=status)
        assert (path.read_bytes(), Path("new.fits").exists()) == (before, status == 0)
        return output

    return run


def test_the_exported_zero_point_gives_what_the_correction_gives(export, rate, area, tmp_path):
    """The stock photom step with the exported file: z = +50 mmag of the full frame and +20 mmag of SUB160."""
    values = {("F200W", "CLEAR", "FULL"): 2.0, ("F200W", "CLEAR", "SUB160"): 2.2, ("F150W", "CLEAR", "FULL"): 3.0}
    output = export([point(), point(zero_point=0.02, subarray="SUB160")], values, times=LINEAR)
    assert "z +50.00 mmag" in output
    assert "z +20.00 mmag" in output
    for subarray, z in (("FULL", 0.05), ("SUB160", 0.02)):
        stock, exported = (
            run_photom(rate(subarray=subarray), tmp_path / name, area) for name in ("p.fits", "new.fits")
        )
        np.testing.assert_allclose(exported.data, stock.data * 10 ** (0.4 * z), rtol=1e-6)
    other = run_photom(rate(filter="F150W"), "new.fits", area)
    assert other.meta.photometry.conversion_megajanskys == pytest.approx(3.0 / (1 - 0.02 * 500 / 365), rel=1e-6)


def test_the_stock_route_and_the_step_agree_on_a_zero_point(export, rate, area):
    export([point()])
    corrected = ModuleOffsetStep.call(run_photom(rate(), "p.fits", area), override_moduleoffset="t.asdf")
    assert corrected.meta.cal_step.module_offset == "COMPLETE"
    np.testing.assert_allclose(run_photom(rate(), "new.fits", area).data, corrected.data, rtol=1e-6)


@pytest.mark.parametrize(("detector", "part"), [("NRCA2", 0.5), ("NRCB2", -0.5)])
def test_both_modules_of_a_mean_baseline_are_scaled(modfix, tmp_path, detector, part):
    """Truth: half of an offset of -43 mmag in either module, with opposite signs."""
    row = OffsetRow(array="2", filter="F200W", offset=-0.043, offset_error=0.001)
    table_of(row, baseline="mean").write(tmp_path / "t.asdf")
    write_photom(tmp_path / "p.fits", detector, {"F200W": 0.5, "F150W": 0.4})
    modfix("convert", "t.asdf", "new.fits", "--photom", "p.fits")
    rows, factor = fits.getdata("new.fits"), 10 ** (0.4 * part * -0.043)
    assert rows["photmjsr"] == pytest.approx([0.5 * factor, 0.4], rel=1e-6)
    assert rows["uncertainty"] == pytest.approx([0.005 * factor, 0.004], rel=1e-6)


def test_a_field_is_left_out_of_a_photom_file_only_if_asked(export):
    row = point(field=Field(order=1, coefficients=((0.0, 0.002), (0.001,))), field_error=0.001)
    refused = export([row], status=1)
    assert "a photom file cannot carry the field of zero point (detector=NRCA2" in refused
    assert "'modfix convert --flat'" in refused
    export([row], None, "--drop-slope")
    assert fits.getdata("new.fits")["photmjsr"] == pytest.approx(2.0 * 10**0.02, rel=1e-6)


@pytest.mark.parametrize("kind", ["offset", "zero point"])
def test_a_value_that_is_partly_in_the_file_is_refused_with_the_size_of_that_part(export, kind):
    """Truth: derived at 2.100, and 2.5 log10(2.100 / 2.026) = 38.95 mmag of it are in a file that has 2.026."""
    row = OffsetRow(array="2", filter="F200W", offset=-0.05, offset_error=0.001, photmjsr={"A": 2.1, "B": 2.0})
    row = row if kind == "offset" else point(photmjsr=2.1)
    refused = export([row], {"F200W": 2.026}, status=1)
    assert f"is 2.026, but the row was derived at 2.1 ({2500 * np.log10(2.1 / 2.026):+.1f} mmag)" in refused
    assert "'modfix rebase'" in refused
    export([row], {"F200W": 2.1})


@pytest.mark.parametrize(("date", "is_refused"), [("2022-05-02", False), ("2024-05-01", True)])
def test_photmjsr_is_compared_at_the_date_of_the_row(export, date, is_refused):
    """Truth: 2.0 at MJD 59700 (2022-05-01), and 2.0 / (1 - 0.02 * 731 / 365) = 2.0835 two years later."""
    output = export([point(photmjsr=2.0, photmjsr_date=date)], times=LINEAR, status=int(is_refused))
    assert ("is 2.08345, but the row was derived at 2" in output) == is_refused


def test_all_rows_that_do_not_fit_are_named_at_once(export):
    rows = [point(photmjsr=2.1), point(filter="F150W", photmjsr=3.1)]
    refused = export(rows, {"F200W": 2.0, "F150W": 3.0}, status=1)
    assert "filter=F200W" in refused
    assert "filter=F150W" in refused


# ---- export into flat files ----

FIELD = Field(order=2, coefficients=((0.0, 0.004, -0.002), (0.003, 0.005), (-0.006,)))
SUBARRAY = (701, 401, 64, 48)


@pytest.fixture
def flat(tmp_path):
    """Write a flat of the full frame with noise, errors and bad pixels: ``flat(detector, filter)``."""

    def write(detector="NRCA2", filter="F200W", name="flat.fits", **more):
        rng = np.random.default_rng(5)
        data = rng.normal(1.0, 0.02, (2048, 2048))
        dq = np.zeros(data.shape, np.uint32)
        dq[rng.random(data.shape) < 0.01] = 1
        data[rng.random(data.shape) < 0.01] = np.nan
        return write_flat(
            tmp_path / name, detector, data, band=(filter, "CLEAR"), dq=dq, err=0.01 * np.ones(data.shape), **more
        )

    return write


def before_flat(model):
    """Make an exposure before the flat step, in the units that the table needs."""
    for name in ("var_poisson", "var_rnoise"):
        setattr(model, name, np.abs(model.data) * 0.01 + 1e-4)
    return model


@pytest.mark.parametrize("field", [None, FIELD])
def test_an_exported_flat_gives_what_the_correction_gives(modfix, small_exposure, tmp_path, flat, field):
    """The stock flat step with the exported flat; truth: 10**(0.4 (z + F)) at each full-frame pixel."""
    table_of(point(field=field), baseline=None).write("t.asdf")
    before = Path(flat()).read_bytes()
    modfix("convert", "t.asdf", "new.fits", "--flat", "flat.fits")
    assert Path("flat.fits").read_bytes() == before
    assert "already contains module offsets" in modfix("convert", "t.asdf", "x.fits", "--flat", "new.fits", status=1)
    model = before_flat(small_exposure("NRCA2", "F200W"))
    stock, exported = run_flat(model, "flat.fits"), run_flat(model, "new.fits")
    y, x = np.mgrid[400:448, 700:764]
    factor = 10 ** (0.4 * (0.05 + (np.zeros(x.shape) if field is None else field.evaluate(x, y))))
    good = np.isfinite(stock.data)
    assert 0.9 < good.mean() < 1
    np.testing.assert_array_equal(np.isfinite(exported.data), good)
    for name, power in (("data", 1), ("err", 1), ("var_poisson", 2), ("var_rnoise", 2), ("var_flat", 2)):
        truth = getattr(stock, name)[good] * factor[good] ** power
        np.testing.assert_allclose(getattr(exported, name)[good], truth, rtol=1e-6)


def test_an_exported_flat_is_divided_in_double_precision(modfix, flat):
    """Single precision would be off by one in the last digit of most pixels."""
    table_of(point(), baseline=None).write("t.asdf")
    pixels = fits.getdata(flat(), "SCI").astype(float)
    modfix("convert", "t.asdf", "new.fits", "--flat", "flat.fits")
    np.testing.assert_array_equal(fits.getdata("new.fits", "SCI"), (pixels / 10 ** (0.4 * 0.05)).astype("f4"))


def test_the_flat_of_a_subarray_has_its_part_of_the_field(modfix, tmp_path):
    """Truth: the flat is 1, and the field at the full-frame pixels of the subarray."""
    table_of(point(field=FIELD), baseline=None).write("t.asdf")
    write_flat(tmp_path / "flat.fits", "NRCA2", np.ones((48, 64)), corner=SUBARRAY[:2])
    modfix("convert", "t.asdf", "new.fits", "--flat", "flat.fits")
    y, x = np.mgrid[400:448, 700:764]
    np.testing.assert_allclose(fits.getdata("new.fits", "SCI"), 10 ** (-0.4 * (0.05 + FIELD.evaluate(x, y))), rtol=1e-6)


def test_an_exported_flat_carries_a_slope_by_the_wcs_of_an_exposure(modfix, small_exposure, tmp_path):
    """The stock flat step with the exported flat, and with the original and then ours: Table 2, F444W."""
    model = before_flat(small_exposure("NRCALONG", "F444W"))
    rng = np.random.default_rng(6)
    write_flat(
        tmp_path / "flat.fits",
        "NRCALONG",
        rng.normal(1.0, 0.02, (48, 64)),
        band=("F444W", "CLEAR"),
        corner=SUBARRAY[:2],
    )
    model.save("x_cal.fits")
    assert "needs a WCS; give an exposure of NRCALONG by --wcs" in modfix(
        "convert", "packaged", "new.fits", "--flat", "flat.fits", status=1
    )
    modfix("convert", "packaged", "new.fits", "--flat", "flat.fits", "--wcs", "x_cal.fits")
    stock = run_flat(model, "flat.fits")
    corrected = ModuleOffsetStep.call(stock)
    assert corrected.meta.cal_step.module_offset == "COMPLETE"
    np.testing.assert_allclose(run_flat(model, "new.fits").data, corrected.data, rtol=1e-6)
    factor = (corrected.data / stock.data)[np.isfinite(stock.data)]
    assert np.ptp(factor) > 1e-5, "the slope is in"
    table = OffsetTable.read()
    sky = dataclasses.replace(table.gradient, frame="sky", origin=(10.0, 20.0))
    dataclasses.replace(table, gradient=sky).write("sky.asdf")
    assert "a flat is fixed to the detector and the slope of" in modfix(
        "convert", "sky.asdf", "sky.fits", "--flat", "flat.fits", "--wcs", "x_cal.fits", status=1
    ), "it would be right for the pointing of that exposure only"


@pytest.mark.parametrize(
    ("table", "change", "words"),
    [
        (table_of(point("NRCA1")), {}, "has no row for NRCA2, F200W"),
        (table_of(point(filter="F150W")), {}, "has no row for NRCA2, F200W"),
        (table_of(point(), valid_for=Validity(flat=("other.fits",))), {}, "is valid for other.fits; carry it"),
        (table_of(point()), {"filter": "ANY"}, "must be of one filter and pupil, got FILTER ANY"),
    ],
)
def test_a_flat_that_a_table_is_not_for_is_refused(modfix, flat, table, change, words):
    dataclasses.replace(table, baseline=None).write("t.asdf")
    assert words in modfix("convert", "t.asdf", "new.fits", "--flat", flat(**change), status=1)


def test_all_detectors_are_exported_into_a_folder_or_none(modfix, tmp_path):
    table_of(*(point(name, z) for name, z in (("NRCA1", 0.03), ("NRCB4", -0.02))), baseline=None).write("t.asdf")
    names = [write_photom(tmp_path / f"p_{detector}.fits", detector, {"F200W": 2.0}) for detector in ("NRCA1", "NRCB4")]
    modfix("convert", "t.asdf", "new", "--photom", *names)
    for detector, z in (("NRCA1", 0.03), ("NRCB4", -0.02)):
        found = fits.getdata(f"new/p_{detector}_modfix.fits")["photmjsr"]
        assert found == pytest.approx(2.0 * 10 ** (0.4 * z), rel=1e-6)
    others = [
        write_photom(tmp_path / f"q_{detector}.fits", detector, {"F150W": 2.0}) for detector in ("NRCA1", "NRCB4")
    ]
    refused = modfix("convert", "t.asdf", "other", "--photom", names[0], *others, status=1)
    assert "q_NRCA1.fits: t.asdf has no row for NRCA1" in refused
    assert "q_NRCB4.fits: t.asdf has no row for NRCB4" in refused
    assert not Path("other").exists()


@pytest.mark.parametrize("kind", ["photom", "flat"])
def test_an_exposure_of_an_exported_file_is_not_corrected_again(small_exposure, kind):
    model = small_exposure("NRCA2", "F200W")
    getattr(model.meta.ref_file, kind).name = f"/a/jwst_nircam_{kind}_0155_modfix.fits"
    result = ModuleOffsetStep.call(model)
    assert result.meta.cal_step.module_offset == "SKIPPED"
    np.testing.assert_array_equal(result.data, model.data)


# ---- export of a drift ----


def table_with_epochs(times, terms, covariance):
    """Make a table with the epoch terms of a derivation in F200W [mag]; the first epoch's is 0."""
    epochs = [{"number": n, "name": f"e{n}", "first_mjd": t - 0.5, "last_mjd": t + 0.5} for n, t in enumerate(times)]
    names = ["offset[2]", *(f"epoch[{n}]" for n in range(1, len(times)))]
    covariance = np.pad(covariance, (1, 0), constant_values=1e-6).tolist()
    band = {"filter": "F200W", "pupil": "CLEAR", "terms": names, "values": [0.05, *terms], "covariance": covariance}
    return OffsetTable(rows=(OffsetRow(array="2", filter="F200W", offset=0.05, offset_error=0.001),),
                       meta={"description": "d", "derivation": {"epochs": epochs, "bands": [band]}})  # fmt: skip


@pytest.mark.parametrize("own", [{}, LINEAR, POWERLAW])
def test_a_drift_is_taken_out_by_the_stock_photom_step(modfix, rate, area, tmp_path, own):
    """Truth: throughput falls by 1% a year of 365 days from the first epoch on, beside what the file has.

    Its error is 0.921e-3 / sqrt(0.548**2 + 2**2) of two epochs with 1 mmag each.
    """
    times = T0 + np.array([0.0, 200.0, 730.0])
    terms = -2.5 * np.log10(1 - 0.01 * (times[1:] - T0) / 365)
    table_with_epochs(times, terms, 1e-6 * np.eye(2)).write("t.asdf")
    write_photom(tmp_path / "p.fits", "NRCA2", {"F150W": 3.0, "F200W": 2.0}, times=own)
    output = modfix("convert", "t.asdf", "new.fits", "--timecoeff", "p.fits")
    assert "F200W: loss of +1.000 ± 0.044 % a year" in output
    for mjd in (*times, T0 + 1000):
        stock, exported = (run_photom(rate(mjd=mjd), name, area).data for name in ("p.fits", "new.fits"))
        truth = stock / (1 - 0.01 * (mjd - T0) / 365)
        # Two linear losses are joined to one: their product is left out, 0.02 * 0.01 * (1000 / 365)**2 of the flux.
        np.testing.assert_allclose(exported, truth, rtol=2e-3 if own == LINEAR else 2e-6)
    others = [run_photom(rate(filter="F150W"), name, area).data for name in ("p.fits", "new.fits")]
    np.testing.assert_allclose(*others, rtol=1e-6)
    assert "already contains a drift" in modfix("convert", "t.asdf", "x.fits", "--timecoeff", "new.fits", status=1)
    modfix("convert", "t.asdf", "both.fits", "--photom", "new.fits")


def test_a_drift_has_its_slope_beside_the_loss_of_former_years(modfix, tmp_path):
    """Truth: the file's own loss times that of 1% a year; in 10 days the product that is left out is 1e-7."""
    times = T0 + 5 * 365 + np.array([0.0, 200.0, 730.0])
    terms = -2.5 * np.log10(1 - 0.01 * (times[1:] - times[0]) / 365)
    table_with_epochs(times, terms, 1e-6 * np.eye(2)).write("t.asdf")
    write_photom(tmp_path / "p.fits", "NRCA2", {"F200W": 2.0}, times=LINEAR)
    modfix("convert", "t.asdf", "new.fits", "--timecoeff", "p.fits")
    for days in (0, 10):
        stock, exported = (
            read_reference(name, "photom").find("F200W", "CLEAR").at(times[0] + days) for name in ("p.fits", "new.fits")
        )
        assert exported == pytest.approx(stock / (1 - 0.01 * days / 365), rel=2e-6)


def test_the_drift_is_weighted_by_the_covariance_of_the_epochs(modfix, tmp_path):
    """Truth: two epochs a year later, 10 and 20 mmag, whose errors are 1 and 3 mmag: (10 * 9 + 20) / 10 = 11 mmag."""
    table_with_epochs([T0, T0 + 365, T0 + 365], [0.010, 0.020], np.diag([1e-6, 9e-6])).write("t.asdf")
    write_photom(tmp_path / "p.fits", "NRCA2", {"F200W": 2.0})
    output = modfix("convert", "t.asdf", "new.fits", "--timecoeff", "p.fits")
    losses = 1 - 10 ** (-0.4 * np.array([0.010, 0.020]))
    assert f"loss of {100 * (9 * losses[0] + losses[1]) / 10:+.3f} ± {100 * 0.921 * 9e-7**0.5:.3f} %" in output


def test_the_epoch_terms_of_a_derivation_are_found(drifting, modfix, tmp_path):
    """Truth: the second of the three simulated epochs measures everything 6 mmag faint, and the third nothing."""
    made, headers, epochs = drifting
    make_model(derive(made, headers, epochs)).save("t.asdf")
    table = OffsetTable.read("t.asdf")
    drifts = find_drifts(table)
    assert set(drifts) == {row.band for row in table.rows}
    start = [np.mean([h.mjd for h, n in zip(headers, epochs.number, strict=True) if n == k]) for k in range(3)]
    for band in table.meta["derivation"]["bands"]:
        terms = dict(zip(band["terms"], band["values"], strict=True))
        assert terms["epoch[1]"] == pytest.approx(DRIFT, abs=0.003)
        assert terms["epoch[2]"] == pytest.approx(0.0, abs=0.003)
    assert all(drift.t0 == pytest.approx(start[0], abs=0.5) for drift in drifts.values())


# ---- derivations across a photom file that corrects for time ----


@pytest.fixture(scope="module")
def drifting():
    """Measurements whose PHOTMJSR grows by 1% a year, and by 1e-9 of itself between dithers."""
    made, headers, epochs = simulate_photometry()
    start = min(header.mjd for header in headers)
    headers = [
        dataclasses.replace(h, photmjsr=h.photmjsr * (1 + 0.01 * (h.mjd - start) / 365 + 1e-9 * (number % 2)))
        for number, h in enumerate(headers)
    ]
    return made, headers, epochs


# ---- reference files that copies cannot be made of ----


def set_column(path, name, values):
    """Put other values, of any type, in the place of a column of the only row of a photom file."""
    with fits.open(path) as hdulist:
        table = Table(np.array(hdulist["PHOTOM"].data))
        table[name] = values
        hdulist["PHOTOM"] = fits.BinTableHDU(table, name="PHOTOM")
        hdulist.writeto(path, overwrite=True)


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("photmjsr", np.array([2], np.int32), "must be one floating number in a row, not scaled: photmjsr is >i4"),
        ("uncertainty", np.array([1], np.int16), "uncertainty is >i2"),
        ("photmjsr", np.array([[2.0, 2.0]], np.float32), "must be one floating number in a row"),
        ("photmjsr", np.array(["2.0"]), "must be one floating number in a row"),
        ("photmjsr", np.array([np.nan], np.float32), "PHOTMJSR must be positive: filter=F200W, pupil=CLEAR has nan"),
        ("photmjsr", np.array([0.0], np.float32), "PHOTMJSR must be positive: filter=F200W, pupil=CLEAR has 0"),
        ("photmjsr", np.array([-2.0], np.float32), "PHOTMJSR must be positive: filter=F200W, pupil=CLEAR has -2"),
    ],
)
def test_a_column_that_cannot_take_the_factor_is_refused(modfix, tmp_path, name, values, words):
    """2 times 1.028 is 2 where whole numbers are stored."""
    write_photom(tmp_path / "p.fits", "NRCA2", {"F200W": 2.0})
    set_column(tmp_path / "p.fits", name, values)
    table_of(point(zero_point=0.03)).write("t.asdf")
    assert words in modfix("convert", "t.asdf", "new.fits", "--photom", "p.fits", status=1)
    assert not (tmp_path / "new.fits").exists()


@pytest.mark.parametrize(("has_subarrays", "status"), [(False, 1), (True, 0)])
def test_a_row_of_a_subarray_is_not_lost_in_a_file_that_has_one_row_for_all(export, has_subarrays, status):
    values = {("F200W", "CLEAR", "FULL"): 2.0, ("F200W", "CLEAR", "SUB160"): 2.0} if has_subarrays else {"F200W": 2.0}
    output = export([point(), point(zero_point=0.06, subarray="SUB160")], values, status=status)
    words = "has one row for all subarrays and cannot carry zero point (detector=NRCA2, filter=F200W, pupil=CLEAR, sub"
    assert (words in output) == (status == 1)


def test_a_photom_file_that_the_row_does_not_name_is_refused(export):
    output = export([point(photom="other.fits")], status=1)
    assert "zero point (detector=NRCA2, filter=F200W, pupil=CLEAR) was derived with other.fits" in output


@pytest.mark.parametrize(
    ("times", "date", "found"),
    [
        (POWERLAW, "2000-01-01", "nan"),  # a negative number to a broken power
        ({"timecoeff_linear": (0.5,)}, "2030-01-01", "-"),
    ],
)
def test_a_date_at_which_a_loss_is_not_defined_is_refused(export, times, date, found):
    output = export([point(photmjsr=2.0, photmjsr_date=date)], times=times, status=1)
    assert f"pupil=CLEAR) is {found}" in output
    assert "but the row was derived at 2" in output


@pytest.mark.parametrize(
    ("derivation", "words"),
    [
        ({"epochs": "two", "bands": [{}]}, "meta.derivation has no epochs and bands of a derivation"),
        ({"epochs": [{"number": 0}], "bands": []}, "meta.derivation has no epochs and bands of a derivation"),
        ({"covariance": [[0.0]]}, "meta.derivation has no epochs and bands of a derivation"),
        ({"covariance": [[-1e-6]]}, "has no epoch terms; derive it from two or more epochs"),
        ({"values": None}, "meta.derivation has no epochs and bands of a derivation"),
        ({"dates": (T0, T0)}, "has no epoch terms; derive it from two or more epochs"),
        ({"epochs": [], "bands": []}, "has no epoch terms; derive it from two or more epochs"),
    ],
)
def test_a_derivation_that_was_edited_gives_no_drift(modfix, tmp_path, derivation, words):
    """Without a covariance, or with both epochs on one day, no loss a year follows."""
    dates = derivation.pop("dates", (T0, T0 + 365))
    epochs = [{"number": k, "first_mjd": day, "last_mjd": day} for k, day in enumerate(dates)]
    band = {"filter": "F200W", "pupil": "CLEAR", "terms": ["epoch[1]"], "values": [0.01], "covariance": [[1e-6]]}
    band = {name: value for name, value in (band | derivation).items() if value is not None}
    made = derivation if "epochs" in derivation else {"epochs": epochs, "bands": [band]}
    meta = {"description": "t", "derivation": made}
    OffsetTable(rows=(point(),), baseline=None, meta=meta).write("t.asdf")
    write_photom(tmp_path / "p.fits", "NRCA2", {"F200W": 2.0})
    assert words in modfix("convert", "t.asdf", "new.fits", "--timecoeff", "p.fits", status=1)
    assert not (tmp_path / "new.fits").exists()


@pytest.mark.parametrize("change", [{"SUBSIZE1": 2048, "SUBSIZE2": 2048}, {"SUBSTRT1": None}])
def test_a_cut_out_of_a_flat_whose_place_is_not_known_is_refused(modfix, tmp_path, change):
    """A field would be evaluated at the wrong pixels."""
    write_flat(tmp_path / "f.fits", "NRCA2", np.ones((64, 48)), corner=(701, 401))
    with fits.open(tmp_path / "f.fits", mode="update") as hdulist:
        for name, value in change.items():
            if value is None:
                del hdulist[0].header[name]
            else:
                hdulist[0].header[name] = value
    field = Field(order=1, coefficients=((0.0, 0.01), (0.02,)))
    table_of(point(field=field)).write("t.asdf")
    output = modfix("convert", "t.asdf", "new.fits", "--flat", "f.fits", status=1)
    assert "f.fits: SCI has shape (64, 48), but" in output
    assert "its place on the detector is not known" in output
