"""Truth: epochs that a person would tell apart."""

import numpy as np
import pytest
from one_header import make_header

from jwst_modfix.errors import PhotometryError
from jwst_modfix.photometry.frames import find_wide_epochs, group_epochs


def at(times, rolls):
    """Headers of exposures at these times and rolls."""
    return [make_header(mjd=mjd, roll=roll) for mjd, roll in zip(times, rolls, strict=True)]


def test_gap_in_time_ends_an_epoch_whatever_the_order():
    epochs = group_epochs(at([60180.0, 60000.0, 60181.0, 60000.5], [10, 10, 10, 10]))
    np.testing.assert_array_equal(epochs.number, [1, 0, 1, 0])
    assert epochs.names == ("2023-02-25T00:00", "2023-08-24T00:00")


@pytest.mark.parametrize(
    ("times", "rolls", "limits", "numbers"),
    [
        (range(60000, 60200, 25), [33.0] * 8, {}, [0] * 8),
        ([60000, 60001, 60002, 60003], [30, 31, 124, 125], {}, [0, 0, 1, 1]),
        ([60000, 60001, 60002, 60003], [30, 34, 38, 42], {}, [0, 0, 1, 1]),
        ([60000, 60030, 60060.1, 60061], [30, 35, 35, 40.1], {}, [0, 0, 1, 2]),
        ([60000, 60001, 60002], [359.0, 1.0, -1.0], {}, [0, 0, 0]),
        ([60000, 60040], [0, 8], {"gap_days": 50, "roll_tolerance": 10}, [0, 0]),
        ([60000, 60004], [0, 0], {"gap_days": 3}, [0, 1]),
    ],
    ids=["no gap", "other roll", "5 deg from the first", "at limits", "modulo 360", "wide limits", "narrow limits"],
)
def test_a_gap_or_another_roll_ends_an_epoch(times, rolls, limits, numbers):
    np.testing.assert_array_equal(group_epochs(at(times, rolls), **limits).number, numbers)


def test_names_of_the_association_come_first_numbered_by_time():
    epochs = group_epochs(at([60000, 60100, 60200], [0, 0, 0]), names=["b", "a", "b"])
    assert (epochs.names, epochs.number.tolist()) == (("b", "a"), [0, 1, 0]), "by their first exposures"
    epochs = group_epochs(at([60500, 60000, 60501], [0, 0, 170]), names=["1", "2", "1"])
    np.testing.assert_array_equal(epochs.number, [1, 0, 1])
    assert epochs.names == ("2", "1")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gap_days": 0}, "gap_days: must be more than 0; got 0"),
        ({"gap_days": np.nan}, "gap_days: must be more than 0; got nan"),
        ({"roll_tolerance": -1}, "roll_tolerance: must be more than 0; got -1"),
        ({"names": ["a", None]}, "1 of 2 members have no epoch, the first is member 2; give it for every"),
    ],
)
def test_wrong_limits_and_names_are_refused(options, message):
    with pytest.raises(PhotometryError, match=message):
        group_epochs(at([1, 2], [0, 0]), **options)


def test_one_name_for_two_epochs_is_reported():
    # The truth: two programs call their first epochs alike, 182 days and 180 deg apart; their second are one epoch.
    headers = at([60000.0, 60182.0, 60400.0, 60401.0], [161.0, 341.0, 161.0, 161.0])
    (line,) = find_wide_epochs(headers, group_epochs(headers, ["1", "1", "2", "2"]))
    assert "epoch 1 of the association: its exposures are up to 182.0 days apart, 2 epochs by time and roll" in line
    assert find_wide_epochs(headers, group_epochs(headers)) == []
