"""Truth: offsets, gradients and epoch terms of simulated exposures, drawn at random, recovered by the step."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from crowded_field import CROWD, SUBARRAY

from jwst_modfix import ModuleOffsetDeriveStep, ModuleOffsetStep, simulate
from jwst_modfix.errors import NoSolutionError
from jwst_modfix.table.table import OffsetRow, OffsetTable

EPOCHS = simulate.JWIDF_EPOCHS
VARIED = replace(CROWD, density=250.0, brightest=20.5, variable_fraction=0.05, variable_amplitude=0.3)


def make(folder, exposures, seed, *, terms=None, slope=None, **options):
    """Simulate exposures of one array and filter with an offset that is drawn; gives the data and the truth."""
    first, rng = exposures[0], simulate.random_stream(seed, "truth")
    offset = rng.choice([-1, 1]) * rng.uniform(0.02, 0.05)
    error = None if slope is None else 0.0
    row = OffsetRow(array=first.geometry.array, filter=first.band.filter, offset=offset, offset_error=0.0,
                    slope=slope, slope_error=error)  # fmt: skip
    table = OffsetTable(rows=(row,), gradient=simulate.MA2023_TABLE.gradient, name="drawn")
    truth = simulate.CalibrationTruth(table=table, epoch_terms=terms or {})
    return simulate.simulate_dataset(folder, exposures, seed, truth=truth, **options), row


def derive(paths_or_association, **options):
    """Run the step; gives the term values and errors, and the whole description, of its first band."""
    model = ModuleOffsetDeriveStep.call(paths_or_association, **options)
    band = model.meta.derivation.instance["bands"][0]
    errors = np.sqrt(np.diag(band["covariance"]))
    return dict(zip(band["terms"], zip(band["values"], errors, strict=True), strict=True)), model


def assert_recovered(found, truth, largest_error):
    """Each term within 3 sigma of its truth, with an error that means something."""
    for name, expected in truth.items():
        value, error = found[name]
        assert error < largest_error[name.partition("[")[0]], name
        assert value == pytest.approx(expected, abs=3 * error), name


@pytest.fixture(scope="module")
def turned(tmp_path_factory):
    """Array 3 of both modules, F150W, two epochs turned by 180 deg, 5% variables, a term of 8 mmag."""
    folder = tmp_path_factory.mktemp("turned")
    exposures = simulate.plan_exposures(EPOCHS[:2], filters=["F150W"], detectors=["NRCA3", "NRCB3"], dithers=1)
    return make(folder, exposures, 31, terms={"ep2": 0.008}, population=VARIED, subarray=SUBARRAY)


def copies(data, folder):
    """Copies of the exposures, to be changed."""
    return [Path(shutil.copy(path, folder)) for path in data.exposures]


def test_offset_and_epoch_term_are_recovered_among_variables(turned):
    data, row = turned
    found, _ = derive(str(data.associations[-1]), time_term="fit")
    assert_recovered(found, {"offset[3]": row.offset, "epoch[1]": 0.008}, {"offset": 3e-3, "epoch": 3e-3})


def test_one_percent_of_catastrophic_outliers_changes_nothing(turned, tmp_path):
    """One measurement in a hundred, and at least one in each exposure, is 0.3 to 1 mag too bright: unflagged hits."""
    data, row = turned
    rng, scene = np.random.default_rng(32), Table.read(data.sources)
    paths = copies(data, tmp_path)
    for path in paths:
        strike(path, scene[scene["mag_F150W"] < 21.5], rng)
    found, _ = derive([str(path) for path in paths], time_term="fit")
    assert_recovered(found, {"offset[3]": row.offset, "epoch[1]": 0.008}, {"offset": 3e-3, "epoch": 3e-3})


def strike(path, sources, rng):
    """Add a hit beside the centre of a source, as bright as the source."""
    from stdatamodels.jwst.datamodels import ImageModel

    with ImageModel(path) as model:
        x, y = model.meta.wcs.backward_transform(sources["ra"], sources["dec"])
        inside = np.flatnonzero((np.abs(x - 500) < 480) & (np.abs(y - 500) < 480))
        for i in rng.choice(inside, max(1, inside.size // 100), replace=False):
            flux = 3631e-6 * 10 ** (-0.4 * sources["mag_F150W"][i]) / model.meta.photometry.pixelarea_steradians
            model.data[round(float(y[i])) + 2, round(float(x[i])) + 2] += rng.uniform(0.3, 1.5) * flux
        model.save(path)


def test_the_areas_of_pixels_enter_in_full(turned, tmp_path):
    """Truth: PIXAR_SR of A3 is 3% larger than that of B3 (SIAF); a file that says otherwise fakes just that offset."""
    data, row = turned
    paths = copies(data, tmp_path)
    area = {fits.getval(path, "MODULE"): fits.getval(path, "PIXAR_SR", "SCI") for path in paths}
    faked = 2.5 * np.log10(area["A"] / area["B"])
    assert faked > 0.03
    for path in paths:
        fits.setval(path, "PIXAR_SR", value=area["B"], extname="SCI")
    found, _ = derive([str(path) for path in paths], time_term="fit")
    assert_recovered(found, {"offset[3]": row.offset + faked}, {"offset": 3e-3})


def test_a_filter_that_misses_an_epoch_is_left_out_by_name_and_the_other_is_recovered(turned, tmp_path, caplog):
    """F182M is seen in one epoch, where the modules share no source: nothing ties them."""
    data, row = turned
    missing = [path.rename(path.with_stem(f"f182m_{path.stem}")) for path in copies(data, tmp_path)[:2]]
    for path in missing:
        fits.setval(path, "FILTER", value="F182M")
    _, model = derive([str(path) for path in [*data.exposures, *missing]])
    failed = {band["filter"]: band.get("failure") for band in model.meta.derivation.instance["bands"]}
    assert failed["F150W"] is None
    assert failed["F182M"], "why it is left out"
    assert f"F182M gets no row in the table: {failed['F182M']}" in caplog.text
    assert [entry.key for entry in model.table.rows] == [("3", "F150W", "CLEAR")]
    assert model.table.rows[0].offset == pytest.approx(row.offset, abs=3 * model.table.rows[0].offset_error)


@pytest.fixture(scope="module")
def one_epoch(tmp_path_factory):
    """Array 3 in one epoch; a dither as large as the distance of A3 from B3 puts one where the other was."""
    first, second = (simulate.detector_geometry(name) for name in ("NRCA3", "NRCB3"))
    step = np.subtract(first.reference, second.reference) / 2
    exposures = simulate.plan_exposures(
        EPOCHS[:1], filters=["F150W"], detectors=["NRCA3", "NRCB3"], dithers=[tuple(-step), tuple(step)]
    )
    return make(tmp_path_factory.mktemp("one"), exposures, 33, population=VARIED, subarray=SUBARRAY)


def test_dithers_that_put_one_module_where_the_other_was_are_enough(one_epoch):
    data, row = one_epoch
    found, _ = derive(str(data.associations[-1]))
    assert_recovered(found, {"offset[3]": row.offset}, {"offset": 4e-3})


def test_dithers_too_small_to_link_the_modules_are_refused(one_epoch):
    """One of the two dithers alone: the modules share no source."""
    data, _ = one_epoch
    with pytest.raises(NoSolutionError, match="no exposure of module A overlaps one of module B on the sky"):
        derive([str(path) for path in data.exposures[:2]])


@pytest.mark.slow
def test_derived_applied_and_derived_again_nothing_is_left_of_offset_and_gradient(tmp_path):
    """Full frames of both modules, F444W: drawn offset, k = -5 mmag/arcmin, a term of -6 mmag, hits by cosmic rays."""
    exposures = simulate.plan_exposures(EPOCHS[:2], filters=["F444W"], dithers=2)
    options = {"population": simulate.Population(variable_fraction=0.05, variable_amplitude=0.3)}
    options["effects"] = simulate.Effects(cosmic_rays=500)
    data, row = make(tmp_path, exposures, 34, terms={"ep2": -0.006}, slope=-0.005, **options)
    found, _ = derive(str(data.associations[-1]), save_results=True, output_dir=str(tmp_path), report=False)
    truth = {"offset[long]": row.offset, "slope[long]": row.slope, "epoch[1]": -0.006}
    assert_recovered(found, truth, {"offset": 2e-3, "slope": 1e-3, "epoch": 2e-3})
    ModuleOffsetStep.call(
        str(data.associations[-1]),
        override_moduleoffset=str(next(tmp_path.glob("*_moduleoffset.asdf"))),
        save_results=True,
        output_dir=str(tmp_path / "applied"),
    )
    again, model = derive(str(next((tmp_path / "applied").glob("*_asn.json"))))
    assert abs(again["offset[long]"][0]) <= 1e-3
    assert model.meta.derivation.instance["bands"][0]["results"][0]["verdict"] == "not needed"


def turn_by(folder, angle):
    """Two epochs of both long-wavelength modules, one exposure each, that differ in roll by an angle [deg]."""
    epochs = [EPOCHS[0], replace(EPOCHS[1], roll=EPOCHS[0].roll + angle)]
    exposures = simulate.plan_exposures(epochs, filters=["F444W"], dithers=1)
    return make(folder, exposures, 35, slope=0.005)


@pytest.mark.slow
def test_a_roll_of_184_degrees_is_as_good_as_one_of_180(tmp_path):
    data, row = turn_by(tmp_path, 184.0)
    found, _ = derive(str(data.associations[-1]))
    truth = {"offset[long]": row.offset, "slope[long]": row.slope}
    assert_recovered(found, truth, {"offset": 3e-3, "slope": 2e-3})


@pytest.mark.slow
def test_a_roll_of_94_degrees_without_dithers_is_refused_with_the_reason(tmp_path):
    """Two modules side by side, turned by a right angle about the gap between them, hardly overlap."""
    data, _ = turn_by(tmp_path, 94.0)
    with pytest.raises(NoSolutionError, match="offset of array long: constrained by only .* effective sources"):
        derive(str(data.associations[-1]))
