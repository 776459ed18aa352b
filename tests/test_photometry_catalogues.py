"""A user's own photometry. Truth: the numbers that are written, and the SIAF by way of the simulator."""

import io
from dataclasses import replace

import numpy as np
import pytest
from astropy import units as u
from astropy.table import Table

from jwst_modfix import simulate
from jwst_modfix.errors import PhotometryError
from jwst_modfix.photometry.catalogues import read_catalogues
from jwst_modfix.photometry.columns import Flag
from jwst_modfix.photometry.frames import group_epochs, read_header

NAMES = ("jw02738001001_02101_00001_nrca1_cal.fits", "jw02738001001_02101_00002_nrca1_cal.fits")
X, Y = np.array([10.0, 30.5, 50.0]), np.array([9.0, 20.0, 40.25])
MAG = np.array([20.0, 21.0, 22.5])


@pytest.fixture(scope="module")
def headers(small_exposure, tmp_path_factory):
    """Two exposures of 64 x 48 pixels at the same place of the sky."""
    folder = tmp_path_factory.mktemp("exposures")
    for name in NAMES:
        small_exposure("NRCA1", "F200W").save(str(folder / name))
    return [read_header(folder / name) for name in NAMES]


def make_table(**change):
    """Three sources in both exposures, as magnitudes at pixels; a column that is None is left out."""
    columns = {"source": np.tile(["a", "b", "c"], 2), "exposure": np.repeat(NAMES, 3)}
    columns |= {"x": np.tile(X, 2), "y": np.tile(Y, 2), "mag": np.tile(MAG, 2), "mag_error": np.full(6, 0.01)}
    return Table({name: value for name, value in (columns | change).items() if value is not None})


@pytest.fixture
def read(headers, tmp_path):
    """Give a function that writes tables and reads them as catalogues."""

    def read(*tables, name="user.ecsv", names=None, **options):
        paths = [tmp_path / each for each in names or [name]]
        for table, path in zip(tables, paths, strict=True):
            table.write(path, **options)
        epochs = group_epochs(headers)
        return read_catalogues(paths, headers, epochs).measurements

    return read


def assert_is_truth(found):
    assert len(found) == 6
    np.testing.assert_allclose(found["mag"], np.repeat(MAG, 2), atol=1e-9)
    np.testing.assert_allclose(found["mag_error"], 0.01, atol=1e-9)
    np.testing.assert_allclose(found["x"], np.repeat(X, 2) + 700, atol=1e-4)  # the subarray starts at 701, 401
    np.testing.assert_allclose(found["y"], np.repeat(Y, 2) + 400, atol=1e-4)
    v2, v3 = simulate.detector_geometry("NRCA1").pixel_to_v2v3(np.asarray(found["x"]), np.asarray(found["y"]))
    np.testing.assert_allclose([found["V2"], found["V3"]], [v2, v3], atol=1e-5)
    np.testing.assert_array_equal(found["exposure"], [0, 1] * 3)
    assert set(found["array"]) == {"1"}
    assert set(found["module"]) == {"A"}
    assert set(found["filter"]) == {"F200W"}


@pytest.mark.parametrize(("given", "expected"), [(["b", "c", "a"], ["a", "b", "c"]), ([70, 5, 9], [5, 9, 70])])
def test_sources_keep_the_names_of_the_user(read, given, expected):
    """Truth: rows are sorted by name, each source is in two exposures; names are text or numbers as in the input."""
    found, known = read(make_table(source=np.tile(given, 2))), read(make_table(), names=["known.ecsv"])
    assert found["name"].tolist() == np.repeat(expected, 2).tolist()
    for name in ("RA", "Dec", "isolation", "mag", "V2"):
        places = [dict(zip(t["x"].round(3).tolist(), t[name].tolist(), strict=True)) for t in (found, known)]
        assert places[0] == places[1], name


@pytest.mark.parametrize("row", [0, 3, 4])
def test_a_message_names_the_row_whatever_the_order_of_exposures(read, row):
    names = np.array([NAMES[0], NAMES[0], NAMES[0], NAMES[1], NAMES[1], NAMES[1]], "U40")
    names[row] = "elsewhere_cal.fits"
    with pytest.raises(PhotometryError, match=rf"row {row + 1}, 'elsewhere_cal.fits', names no member"):
        read(make_table(exposure=names))


def test_fluxes_on_the_sky(read):
    at_pixels = read(make_table())
    order = np.lexsort([at_pixels["source"], at_pixels["exposure"]])
    ra, dec = (np.asarray(at_pixels[name])[order] for name in ("RA", "Dec"))
    flux = 3631e6 * 10 ** (-0.4 * np.tile(MAG, 2))
    table = make_table(x=None, y=None, mag=None, mag_error=None, RA=ra, Dec=dec)
    table["flux"], table["flux_error"] = flux * u.uJy, flux * 0.01 * np.log(10) / 2.5 * u.uJy
    assert_is_truth(read(table, name="user.fits"))


def test_magnitudes_with_their_unit(read):
    # The truth: 3631 nJy is 22.5 mag AB.
    found = read(make_table(mag=np.tile(MAG, 2) * u.ABmag, mag_error=np.full(6, 0.01) * u.mag))
    assert np.asarray(found["flux"][found["mag"] > 22]) == pytest.approx(3631e-9)


def test_negative_fluxes_have_no_magnitude(read):
    table = make_table(mag=None, mag_error=None, flux=[3631.0, -5.0, 0.0] * 2 * u.nJy, flux_error=[9.0] * 6 * u.nJy)
    found = read(table)
    assert found["mag"][found["flags"] == 0] == pytest.approx(22.5)
    assert [Flag(flags) for flags in found["flags"][np.isnan(found["mag"])]] == [Flag.NEGATIVE] * 4


def test_isolation_is_the_distance_to_the_nearest_comparable_source(read):
    # The truth: the sources are 20.5, 11 and 19.5, 20.25 pixels of 0.0313" apart, and none is fainter than a tenth.
    found = read(make_table(mag=[20.0, 21.0, 22.0] * 2))
    near, far = 0.0313 * np.hypot(20.5, 11.0), 0.0313 * np.hypot(19.5, 20.25)
    assert np.asarray(found["isolation"][::2]) == pytest.approx([near, near, far], rel=0.01)
    found = read(make_table(mag=[20.0, 22.6, 25.2] * 2), names=["faint.ecsv"])
    assert np.asarray(found["isolation"][::2]) == pytest.approx([np.inf, near, far], rel=0.01)


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("user.ecsv", "ascii.ecsv"),
        ("user.csv", "ascii.csv"),
        ("user.txt", "ascii.commented_header"),
        ("user.dat", "ascii.basic"),
        ("user.cat", "ascii.fixed_width_two_line"),
    ],
)
def test_magnitudes_at_pixels_in_each_kind_of_text(read, name, form):
    assert_is_truth(read(make_table(), name=name, format=form))


@pytest.mark.parametrize(
    "exposures",
    [
        [name.removesuffix(".fits") for name in NAMES],
        [name.removesuffix("_cal.fits") for name in NAMES],
        [f"/data/night/{name}" for name in NAMES],
        [f"{name}.gz" for name in NAMES],
    ],
    ids=["stem", "beginning", "path", "compressed"],
)
def test_an_exposure_is_named_by_its_file_or_a_part_of_it(read, exposures):
    assert_is_truth(read(make_table(exposure=np.repeat(exposures, 3))))


def test_a_catalogue_without_exposures_is_of_the_one_that_its_name_says(read):
    table = make_table()
    parts = [table[table["exposure"] == name] for name in NAMES]
    for part in parts:
        part.remove_column("exposure")
    assert_is_truth(read(*parts, names=[name.replace("_cal.fits", "_cat.ecsv") for name in NAMES]))


@pytest.mark.parametrize("change", [str, str.upper])
@pytest.mark.parametrize(
    "names",
    [
        ("id", "frame", "x_fit", "y_fit", "mag_fit", "mag_err", "flux_fit", "flux_err"),
        ("source_id", "filename", "x", "y", "mag", "magerr", "flux", "fluxerr"),
        ("source", "file", "x", "y", "mag", "mag_error", "flux", "flux_error"),
    ],
)
def test_columns_may_have_the_names_of_other_programs(read, names, change):
    """Truth: those of photutils and SExtractor, in any case; magnitudes or fluxes."""
    flux = 3631 * 10 ** (-0.4 * np.tile(MAG, 2))
    fluxes = make_table(mag=None, mag_error=None, flux=flux, flux_error=flux * 0.01 * np.log(10) / 2.5)
    for number, table in enumerate((make_table(), fluxes)):
        ours = ("source", "exposure", "x", "y", "mag", "mag_error", "flux", "flux_error")
        for old, new in zip(ours, names, strict=True):
            if old in table.colnames:
                table.rename_column(old, change(new))
        assert_is_truth(read(table, names=[f"{number}.ecsv"]))


@pytest.mark.parametrize(("brightest", "is_accepted"), [(8.1, True), (7.9, False)])
def test_the_median_magnitude_is_not_brighter_than_any_star(read, brightest, is_accepted):
    """Truth: a third of the sources may be brighter than 8 mag: one blunder is no wrong unit."""
    table = make_table(mag=[1.0, brightest, 20.0] * 2)
    if is_accepted:
        assert len(read(table)) == 6
    else:
        with pytest.raises(PhotometryError, match=r"must be in AB mag; its median is 7.9 mag AB, and no star"):
            read(table)


def test_an_exposure_that_no_source_lies_on_is_listed_without_sources(headers, tmp_path):
    make_table().write(tmp_path / "user.ecsv")
    third = replace(headers[1], path=headers[1].path.with_name("jw02738001001_02101_00003_nrca1_cal.fits"))
    known = [*headers, third]
    epochs = group_epochs(known)
    assert read_catalogues([tmp_path / "user.ecsv"], known, epochs).exposures["sources"].tolist() == [3, 3, 0]


@pytest.mark.parametrize("column", ["filter", "pupil"])
def test_sources_must_be_in_two_exposures_of_one_filter(headers, tmp_path, column):
    """Truth: the second exposure is through another filter, or has another one in the pupil wheel."""
    make_table().write(tmp_path / "user.ecsv")
    known = [headers[0], replace(headers[1], **{column: "F162M"})]
    epochs = group_epochs(known)
    with pytest.raises(PhotometryError, match="no two in one filter share a source"):
        read_catalogues([tmp_path / "user.ecsv"], known, epochs)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mag": None}, "must have the columns mag and mag_error or flux and flux_error; it has source"),
        ({"source": None}, "must have the columns source; it has"),
        ({"x": None}, "must have the columns x and y or RA and Dec"),
        ({"exposure": None}, "must have the column exposure, or the name of one member as its own; it has source"),
        ({"mag": [20.0, np.nan] * 3}, "column mag must be finite; row 2 has nan"),
        ({"mag": np.ma.masked_equal([20.0, 21.0] * 3, 21.0)}, "column mag must be finite; row 2 has nan"),
        ({"mag_error": np.ma.masked_equal([0.01, 0.02] * 3, 0.02)}, "column mag_error must be finite; row 2 has nan"),
        ({"x": np.ma.masked_equal(np.tile(X, 2), X[2])}, "column x must be finite; row 3 has nan"),
        ({"mag_error": [0.01, -0.1] * 3}, "column mag_error must be more than 0; row 2 has -0.1"),
        ({"mag_error": [0.0, 0.1] * 3}, "column mag_error must be more than 0; row 1 has 0.0"),
        ({"exposure": ["jw02738001001_02101_00001_nrc"] * 6}, "row 1, 'jw02738001001_02101_00001_nrc', names no memb"),
        ({"y": [115.0, 20.0] * 3}, r"row 1 is at x = 10, y = 115 of jw.*_nrca1_cal.fits, which has 64 x 48 pixels"),
        ({"exposure": [NAMES[0], "other"] * 3}, "row 2, 'other', names no member"),
        ({"exposure": ["jw02738001001_02101"] * 6}, "row 1, 'jw02738001001_02101', names 2 members"),
        ({"mag": ["bright", "faint"] * 3}, "column mag must hold numbers, in mag"),
        ({"mag": [1, 2] * 3 * u.m}, "column mag must hold numbers, in mag: .* not convertible"),
        ({"mag": [20.0, 99.0] * 3}, "column mag must be within 50 mag; leave rows out .*; row 2 has 99.0"),
        ({"mag": [-99.0, 20.0] * 3}, "column mag must be within 50 mag; leave rows out .*; row 1 has -99.0"),
        ({"x": np.tile(X, 2) * u.arcsec}, "column x must hold numbers, in pix: .* not convertible"),
        ({"mag": [-6.0, -5.0] * 3}, "column mag must be in AB mag; its median is -5.6 mag AB"),
        ({"mag": np.full((6, 2), 20.0)}, r"column mag must have one value in a row; it has \(2,\)"),
        ({"source": np.full((6, 3), "a")}, r"column source must have one value in a row; it has \(3,\)"),
        ({"source": ["a", "b", "\u03b2"] * 2}, "column source must be ASCII; row 3 has \u03b2"),
        ({"source": np.ma.masked_equal(np.tile([1, 2, 3], 2), 3)}, "column source must be filled in; row 3 has no"),
        ({"x": [9.0, 400.0] * 3}, r"row 2 is at x = 400, y = 20 of jw.*_nrca1_cal.fits, which has 64 x 48 pixels"),
        ({"exposure": [NAMES[0]] * 6}, r"a source must have one row in an exposure; 'a' has more in jw.*1_nrca1_cal"),
        ({"y": [0.0] * 3 + [9.0] * 2 + [77.0]}, r"at one place on the sky, within 2.0 arcsec; 'c' is 2.4 arcsec apart"),
        ({"id": [1] * 6, "source": None, "source_id": [2] * 6}, "columns id and source_id both can be source; rename"),
        ({"mag": None, "mag_error": None, "flux": [1e3] * 6, "flux_error": [1.0] * 6}, "must be in Jy, or have its un"),
    ],
)
def test_wrong_catalogues_are_refused(read, change, message):
    with pytest.raises(PhotometryError, match=message) as caught:
        read(make_table(**change))
    assert "user.ecsv" in str(caught.value)


@pytest.mark.parametrize(("apart", "is_accepted"), [(1.9, True), (-1.9, True), (2.1, False), (-2.1, False)])
def test_pixels_and_places_on_the_sky_agree_within_two_arcsec(read, apart, is_accepted):
    found = read(make_table())
    ra, dec = (np.tile(np.asarray(found[name][::2]), 2) for name in ("RA", "Dec"))
    table = make_table(RA=ra, Dec=dec + apart / 3600)
    if is_accepted:
        assert_is_truth(read(table, names=["both.ecsv"]))
    else:
        words = f"x, y must be pixels of the exposure, where RA, Dec are; those of row 1 are {abs(apart)} arcsec apart"
        with pytest.raises(PhotometryError, match=words):
            read(table, names=["both.ecsv"])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("user.xls", "", r"user\.xls: must be one of \.ecsv, \.csv, .*; got \.xls"),
        ("user.ecsv", None, r"user\.ecsv: no such file"),
        ("user.ecsv", "nothing", r"user\.ecsv: cannot be read as a table"),
        ("user.csv", "source,exposure\n", r"user\.csv: must have rows; it has none"),
        ("user.csv", "source;x\n1;2,5\n2;3,5\n", r"user\.csv: cannot be read as a table: Number of header columns"),
        ("user.csv", "source;x\n1;2\n", r"user\.csv: columns must be separated by commas; its header is 'source;x'"),
    ],
)
def test_files_that_are_no_catalogue_are_refused(headers, tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(PhotometryError, match=message):
        read_catalogues([tmp_path / name], headers, group_epochs(headers))


def test_a_file_of_a_spreadsheet_may_begin_with_a_mark_of_utf_8_and_have_comments(headers, tmp_path):
    text = io.StringIO()
    make_table().write(text, format="ascii.csv")
    (tmp_path / "user.csv").write_text("\ufeff# made by hand\n" + text.getvalue())
    epochs = group_epochs(headers)
    assert_is_truth(read_catalogues([tmp_path / "user.csv"], headers, epochs).measurements)
