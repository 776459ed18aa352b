"""Truth: tables whose good rows are known."""

import numpy as np
import pytest

from jwst_modfix.photometry.columns import (
    COLUMNS,
    GROWTHS,
    Flag,
    make_measurements,
    select_measurements,
    to_magnitudes,
)


def make_table(**given):
    """Two sources in four exposures, bright and clean unless something else is given."""
    n = 8
    columns = {name: np.zeros(n, kind) for name, kind, _, _ in COLUMNS}
    columns |= {"source": np.repeat([0, 1], 4), "exposure": np.tile(np.arange(4), 2), "isolation": np.full(n, 9.0)}
    columns |= {"flux": np.full(n, 1e-5), "flux_error": np.full(n, 2e-8), "filter": np.full(n, "F200W")}
    columns |= {"compactness": np.full(n, 0.8), "source_mag": np.full(n, np.nan)}
    return make_measurements(columns | given)


@pytest.mark.parametrize(
    ("flags", "selected", "rejected"),
    [
        ([0] * 8, [1] * 8, {}),
        ([0, 1, 0, 0, 0, 0, 0, 0], [1, 0, 1, 1, 1, 1, 1, 1], {"edge": 1}),
        ([0, 0, 8, 0, 0, 0, 0, 0], [1, 1, 0, 1, 1, 1, 1, 1], {"masked": 1}),
        ([0, 0, 0, 16, 0, 0, 0, 0], [1, 1, 1, 0, 1, 1, 1, 1], {"sky": 1}),
        ([0, 0, 0, 0, 32, 0, 0, 0], [1, 1, 1, 1, 0, 1, 1, 1], {"negative": 1}),
        ([4] * 8, [1] * 8, {}),
        ([0, 2, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 1, 1, 1, 1], {"saturated": 4}),
        ([0, 1, 1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 1, 1, 1, 1], {"edge": 3, "single": 1}),
    ],
    ids=["clean", "edge", "masked", "sky", "negative", "filled up", "saturated: all of the source", "one left"],
)
def test_flags_reject(flags, selected, rejected):
    """Truth: the bits of the measurement file, as its description states them."""
    selection = select_measurements(make_table(flags=np.array(flags)))
    np.testing.assert_array_equal(selection.mask, selected)
    assert {name: count for name, count in selection.rejected.items() if count} == rejected


def test_limits_are_judged_for_the_source_not_for_the_measurement():
    # The truth: noise must not decide which measurements of a source near the limit are kept, or its mean is biased.
    limit = 3631 * 10 ** (-0.4 * 22.0)
    flux = np.array([1.02, 0.98, 1.03, 1.01, 0.97, 1.01, 0.98, 0.99]) * limit
    selection = select_measurements(make_table(flux=flux, flux_error=flux / 300))
    np.testing.assert_array_equal(selection.mask, [1, 1, 1, 1, 0, 0, 0, 0])
    assert selection.rejected["faint"] == 4


def test_the_magnitude_limit_is_that_of_the_source_not_of_its_part_in_the_aperture():
    # The truth: a galaxy of 21.5 mag is brighter than 22, though the aperture holds but half a magnitude less of it.
    limit = 3631 * 10 ** (-0.4 * 22.0)
    part = make_table(flux=np.full(8, 0.9 * limit), flux_error=np.full(8, 0.9 * limit / 300))
    assert not select_measurements(part).mask.any()
    part["source_mag"] = np.repeat([21.5, 22.1], 4)
    np.testing.assert_array_equal(select_measurements(part).mask, np.repeat([True, False], 4))


@pytest.mark.parametrize(
    ("column", "good", "wrong", "rule"),
    [
        ("flux", 100 * 2e-8, 99.9 * 2e-8, "snr"),
        ("source_mag", 22.0, 22.01, "faint"),
        ("isolation", 1.0, 0.99, "crowded"),
        ("compactness", 0.0, np.nan, None),
    ],
)
def test_limits_are_those_of_the_documentation(column, good, wrong, rule):
    # The truth: signal to noise of 100, 22 mag, 1 arcsec, each of which is good enough; any compactness.
    given = {"source_mag": np.full(8, 20.0), column: np.repeat([good, wrong], 4)}
    selection = select_measurements(make_table(**given))
    np.testing.assert_array_equal(selection.mask, np.repeat([True, rule is None], 4))
    assert {name: count for name, count in selection.rejected.items() if count} == ({rule: 4} if rule else {})
    extended = make_table(compactness=np.repeat([0.8, 0.5], 4))
    selection = select_measurements(extended, compactness=0.7)
    np.testing.assert_array_equal(selection.mask, np.repeat([True, False], 4))


@pytest.mark.parametrize(("column", "names"), [("filter", ["F200W", "F444W"]), ("pupil", ["CLEAR", "F405N"])])
def test_a_source_is_judged_in_each_filter(column, names):
    # The truth: the source is saturated and faint in one filter only.
    flags = np.array([Flag.SATURATED, 0, 0, 0, 0, 0, 0, 0])
    table = make_table(source=np.zeros(8, int), flags=flags, **{column: np.repeat(names, 4)})
    np.testing.assert_array_equal(select_measurements(table).mask, np.repeat([False, True], 4))


def test_unusable_measurements_have_no_part_in_what_is_typical():
    """Truth: the first two of four measurements are cut by the edge, and seem faint and noisy; the others are good."""
    edge, flux = np.array([1, 1, 0, 0] * 2), np.array([1e-8, 1e-8, 1e-5, 1e-5] * 2)
    selection = select_measurements(make_table(flags=edge, flux=flux, compactness=flux), compactness=9e-6)
    np.testing.assert_array_equal(selection.mask, edge == 0)


@pytest.mark.parametrize("name", GROWTHS)
def test_each_number_of_the_larger_apertures_is_needed_for_them(name):
    known = dict.fromkeys(GROWTHS, np.zeros(8)) | {name: np.where(np.arange(8) == 2, np.nan, 0.0)}
    assert select_measurements(make_table(**known), growth=True).mask.tolist() == [True, True, False] + 5 * [True]
    assert select_measurements(make_table(**known)).mask.all()


def test_ab_magnitudes():
    # The truth: 3631 Jy is 0 mag AB; an error of 1% is 0.010857 mag.
    mag, error = to_magnitudes([3631.0, 3.631e-6, -1.0], [36.31, 3.631e-8, 1.0])
    assert mag[:2] == pytest.approx([0.0, 22.5])
    assert error[:2] == pytest.approx([0.010857, 0.010857], rel=1e-4)
    assert np.isnan(mag[2])
