"""`modfix derive-from`: measurement files of several derivations, against solving each, and the truth put in."""

import numpy as np
import pytest
from astropy.table import Table, vstack
from derivation_of_magnitudes import ROWS, derive, simulate_photometry
from one_header import make_header

from jwst_modfix.derivation.joined import derive_from
from jwst_modfix.derivation.provenance import describe_calibration
from jwst_modfix.errors import MeasurementsError
from jwst_modfix.table.table import OffsetTable

TRUTH = ROWS["F200W"].offset


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Measurement files of two programs, each derived alone; names of exposures differ."""
    folder, derivations = tmp_path_factory.mktemp("programs"), []
    for number in (1, 2):
        derivation = derive(*simulate_photometry([ROWS["F200W"]], seed=number, density=25.0), product=f"p{number}")
        table = derivation.measurements
        table.meta["exposures"] = [f"program{number}_{name}" for name in derivation.photometry.exposures["file"]]
        table.write(folder / f"p{number}_modfix_measurements.ecsv", format="ascii.ecsv")
        derivations.append(derivation)
    return [folder / f"p{number}_modfix_measurements.ecsv" for number in (1, 2)], derivations


def test_two_programs_are_the_weighted_mean_of_each_alone(files):
    """Truth: the weighted mean of two independent results, and the offset put in."""
    paths, derivations = files
    joined = derive_from(paths)
    (row,) = joined.table.rows
    alone = [derivation.table.rows[0] for derivation in derivations]
    weight = np.array([one.offset_error**-2 for one in alone])
    mean = np.average([one.offset for one in alone], weights=weight)
    assert row.offset == pytest.approx(mean, abs=0.5 * row.offset_error)
    assert row.offset_error == pytest.approx(1 / np.sqrt(weight.sum()), rel=0.25)
    assert row.offset == pytest.approx(TRUTH, abs=5 * row.offset_error)
    solution = joined.solutions["F200W"]
    assert solution.n_sources == sum(derivation.solution["F200W"].n_sources for derivation in derivations)


def test_one_file_gives_what_its_derivation_gave(files):
    (path, _), (derivation, _) = files
    joined = derive_from([path])
    assert joined.table.rows[0].offset == pytest.approx(derivation.table.rows[0].offset, abs=1e-6)
    assert joined.table.valid_for == derivation.table.valid_for


def test_command_writes_a_table_and_says_what_was_solved(files, modfix, tmp_path):
    out = modfix("derive-from", *files[0], "-o", "joined_moduleoffset.asdf", "--scale", "detectors")
    assert "NRCA2" in out
    table = OffsetTable.read(tmp_path / "joined_moduleoffset.asdf")
    found = {row.detector: row.zero_point for row in table.zero_points}
    assert found["NRCA2"] - found["NRCB2"] == pytest.approx(TRUTH, abs=0.003)


def change(path, target, **meta):
    table = Table.read(path, format="ascii.ecsv")
    table.meta |= meta
    table.write(target, format="ascii.ecsv", overwrite=True)
    return target


def test_files_of_other_calibrations_are_refused(files, tmp_path):
    paths, _ = files
    calibration = Table.read(paths[1], format="ascii.ecsv").meta["calibration"]
    other = {**calibration, "files": {**calibration["files"], "NRCA2 F200W CLEAR": [["other.fits", "flat.fits", None]]}}
    mixed = change(paths[1], tmp_path / "mixed.ecsv", calibration=other)
    with pytest.raises(MeasurementsError, match=r"NRCA2 F200W CLEAR has other.fits, flat.fits in mixed.ecsv and jwst"):
        derive_from([paths[0], mixed])
    assert derive_from([paths[0], mixed], allow_mixed=True).table.valid_for.is_empty
    names = calibration["files"]["NRCA2 F200W CLEAR"]
    both = {
        **calibration,
        "files": {**calibration["files"], "NRCA2 F200W CLEAR": [*names, ["z.fits", "flat.fits", None]]},
    }
    with pytest.raises(MeasurementsError, match=r"NRCA2 F200W CLEAR has jwst.* and z.fits, flat.fits in more.ecsv"):
        derive_from([paths[0], change(paths[1], tmp_path / "more.ecsv", calibration=both)])
    unknown = change(paths[1], tmp_path / "unknown.ecsv", calibration=None)
    with pytest.raises(MeasurementsError, match="unknown.ecsv does not say how its exposures were calibrated"):
        derive_from([paths[0], unknown])


def test_files_that_are_no_measurements_are_refused(tmp_path):
    path = tmp_path / "other.ecsv"
    Table({"a": [1]}).write(path, format="ascii.ecsv")
    with pytest.raises(MeasurementsError, match="has no column filter, pupil, selected, source, epoch"):
        derive_from([path])
    with pytest.raises(MeasurementsError, match=r"none.ecsv: no such file"):
        derive_from([tmp_path / "none.ecsv"])
    with pytest.raises(MeasurementsError, match=r"must be a measurement file, .ecsv, .fits, .parquet; got '.txt'"):
        derive_from([tmp_path / "a.txt"])


@pytest.mark.parametrize(
    "rename", [str, lambda name: name.replace("_cal", "_jhat"), lambda name: f"{name}.gz", None, str.upper]
)
def test_one_exposure_in_two_files_is_refused_under_any_name(files, tmp_path, rename):
    """Joined twice, the same measurements would have errors that are too small by the square root of two."""
    paths, _ = files
    names = Table.read(paths[0], format="ascii.ecsv").meta["exposures"]
    copy = change(paths[0], tmp_path / "copy.ecsv", exposures=[rename(name) for name in names] if rename else None)
    with pytest.raises(
        MeasurementsError, match=r"copy.ecsv: .* p1_modfix_measurements.ecsv too; each exposure must be"
    ):
        derive_from([paths[0], copy])


@pytest.mark.parametrize("column", ["mag", "V2"])
def test_other_exposures_of_the_same_pointings_are_accepted(files, tmp_path, column):
    """Truth: names are not known, and magnitudes or places differ in the last digits: no measurement is there twice."""
    paths, _ = files
    table = Table.read(paths[0], format="ascii.ecsv")
    table.meta["exposures"], table[column] = None, np.asarray(table[column]) + 1e-6
    table.write(tmp_path / "again.ecsv", format="ascii.ecsv")
    assert derive_from([paths[0], tmp_path / "again.ecsv"]).table.rows


def test_exposures_that_were_corrected_by_other_tables_are_calibrated_otherwise():
    """Truth: one file of each kind for all; the correction is part of the calibration, and its undo is not."""
    known = [
        describe_calibration([make_header(status=status, digest=digest)])
        for status, digest in ((None, None), (None, "a"), ("COMPLETE", "a"), ("COMPLETE", "b"))
    ]
    assert known[0] == known[1]
    assert [known.count(one) for one in known] == [2, 2, 1, 1]


@pytest.mark.parametrize("calibration", ["none", {"files": {}}, {"files": {"a": "b"}, "contexts": ["c"]}])
def test_a_calibration_that_is_none_is_refused(files, tmp_path, calibration):
    path = change(files[0][0], tmp_path / "edited.ecsv", calibration=calibration)
    with pytest.raises(MeasurementsError, match=r"edited.ecsv does not say how its exposures were calibrated"):
        derive_from([path])


def test_flags_as_text_and_an_empty_list_are_refused(files, tmp_path):
    table = Table.read(files[0][0], format="ascii.ecsv")
    table["selected"] = np.asarray(table["selected"]).astype(str)
    table.write(tmp_path / "text.ecsv", format="ascii.ecsv")
    with pytest.raises(MeasurementsError, match="selected must be True or False in every row, got <U"):
        derive_from([tmp_path / "text.ecsv"])
    with pytest.raises(MeasurementsError, match="no measurement file is given"):
        derive_from([])


@pytest.mark.parametrize(
    ("words", "message", "status"),
    [
        (("-o", "joined.txt"), "the name must end in '.asdf'", 1),
        (("-o", "new.asdf", "--baseline", "C"), "'C' is not one of 'B', 'A', 'mean'", 2),
    ],
)
def test_wrong_options_are_refused_before_the_solution(files, modfix, words, message, status):
    output = modfix("derive-from", *files[0], *words, status=status)
    assert message in output
    assert "sources" not in output


def test_another_product_of_one_exposure_has_other_magnitudes_and_is_the_same_exposure(files, tmp_path):
    """A new WCS, as that of _jhat files, changes apertures a little."""
    table = Table.read(files[0][0], format="ascii.ecsv")
    table["mag"] += 1e-4
    table.meta["exposures"] = [name.replace("_cal", "_jhat") for name in table.meta["exposures"]]
    table.write(tmp_path / "jhat.ecsv", format="ascii.ecsv")
    with pytest.raises(
        MeasurementsError, match=r"jhat.ecsv: exposure .*_jhat.fits is in p1_modfix_measurements.ecsv too"
    ):
        derive_from([files[0][0], tmp_path / "jhat.ecsv"])


def test_a_file_of_measurements_in_fits_whose_header_was_edited_is_refused(tmp_path):
    Table({"a": [1]}, meta={"MODFIX": "{'epochs': 3"}).write(tmp_path / "edited.fits")
    with pytest.raises(
        MeasurementsError, match=r"edited.fits: cannot be read as a table: card MODFIX holds no metadata"
    ):
        derive_from([tmp_path / "edited.fits"])


def test_columns_of_all_files_are_joined_with_the_least_error(files, tmp_path):
    """Truth: pixels are in one of two files only; 0.7 mmag are added in quadrature; the baseline is the mean."""
    table = Table.read(files[0][1], format="ascii.ecsv")
    table.remove_columns(["x", "y"])
    table.write(tmp_path / "fewer.ecsv", format="ascii.ecsv")
    for paths in ([files[0][0], tmp_path / "fewer.ecsv"], [tmp_path / "fewer.ecsv", files[0][0]]):
        joined = derive_from(paths, baseline="mean")
        m = joined.solutions["F200W"].measurements
        assert (m.x, m.y, joined.table.baseline) == (None, None, "mean")
        errors = [np.asarray(t["mag_error"][t["selected"] & ~t["reserved"]])
                  for t in (Table.read(path, format="ascii.ecsv") for path in paths)]  # fmt: skip
        np.testing.assert_allclose(m.mag_error, np.hypot(np.concatenate(errors), 0.0007), rtol=1e-6)
        assert joined.files == tuple(path.name for path in paths)


def test_measurements_that_were_not_selected_may_be_in_two_files(files, tmp_path):
    """Truth: the rows of both files, with those of the first one added to the second, not selected."""
    first, second = (Table.read(path, format="ascii.ecsv") for path in files[0])
    names = second.meta["exposures"]
    first["selected"] = np.zeros(len(first), bool)
    first["source"] += 10**6
    first["exposure"] += 10**6
    first["time"] += 10**6
    both = vstack([second, first], metadata_conflicts="silent")
    both.meta = second.meta | {"exposures": names}
    both.write(tmp_path / "both.ecsv", format="ascii.ecsv")
    found, expected = derive_from([files[0][0], tmp_path / "both.ecsv"]), derive_from(files[0])
    assert found.table.rows == expected.table.rows
