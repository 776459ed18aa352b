"""Truth: offsets put into simulated exposures, by an array and by a filter; and inputs with one thing wrong each."""

import contextlib
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import asdf
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from crowded_field import CROWD, SUBARRAY
from lxml import html
from report_page import undrawn, write_report

from jwst_modfix import ModuleOffsetDeriveStep, ModuleOffsetModel, ModuleOffsetStep, derive, simulate
from jwst_modfix.derivation.joined import read_measurements
from jwst_modfix.errors import AssociationError, MeasurementsError, NoSolutionError, PhotometryError
from jwst_modfix.steps.associations import read_association
from jwst_modfix.steps.module_offset_derive import _summarize
from jwst_modfix.table.table import OffsetRow, OffsetTable

OFFSET = 0.04  # mag: Delta_AB put in, array 1 in F200W
CONFIG = Path(__file__).parents[1] / "jwst_modfix" / "config" / "modfix_derive.cfg"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """
    Array 1 of both modules in F200W in two epochs turned by 180 deg, and only module A in F150W.

    One exposure each of 1000 x 1000 pixels, with the same calibration except for the offset.
    """
    folder = tmp_path_factory.mktemp("derive")
    row = OffsetRow(array="1", filter="F200W", offset=OFFSET, offset_error=0.0)
    options = {"dithers": [(0.0, 0.0)], "duration": 800.0}
    epochs = simulate.JWIDF_EPOCHS[:2]
    planned = simulate.plan_exposures(epochs, filters=["F200W"], detectors=["NRCA1", "NRCB1"], **options)
    planned += simulate.plan_exposures(epochs, filters=["F150W"], detectors=["NRCA1"], **options)
    renamed = {exposure.filename for exposure in planned}
    assert len(renamed) == len(planned) - 2, "F150W would overwrite two of F200W"
    truth = simulate.CalibrationTruth(table=OffsetTable(rows=(row,), name="test"))
    scene = simulate.scene_around(np.random.default_rng(42), planned, replace(CROWD, density=150.0))
    common = {"scene": scene, "subarray": SUBARRAY, "truth": truth}
    for part, name in ((planned[4:], "one"), (planned[:4], "two")):
        simulate.simulate_dataset(folder / name, part, 7, field=name, **common)
    for path in sorted((folder / "one").glob("*_cal.fits")):
        path.rename(folder / path.name.replace("_nrca1", "_f150w_nrca1"))
    for path in sorted((folder / "two").glob("*_cal.fits")):
        path.rename(folder / path.name)
    write_association(folder, sorted(folder.glob("*_cal.fits")), "both")
    write_association(folder, f200w(folder), "f200w")
    return folder


def f200w(folder):
    """The four exposures in F200W."""
    return [path for path in sorted(folder.glob("*_cal.fits")) if "f150w" not in path.name]


def write_association(folder, paths, product, **epochs):
    """Write an association of these files, and give its path."""
    members = [{"expname": str(path), "exptype": "science"} for path in paths]
    for member, path in zip(members, paths if epochs else (), strict=False):
        member["epoch"] = epochs[path.name[:16]]
    target = folder / f"{product}_asn.json"
    target.write_text(json.dumps({"products": [{"name": product, "members": members}]}))
    return target


@pytest.fixture(scope="module")
def derived(folder):
    """The products of ``strun modfix_derive.cfg asn.json`` on both filters, and its messages."""
    output = folder / "derived"
    output.mkdir()
    strun = Path(sys.executable).with_name("strun")
    command = [strun, CONFIG, folder / "both_asn.json", f"--output_dir={output}", "--bootstrap=100"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return output, ran.stdout + ran.stderr


def call(given, output, **options):
    """Run the step in this process; products go to a separate folder."""
    return ModuleOffsetDeriveStep.call(given, save_results=True, output_dir=str(output), **options)


def within_three_sigma(table, truth=OFFSET, sigmas=3):
    """Whether the row of array 1 in F200W holds the truth, and is good to 3 mmag."""
    row = table.row("1", "F200W")
    return row.offset_error < 3e-3 and abs(row.offset - truth) < sigmas * row.offset_error


def test_strun_writes_a_table_that_holds_the_offset_put_in(derived):
    table = ModuleOffsetModel(derived[0] / "both_moduleoffset.asdf").table
    assert within_three_sigma(table)
    assert [row.key for row in table.rows] == [("1", "F200W", "CLEAR")]


def test_the_last_lines_name_the_report_and_the_command_that_applies_the_table(folder, derived):
    output, log = derived
    table = output / "both_moduleoffset.asdf"
    assert [line for line in log.splitlines() if not line.startswith("2")][-2:] == [
        f"Report: {output / 'both_modfix_report.html'}",
        f"Apply with: strun module_offset {folder / 'both_asn.json'} --override_moduleoffset={table}",
    ]


def test_the_table_of_results_has_no_prefix_and_fits_78_columns(derived):
    lines = derived[1].splitlines()
    start = lines.index("Results:")
    table = lines[start + 1 : next(n for n, line in enumerate(lines) if n > start and line.startswith("20"))]
    assert table[0].split()[:2] == ["filter", "array"]
    assert table[1].split() == ["[mmag]", "[mmag/arcmin]", "sources"]
    assert table[2].split()[:2] == ["F200W", "1"]
    assert max(map(len, table)) <= 78


@pytest.mark.parametrize(
    "row",
    [
        ["F444W+F405N", "long", "-116.5 ± 10.2", "+14.33 ± 0.41"],
        ["F444W+F405N", "NRCBLONG", "+16.54 ± 0.22", "1.2 ± 0.3"],
    ],
)
def test_the_widest_table_of_results_fits_78_columns(monkeypatch, caplog, row):
    head = ["filter", "array", "offset [mmag]", "slope [mmag/arcmin]", "effective sources", "correction", "reason"]
    if row[1] != "long":
        head[1:4] = ["detector", "zero point [mmag]", "field rms [mmag]"]
    rows = [head, [*row, "1234", "not determined", "the modules differ by up to 12.3 mmag " * 4]]
    monkeypatch.setattr("jwst_modfix.steps.module_offset_derive.list_results", lambda derivation: rows)
    with caplog.at_level("INFO"):
        _summarize(SimpleNamespace(bands=()))
    lines = [record.getMessage() for record in caplog.records]
    assert max(map(len, lines)) <= 78
    assert sum("not determined (1)" in line for line in lines) == 1


def test_a_filter_of_one_module_is_left_out_with_a_reason(derived):
    assert "F150W gets no row in the table: all exposures are of module A; an offset needs both modules" in derived[1]


def test_products_are_read_by_plain_asdf_and_astropy(derived):
    """Truth: three epochs' numbers of exposures, and the table of measurements has each of six exposures."""
    with asdf.open(derived[0] / "both_moduleoffset.asdf") as file:
        derivation = file["meta"]["derivation"]
        assert [epoch["exposures"] for epoch in derivation["epochs"]] == [3, 3]
        band = next(band for band in derivation["bands"] if band["filter"] == "F200W")
        covariance = np.array(band["covariance"])
        assert covariance.shape == (len(band["terms"]),) * 2
        assert np.sqrt(covariance[0, 0]) == pytest.approx(file["offsets"][0]["offset_error"], abs=1e-7)
        assert 0.6 < band["bootstrap_ratio"]["offset[1]"] < 1.6
    measured = Table.read(derived[0] / "both_modfix_measurements.ecsv")
    assert set(measured["exposure"]) == set(range(6))
    assert measured["flux"].unit == "Jy"
    share = measured["reserved"][measured["selected"]].mean()
    assert 0.1 < share < 0.3, "a fifth of the sources is reserved"


def test_the_report_needs_no_network_and_has_figures_beside_it(derived):
    page = (derived[0] / "both_modfix_report.html").read_text()
    root = html.fromstring(page)
    assert all(place.startswith("data:") for place in root.xpath("//@src"))
    assert not root.xpath("//link | //iframe | //@href[not(starts-with(., '#'))]")
    assert len(root.xpath("//img")) == len(list(derived[0].glob("*.png"))) >= 6
    assert {p.stem for p in derived[0].glob("*.png")} == {p.stem for p in derived[0].glob("*.pdf")}
    assert "<td>F150W</td>" in page


def test_nothing_is_left_of_the_hidden_folder(derived):
    assert not [path for path in derived[0].iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("options", [{"method": "pairs"}, {"time_term": "fit", "reserve_share": 0.0}])
def test_other_methods_hold_the_offset_too(folder, derived, tmp_path, options):
    """
    The user's own photometry is here that of the default route.

    Pairs take their errors from about ten sources in each patch, so that 4 sigma are as rare as 3 sigma elsewhere.
    """
    measured = Table.read(derived[0] / "both_modfix_measurements.ecsv")
    names = np.array(measured.meta["exposures"])
    own = Table({"exposure": names[measured["exposure"]], "source": measured["source"]})
    for name in ("RA", "Dec", "mag", "mag_error"):
        own[name] = measured[name]
    own[(measured["filter"] == "F200W") & measured["selected"]].write(tmp_path / "own.ecsv")
    model = ModuleOffsetDeriveStep.call(
        str(folder / "f200w_asn.json"), photometry="catalog", catalogs=[str(tmp_path / "own.ecsv")], **options
    )
    assert within_three_sigma(model.table, sigmas=4 if "method" in options else 3)


@pytest.mark.parametrize("kind", ["association", "list"])
def test_the_step_gives_the_model_and_writes_nothing(folder, tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    association = read_association(folder / "f200w_asn.json")
    given = {"association": association, "list": [str(p) for p in association.science]}
    model = ModuleOffsetDeriveStep.call(given[kind], time_term="zero")
    assert isinstance(model, ModuleOffsetModel)
    assert within_three_sigma(model.table)
    assert not list(tmp_path.iterdir())


def test_the_function_gives_what_the_step_writes(folder, derived, tmp_path, monkeypatch):
    """Truth: the offset put in; the same table, measurements and report as by the step, by way of a mapping."""
    monkeypatch.chdir(tmp_path)
    content = read_association(folder / "both_asn.json").content
    derivation = derive(content, bootstrap=100)
    assert not list(tmp_path.iterdir())
    assert within_three_sigma(derivation.table)
    assert derivation.table.rows == ModuleOffsetModel(derived[0] / "both_moduleoffset.asdf").table.rows
    written = Table.read(derived[0] / "both_modfix_measurements.ecsv")
    np.testing.assert_array_equal(derivation.measurements["residual"], written["residual"])
    assert list(derivation.solution) == ["F200W"], "by the name of the filter, even if there is one"
    assert repr(derivation) == "<Derivation of both: 1 row from F150W, F200W>"


def test_the_report_escapes_what_headers_and_associations_say(folder, tmp_path):
    script = "<script>alert(1)</script>"
    paths = [shutil.copy(path, tmp_path) for path in f200w(folder)]
    for path in paths:
        fits.setval(path, "CRDS_CTX", value=script, comment="made up")
    groups = {Path(path).name[:16]: f"{script} ${i}_$" for i, path in enumerate(paths[::2])}
    association = write_association(tmp_path, [Path(path) for path in paths], "evil", **groups)
    page = write_report(derive(str(association)), tmp_path).read_text()
    assert script not in page
    assert page.count("&lt;script&gt;") > 3


def missing(paths):
    paths[1].unlink()


def truncated(paths):
    content = paths[1].read_bytes()
    paths[1].write_bytes(content[: len(content) // 3])


def copied(paths):
    paths.append(Path(shutil.copy(paths[1], paths[1].with_name("copy_cal.fits"))))


def other_instrument(paths):
    fits.setval(paths[1], "INSTRUME", value="MIRI")


def without_wcs(paths):
    with fits.open(paths[1], mode="update") as hdulist:
        del hdulist["ASDF"]


def mixed_calibrations(paths):
    fits.setval(paths[1], "R_PHOTOM", value="crds://jwst_nircam_photom_0001.fits")
    fits.setval(paths[1], "S_MODOFF", value="COMPLETE")


def without_good_pixels(paths):
    with fits.open(paths[1], mode="update") as hdulist:
        hdulist["SCI"].data[:] = np.nan


def one_module(paths):
    for path in [path for path in paths if "nrcb" in path.name]:
        path.unlink()
        paths.remove(path)


def one_epoch(paths):
    for path in paths[2:]:
        path.unlink()
        paths.remove(path)


@pytest.mark.parametrize(
    ("spoil", "error", "words"),
    [
        (missing, AssociationError, "1 of 4 members cannot be used: .*nrcb1_cal.fits: no such file"),
        (truncated, AssociationError, "nrcb1_cal.fits: "),
        (other_instrument, AssociationError, "nrcb1_cal.fits: must be of NIRCam .* got INSTRUME MIRI"),
        (without_wcs, AssociationError, "nrcb1_cal.fits: has no ASDF extension"),
        (copied, AssociationError, "a member once: .*nrcb1_cal.fits and .*copy_cal.fits are one exposure of NRCB1"),
        (
            mixed_calibrations,
            AssociationError,
            "calibrated alike: NRCB1 .*R_PHOTOM is .*S_MODOFF=COMPLETE.*allow_mixed",
        ),
        (without_good_pixels, PhotometryError, "nrcb1_cal.fits: has no good pixel"),
        (one_module, NoSolutionError, r"an offset needs exposures of both modules .*; got F200W: A"),
        (
            one_epoch,
            NoSolutionError,
            r"must overlap on the sky; F200W: no exposure of module A overlaps one",
        ),
    ],
)
def test_bad_input_is_one_error_that_names_it_and_nothing_is_written(folder, tmp_path, spoil, error, words):
    inputs, output = tmp_path / "in", tmp_path / "out"
    inputs.mkdir()
    paths = [Path(shutil.copy(path, inputs)) for path in f200w(folder)]
    spoil(paths)
    with pytest.raises(error, match=words):
        call(str(write_association(inputs, paths, "bad")), output)
    assert not output.exists() or {path.name for path in output.iterdir()} <= {"bad_modfix_cache"}


def test_parameters_that_cannot_be_are_refused_before_anything_is_read():
    with pytest.raises(MeasurementsError, match="reserve_share: must be from 0 to 0.9; got 1.0"):
        ModuleOffsetDeriveStep.call(["no_such_file.fits"], reserve_share=1.0)


@pytest.mark.parametrize("value", ["", " ", "yes"])
def test_a_cache_is_a_folder_or_no(folder, tmp_path, value):
    with pytest.raises(MeasurementsError, match="cache must be the name of a folder, or 'no'; got "):
        call(str(folder / "f200w_asn.json"), tmp_path, cache=value)
    assert not list(tmp_path.glob("*.asdf"))


@pytest.mark.parametrize("name", ["photometry", "method", "fit_slope", "time_term", "baseline"])
def test_an_unknown_choice_is_refused_in_python_too(name):
    with pytest.raises(MeasurementsError, match=rf"{name}: must be one of .*; got 'wrong'"):
        derive(["no_such_file.fits"], **{name: "wrong"})


@pytest.mark.slow
def test_derived_and_applied_offsets_leave_nothing(folder, derived, tmp_path):
    """Truth: 0 after the correction by the derived table."""
    table = str(derived[0] / "both_moduleoffset.asdf")
    association = str(folder / "f200w_asn.json")
    ModuleOffsetStep.call(association, override_moduleoffset=table, save_results=True, output_dir=str(tmp_path))
    with undrawn():
        model = call(str(tmp_path / "f200w_modfix_asn.json"), tmp_path)
    result = model.meta.derivation.instance["bands"][0]["results"][0]
    assert abs(result["offset"]) <= max(1e-3, 3 * result["offset_error"])
    assert result["verdict"] == "not needed"
    assert "Corrected for module offsets before" in (tmp_path / "f200w_corrected_modfix_report.html").read_text()


@pytest.fixture(scope="module")
def long_wavelength(tmp_path_factory):
    """1400 x 1400 pixels of both long-wavelength arrays in two epochs, with Table 2 of Ma et al. (2023)."""
    folder = tmp_path_factory.mktemp("long")
    planned = simulate.plan_exposures(simulate.JWIDF_EPOCHS[:2], filters=["F444W"], dithers=1)
    subarray = simulate.Subarray(xstart=325, ystart=325, xsize=1400, ysize=1400)
    scene = simulate.scene_around(np.random.default_rng(5), planned, replace(CROWD, density=70.0, faintest=22.0))
    data = simulate.simulate_dataset(folder, planned, 5, field="long", scene=scene, subarray=subarray)
    return data.associations[-1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "offset_error", "slope_error", "drawing"),
    [
        ({}, 2e-3, 1e-3, contextlib.nullcontext),
        ({"photometry": "mosaic", "method": "pairs"}, 3e-3, 2e-3, undrawn),
    ],
)
def test_offset_and_slope_of_table_2_are_recovered(
    long_wavelength, tmp_path, options, offset_error, slope_error, drawing
):
    """Truth: Table 2, F444W: Delta_AB = -0.01654 mag and k = 0.00433 mag/arcmin."""
    with drawing():
        row = call(str(long_wavelength), tmp_path, **options).table.row("long", "F444W")
    assert row.offset == pytest.approx(-0.01654, abs=3 * row.offset_error)
    assert row.slope == pytest.approx(0.00433, abs=3 * row.slope_error)
    assert row.offset_error < offset_error
    assert row.slope_error < slope_error
    assert list(tmp_path.glob("*_gradient_long.png"))


def test_the_cache_beside_the_association_serves_other_options_and_folders(
    folder, derived, tmp_path, pixels_read, caplog
):
    """Truth: what a run without a cache gives; no pixels are read again."""
    association, options = str(folder / "both_asn.json"), {"faintest": 21.8, "fit_slope": "none", "report": False}
    assert not list(derived[0].glob("*_cache")), "not among the products"
    with caplog.at_level("INFO"):
        served = call(association, tmp_path / "one", **options)
    assert pixels_read == []
    assert f"6 of 6 exposures from the cache {folder / 'both_modfix_cache'}" in caplog.text
    caplog.clear()
    expected = call(association, tmp_path / "two", cache="no", **options)
    assert len(pixels_read) >= 6
    assert served.table.rows == expected.table.rows
    assert "from the cache" not in caplog.text


@pytest.mark.parametrize("case", ["named", "read-only", "files"])
def test_the_cache_is_where_the_user_says_or_else_with_the_products(folder, tmp_path, monkeypatch, case):
    options = {"cache": str(tmp_path / "mine"), "faintest": 23.5} if case == "named" else {}
    given = str(folder / "f200w_asn.json")
    if case == "read-only":
        monkeypatch.setattr("os.access", lambda path, mode: Path(path) != folder)
    elif case == "files":
        given = [str(path) for path in f200w(folder)]
    call(given, tmp_path / "out", report=False, **options)
    found = (
        tmp_path / "mine"
        if case == "named"
        else tmp_path / "out" / f"{'derived' if case == 'files' else 'f200w'}_modfix_cache"
    )
    assert len(list(found.glob("measurements-*.npz"))) == 4
    assert not (folder / "f200w_modfix_cache").exists()
    if case == "named":
        measured = read_measurements(next((tmp_path / "out").glob("*_measurements.ecsv")))
        assert 23.5 < measured["source_mag"].max() < 24.5, "sources beyond the limit of the selection are measured too"


def test_many_measurements_go_into_a_fits_file(folder, derived, tmp_path, monkeypatch):
    """Truth: the same rows, units and header as in the text file."""
    monkeypatch.setattr("jwst_modfix.photometry.columns._LARGE", 10)
    monkeypatch.setattr("jwst_modfix.photometry.columns._PIECE", 7)  # rows: it is written in pieces
    call(str(folder / "both_asn.json"), tmp_path, report=False)
    assert not list(tmp_path.glob("*.ecsv"))
    assert (tmp_path / "both_modfix_measurements.fits").stat().st_size % 2880 == 0, "FITS has whole blocks"
    large = read_measurements(tmp_path / "both_modfix_measurements.fits")
    small = read_measurements(derived[0] / "both_modfix_measurements.ecsv")
    assert large.colnames == small.colnames
    assert large.meta == dict(small.meta)
    assert len(large) % 7
    for name in small.colnames:
        np.testing.assert_array_equal(large[name], small[name])
        assert large[name].unit == small[name].unit
    assert large["flux"].unit == "Jy"
