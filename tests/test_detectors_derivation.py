"""Derivations of zero points of detectors from simulated magnitudes: truth put in, record, table and products."""

from dataclasses import replace

import pytest
from astropy.table import vstack
from derivation_of_magnitudes import PHOTMJSR, derive, simulate_photometry

from jwst_modfix.derivation.provenance import describe_derivation, make_model
from jwst_modfix.errors import AssociationError, NoSolutionError
from jwst_modfix.steps.module_offset_derive import write_products
from jwst_modfix.table.table import OffsetRow, OffsetTable

OFFSETS = {"1": 0.015, "2": -0.05, "3": 0.014, "4": -0.03}


@pytest.fixture(scope="module")
def photometry():
    rows = [
        OffsetRow(array=array, filter="F200W", offset=offset, offset_error=0.0) for array, offset in OFFSETS.items()
    ]
    return simulate_photometry(rows, density=20.0, dithers=((0.0, 0.0), (30.0, 30.0), (-20.0, 10.0)))


@pytest.fixture(scope="module")
def derivation(photometry):
    return derive(*photometry, scale="detectors")


def test_table_has_the_zero_points_that_were_put_in(derivation):
    """Truth: module B is the baseline of what was put in, so that z_B = 0 and z_A is the offset."""
    rows = {row.detector: row for row in derivation.table.zero_points}
    assert len(rows) == 8
    assert not derivation.table.offsets
    for array, offset in OFFSETS.items():
        assert rows[f"NRCA{array}"].zero_point == pytest.approx(offset, abs=5 * rows[f"NRCA{array}"].zero_point_error)
        assert rows[f"NRCB{array}"].zero_point == pytest.approx(0.0, abs=5 * rows[f"NRCB{array}"].zero_point_error)
        assert rows[f"NRCA{array}"].photmjsr == PHOTMJSR["A"]
        assert rows[f"NRCB{array}"].photmjsr == PHOTMJSR["B"]
    assert max(row.zero_point_error for row in rows.values()) < 0.0015


def test_record_has_verdicts_of_detectors_and_terms_with_covariance(derivation):
    (band,) = describe_derivation(derivation)["bands"]
    assert [result["detector"] for result in band["detectors"]] == [r.detector for r in derivation.table.zero_points]
    assert "zero_point[NRCA1]" in band["terms"]
    assert len(band["covariance"]) == len(band["terms"])
    assert band["detector_scatter_mag"] < 0.001
    assert {residual["array"] for residual in band["reserved"]} <= {r.detector for r in derivation.table.zero_points}
    assert len(band["reserved"]) > 4
    assert max(abs(residual["sigmas"]) for residual in band["reserved"]) < 5


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("modfix_measurements.ecsv", lambda path: {"photometry": "catalog", "catalogs": (path,)}),
        ("moduleoffset.asdf", lambda path: {"compare": path}),
    ],
)
def test_an_input_is_never_overwritten(derivation, tmp_path, name, options):
    own = tmp_path / f"{derivation.product}_{name}"
    own.write_text("mine")
    options = replace(derivation.options, **options(str(own)))
    with pytest.raises(AssociationError, match=f"{name} is an input, which is never overwritten"):
        write_products(replace(derivation, options=options), make_model(derivation), tmp_path, report=False)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_products_are_written_and_read_again(derivation, tmp_path):
    """Truth: the table in the file is that of the derivation; measurements have the time of the exposure."""
    paths = write_products(derivation, make_model(derivation), tmp_path)
    assert OffsetTable.read(paths[0]).zero_points == derivation.table.zero_points
    times = derivation.measurements["time"]
    assert len(set(times.tolist())) == 9, "three epochs of three exposures, of eight detectors each"
    page = next(path for path in paths if path.suffix == ".html").read_text()
    assert "NRCA2" in page


def test_baseline_of_one_detector(photometry):
    found = derive(*photometry, scale="detectors", baseline="NRCA2").table
    rows = {row.detector: row.zero_point for row in found.zero_points}
    assert rows["NRCA2"] == 0
    assert rows["NRCB2"] == pytest.approx(0.05, abs=0.003)


def test_a_long_wavelength_has_its_gradient_as_a_field():
    """Truth: offset 10 mmag and slope 7.2 mmag/arcmin: over 2.92 arcmin between the centres A - B is 20.5 mmag."""
    row = OffsetRow(array="long", filter="F444W", offset=0.010, offset_error=0.0, slope=0.0072, slope_error=0.0)
    found = derive(*simulate_photometry([row], density=40.0), scale="detectors")
    point = next(row for row in found.table.zero_points if row.detector == "NRCALONG")
    assert point.zero_point == pytest.approx(0.0205, abs=4 * point.zero_point_error)
    assert point.zero_point_error < 0.001
    assert point.field.rms == pytest.approx(0.0022, abs=0.0006)  # 3.6 mmag/arcmin along a side of 2.15 arcmin
    assert not found.bands[0].warnings
    assert found.bands[0].sky_points["NRCALONG"][0] == pytest.approx(0.0205, abs=0.001)


def test_sky_levels_stand_beside_the_sources(derivation):
    """Truth: a sky as bright over all detectors, measured with the zero points put in."""
    (band,) = derivation.bands
    assert list(band.sky_points) == [result.detector for result in band.detectors]
    for name, (value, error) in band.sky_points.items():
        assert value == pytest.approx(OFFSETS[name[4]] if name[3] == "A" else 0.0, abs=0.001)
        assert error == pytest.approx(0.015, abs=0.001)
    (described,) = describe_derivation(derivation)["bands"]
    assert described["sky_zero_points"]["NRCA2"]["value"] == pytest.approx(-0.05, abs=0.001)


def test_a_table_of_the_sky_where_no_source_links_detectors(photometry, tmp_path):
    """Truth: sources of each detector and epoch are others, and the sky levels are those put in."""
    measured, headers, epochs = photometry
    table = measured.measurements.copy()
    table["source"] = 2 * (table["source"] * 1000 + table["exposure"]) + 1
    # Each measurement twice, so that sources are measured twice, by the same detector.
    alone = replace(measured, measurements=vstack([table, table]))
    with pytest.raises(NoSolutionError, match="no zero point can be derived"):
        derive(alone, headers, epochs, scale="detectors")
    found = derive(alone, headers, epochs, scale="detectors", method="sky")
    rows = {row.detector: row for row in found.table.zero_points}
    assert len(rows) == 8
    assert rows["NRCA2"].zero_point == pytest.approx(-0.05, abs=0.001)
    assert rows["NRCA2"].zero_point_error == pytest.approx(0.015, abs=0.001)
    verdicts = {result.detector: result for result in found.bands[0].detectors}
    assert verdicts["NRCA2"].verdict == "needed"
    assert verdicts["NRCA1"].verdict == "not determined"
    assert "from sky levels, with a floor of 15 mmag" in verdicts["NRCA1"].words
    assert "from sky levels (floor of 15 mmag)" in make_model(found).meta.description
    assert len(write_products(found, make_model(found), tmp_path)) > 2
