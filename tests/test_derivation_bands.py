"""Truth: errors that are put in, and the least error that a measurement may count with."""

import numpy as np
import pytest
from astropy.table import Table

from jwst_modfix.derivation.bands import _take

NUMBERS = ("V2", "V3", "x", "y", "RA", "Dec")


def test_no_measurement_counts_for_more_than_two_mmag():
    """By photons alone, the source of 0.1 mmag would outweigh nine hundred of 3 mmag."""
    table = Table({name: np.zeros(2) for name in NUMBERS} | {name: [0, 1] for name in ("source", "exposure", "epoch")})
    table["array"], table["module"], table["filter"], table["pupil"] = "1", ["A", "B"], "F200W", "CLEAR"
    table["mag"], table["mag_error"] = [18.0, 22.0], [0.0001, 0.003]
    rows, measurements = _take(table, np.ones(2, bool), ("F200W", "CLEAR"))
    assert rows.tolist() == [0, 1]
    assert measurements.mag_error == pytest.approx(np.hypot([0.0001, 0.003], 0.002))
    assert table["mag_error"].tolist() == [0.0001, 0.003], "the table keeps what was measured"
