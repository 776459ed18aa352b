"""The table of measurements refuses what no solver could use, and u follows its definition."""

import numpy as np
import pytest
from astropy.table import Column, MaskedColumn, vstack

from jwst_modfix.errors import MeasurementsError
from jwst_modfix.fitting.measurements import ORIGIN, Measurements, focal_plane_coordinate
from jwst_modfix.fitting.solution import fit


def table(**changes):
    columns = {
        "source": [0, 0],
        "exposure": [0, 1],
        "epoch": [0, 1],
        "array": ["1", "1"],
        "module": ["A", "B"],
        "mag": [20.0, 20.1],
        "mag_error": [0.01, 0.01],
        "V2": [0.0, 1.0],
        "V3": [0.0, 1.0],
        "filter": "F200W",
    }
    return Measurements(**columns | changes)


@pytest.mark.parametrize(
    ("direction", "toward_v2", "toward_v3"), [(90.0, 1.0, 0.0), (0.0, 0.0, 1.0), (30.0, 0.5, np.sqrt(3) / 2)]
)
def test_u_is_one_arcmin_60_arcsec_along_the_direction(direction, toward_v2, toward_v3):
    """Truth: the direction counts from +V3 toward +V2."""
    V2, V3 = ORIGIN[0] + np.array([60.0, 0.0, 60.0]), ORIGIN[1] + np.array([0.0, 60.0, 60.0])
    u = focal_plane_coordinate(V2, V3, direction=direction)
    np.testing.assert_allclose(u, [toward_v2, toward_v3, toward_v2 + toward_v3], atol=1e-12)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mag": [20.0]}, r"columns must have one length; got .*'mag': 1"),
        ({"mag": [20.0, np.nan]}, r"F200W: mag must be finite; 1 are not, the first in row 1"),
        ({"V2": [np.inf, 0.0]}, "V2 must be finite; 1 are not, the first in row 0"),
        ({"RA": [10.0, np.nan]}, "RA must be finite"),
        ({"Dec": [np.nan, 10.0]}, "Dec must be finite"),
        ({"x": [10.0, np.nan]}, "x must be finite"),
        ({"y": [10.0, np.inf]}, "y must be finite"),
        ({"colour": [0.0, np.nan]}, "colour must be finite"),
        ({"mag_error": [0.01, 0.0]}, "mag_error must be positive; row 1 has 0"),
        ({"mag_error": [0.01, 1e160]}, r"mag_error must be from 1e-100 to 1e\+100; row 1 has 1e\+160"),
        ({"mag_error": [1e-160, 0.01]}, r"mag_error must be from 1e-100 to 1e\+100; row 0 has 1e-160"),
        ({"mag": [20.0, -10.1]}, "mag must be from -10 to 50; row 1 has -10.1"),
        ({"mag": [20.0, 99.0]}, "mag must be from -10 to 50; row 1 has 99: leave rows out that were not measured"),
        ({"array": ["1", "5"]}, "array must be one of 1, 2, 3, 4, long; row 1 has '5'"),
        ({"module": ["A", "C"]}, "module must be one of A, B; row 1 has 'C'"),
        ({"source": [0.5, 1.0]}, "source must be integers; got float64"),
        ({"mag": ["20", "faint"]}, "mag must be numbers: could not convert string to float"),
        ({"mag": [[20.0, 20.0]]}, "mag must have one dimension; got 2"),
    ],
)
def test_refuses(changes, words):
    with pytest.raises(MeasurementsError, match=words):
        table(**changes)


def test_magnitudes_at_the_limits_are_accepted():
    assert table(mag=[-10.0, 50.0]).mag.tolist() == [-10.0, 50.0]


@pytest.mark.parametrize(("exposure", "epoch"), [([0, 1, 0, 1], [0, 0, 1, 1]), ([7, 7, 8, 8], [0, 1, 0, 1])])
def test_exposures_of_one_number_in_two_epochs_have_times_of_their_own(exposure, epoch):
    """Truth: four exposures, by number and epoch; a time that is given is kept."""
    same = {name: np.resize(getattr(table(), name), 4) for name in ("array", "module", "mag", "mag_error", "V2", "V3")}
    known = same | {"source": [0] * 4, "exposure": exposure, "epoch": epoch}
    assert len(np.unique(table(**known).time)) == 4
    assert table(**known, time=[3, 4, 5, 6]).time.tolist() == [3, 4, 5, 6]


@pytest.mark.parametrize("keep", [[2, 1], [False, True, True], [1, 1, 1], [True, True, True]])
def test_rows_are_taken_by_indices_in_their_order_or_by_a_mask(keep):
    m = table(**{name: np.resize(getattr(table(), name), 3) for name in ("array", "module", "mag_error", "V2", "V3")},
              source=[0, 1, 2], exposure=[0, 0, 0], epoch=[0, 0, 0], mag=[18.0, 19.0, 20.0],
              RA=[8.0, 9.0, 10.0])  # fmt: skip
    chosen = m.select(np.array(keep))
    assert chosen.mag.tolist() == (chosen.RA + 10).tolist() == np.array([18.0, 19.0, 20.0])[keep].tolist()
    assert chosen.detector.tolist() == m.detector[keep].tolist()


def astropy_table(**changes):
    """Two clean rows of a file of measurements, with units."""
    made = table().to_table()
    for name, values in changes.items():
        made[name] = values
    return made


def test_tables_go_out_and_come_back():
    m = table(
        RA=[10.0, 11.0],
        Dec=[1.0, 2.0],
        x=[5.0, 6.0],
        y=[7.0, 8.0],
        colour=[0.0, 1.0],
        reserved=[False, True],
        pupil="F162M",
    )
    made = m.to_table()
    units = {"mag": "mag", "mag_error": "mag", "V2": "arcsec", "V3": "arcsec", "x": "pix", "y": "pix", "RA": "deg"}
    units |= {"Dec": "deg", "colour": "mag"}
    assert {name: str(made[name].unit) for name in made.colnames if made[name].unit is not None} == units
    again = Measurements.from_table(made)
    for name in ("source", "array", "mag", "V3", "RA", "y", "reserved"):
        np.testing.assert_array_equal(getattr(again, name), getattr(m, name))
    assert (again.filter, again.pupil) == ("F200W", "F162M")


def test_takes_the_selected_rows_of_one_filter_and_adds_the_least_error():
    made = vstack([astropy_table(selected=[True, True]), astropy_table(filter="F444W", selected=[True, False])])
    m = Measurements.from_table(made, filter="F444W", least_error=0.002)
    assert (len(m), m.filter, m.mag.tolist()) == (1, "F444W", [20.0])
    assert m.mag_error == pytest.approx([np.hypot(0.01, 0.002)])


@pytest.mark.parametrize(
    ("error", "words"),
    [(-0.01, "mag_error must be positive; row 1 has -0.01"), (0.0, "mag_error must be positive; row 1 has 0"),
     (np.nan, "mag_error must be finite"), ("?", "mag_error must be numbers: could not")],
)  # fmt: skip
def test_the_least_error_makes_no_good_error_of_a_bad_one(error, words):
    made = astropy_table()
    made["mag_error"] = [0.01, error]
    with pytest.raises(MeasurementsError, match=words):
        Measurements.from_table(made, least_error=0.002)


@pytest.mark.parametrize(("column", "wanted", "other"), [("filter", "F150W", "F150W2"), ("pupil", "F405N", "CLEAR")])
def test_one_filter_is_taken_by_its_whole_name(column, wanted, other):
    """Truth: F150W is the beginning of another filter's name; rows that are not selected need not be complete."""
    made = vstack([astropy_table(**{column: [name] * 2}) for name in (wanted, other)])
    m = Measurements.from_table(made, **{column: wanted})
    assert (len(m), getattr(m, column)) == (2, wanted)
    made["selected"], made["mag"] = np.asarray(made[column]) == wanted, MaskedColumn(made["mag"])
    made["mag"].mask = ~made["selected"]
    m = Measurements.from_table(made)
    assert (len(m), getattr(m, column)) == (2, wanted)


def test_epochs_are_numbered_in_the_order_of_the_rows():
    made = vstack([astropy_table(epoch=[name] * 2, time=[n, n]) for n, name in enumerate(("b", "c", "a", "c"))])
    assert Measurements.from_table(made).epoch.tolist() == [0, 0, 1, 1, 2, 2, 1, 1]


def test_reads_the_columns_of_the_simulator():
    """Truth: epochs by name, in the order of the observations, and lower-case names of coordinates."""
    made = astropy_table(epoch=["ep2", "ep10"])
    made.rename_columns(["mag_error", "V2", "V3"], ["mag_err", "v2", "v3"])
    m = Measurements.from_table(made)
    assert m.epoch.tolist() == [0, 1]
    assert (m.mag_error.tolist(), m.V2.tolist()) == ([0.01, 0.01], [0.0, 1.0])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"V2": None, "mag": None}, "no column mag, V2; it has source, exposure"),
        ({"mag": Column([1.0, 2.0], unit="Jy")}, "mag is in Jy; must be in mag"),
        ({"V3": Column([1.0, 2.0], unit="deg")}, "V3 is in deg; must be in arcsec"),
        ({"V2": Column([1.0, 2.0], unit="arcmin")}, "V2 is in arcmin; must be in arcsec"),
        ({"mag_error": Column([1.0, 2.0], unit="mmag")}, "mag_error is in mmag; must be in mag"),
        ({"colour": Column([1.0, 2.0], unit="mmag")}, "colour is in mmag; must be in mag"),
        *(({name: Column([1.0, 2.0], unit="arcsec")}, f"{name} is in arcsec; must be in pix") for name in "xy"),
        *(({name: Column([1.0, 2.0], unit="rad")}, f"{name} is in rad; must be in deg") for name in ("RA", "Dec")),
        ({"mag": [[1.0, 2.0], [3.0, 4.0]]}, "mag must have one dimension; got 2"),
        ({"mag": MaskedColumn([1.0, 2.0], mask=[False, True])}, "mag is masked in row 1; leave the row out"),
        ({"filter": ["F200W", "F444W"]}, r"2 values of filter \(F200W, F444W\); choose one with filter="),
        ({"selected": ["True", "False"]}, "selected must be True or False in every row, got <U5 such as 'True'"),
        ({"selected": [1.0, np.nan]}, "selected must be True or False in every row, got float64 such as 1.0"),
        ({"selected": [0, 2]}, "selected must be True or False in every row, got int64 such as 0"),
        ({"selected": MaskedColumn([True, True], mask=[False, True])}, "selected must be .*, got masked values"),
        ({"reserved": ["T", "F"]}, "reserved must be True or False in every row, got <U1 such as 'T'"),
        ({"pupil": ["CLEAR", "F162M"]}, r"2 values of pupil \(CLEAR, F162M\); choose one with pupil="),
    ],
)
def test_refuses_tables(changes, words):
    made = astropy_table(**{name: values for name, values in changes.items() if values is not None})
    made.remove_columns([name for name, values in changes.items() if values is None])
    with pytest.raises(MeasurementsError, match=words):
        Measurements.from_table(made)


@pytest.mark.parametrize("flags", [[True, False], [1, 0], np.array([1, 0], np.uint8)])
def test_flags_are_true_and_false_or_1_and_0(flags):
    """As text, as a CSV file has them, both would be true."""
    assert len(Measurements.from_table(astropy_table(selected=flags))) == 1


@pytest.mark.parametrize("made", [None, "m.ecsv", {"mag": [20.0]}, np.zeros(2), [1, 2]])
def test_what_is_no_table_is_refused(made):
    with pytest.raises(MeasurementsError, match="measurements must be an astropy table, got"):
        Measurements.from_table(made)


@pytest.mark.parametrize("error", [np.nan, -0.001, "0.001", None, 10**400, np.float32(np.inf)])
def test_the_least_error_is_a_number(error):
    with pytest.raises(MeasurementsError, match="least_error must be a number of at least 0, got"):
        Measurements.from_table(astropy_table(), least_error=error)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"robust": "no"}, "robust must be True or False; got 'no'"),
        ({"colour_term": "no"}, "colour_term must be True or False; got 'no'"),
        ({"scatter": "False"}, "scatter must be True or False; got 'False'"),
        ({"fit_direction": None}, "fit_direction must be True or False; got None"),
        ({"per_module": 2}, "per_module must be True or False; got 2"),
        ({"direction": np.nan}, "direction must be a number, and origin two; got nan"),
        ({"direction": "90"}, "direction must be a number, and origin two; got '90'"),
        ({"origin": (1.0,)}, r"origin two; got 90.0 and \(1.0,\)"),
        ({"origin": None}, "origin two; got 90.0 and None"),
        ({"min_sources": np.nan}, "min_sources must be a number greater than 0; got nan"),
        ({"min_sources": "10"}, "min_sources must be a number greater than 0; got '10'"),
        ({"scale": "detectors", "per_module": True}, "fit_direction and per_module need scale='modules'"),
        ({"scale": "arrays"}, "scale must be one of modules, detectors; got 'arrays'"),
        ({"fit_slope": "some"}, "fit_slope must be one of long, all, none; got 'some'"),
        ({"time_term": "maybe"}, "time_term must be one of auto, fit, zero; got 'maybe'"),
        ({"scale": "detectors", "field_order": "auto"}, "field_order='auto' needs reserved sources"),
        ({"field_order": "2"}, "field_order and drift='fit' need scale='detectors'"),
        ({"scale": "detectors", "field_order": "4"}, "field_order must be one of 0, 1, 2, 3, auto; got '4'"),
        ({"scale": "detectors", "drift": "all"}, "drift must be one of report, fit, no; got 'all'"),
        ({"scale": "detectors", "drift": "fit", "time_term": "zero"}, "drift='fit' needs terms of epochs"),
        ({"colour_term": True}, "F200W: colour_term needs the column colour, the magnitude of"),
    ],
)
def test_parameters_of_another_type_or_that_contradict_are_refused(options, words):
    """Text such as 'no' counts as true in Python, and NaN passes every comparison."""
    with pytest.raises(MeasurementsError, match=words):
        fit(table(), **options)


@pytest.mark.parametrize("made", [None, astropy_table(), [table()]])
def test_what_is_no_measurements_is_refused(made):
    with pytest.raises(
        MeasurementsError, match="measurements must be Measurements, as Measurements.from_table makes; got"
    ):
        fit(made)
