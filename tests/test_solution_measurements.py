"""The table of measurements refuses what no solver could use, and u follows its definition."""

import numpy as np
import pytest

from jwst_modfix.errors import MeasurementsError
from jwst_modfix.fitting.measurements import ORIGIN, Measurements, focal_plane_coordinate


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


def test_u_is_one_arcmin_60_arcsec_toward_v2():
    u = focal_plane_coordinate(ORIGIN[0] + np.array([60.0, 0.0]), ORIGIN[1] + np.array([0.0, 60.0]))
    np.testing.assert_allclose(u, [1.0, 0.0], atol=1e-12)


def test_direction_counts_from_v3_toward_v2():
    u = focal_plane_coordinate(ORIGIN[0] + np.array([60.0, 0.0]), ORIGIN[1] + np.array([0.0, 60.0]), direction=0.0)
    np.testing.assert_allclose(u, [0.0, 1.0], atol=1e-12)
    u = focal_plane_coordinate([ORIGIN[0] + 60.0], [ORIGIN[1] + 60.0], direction=30.0)
    np.testing.assert_allclose(u, 0.5 + np.sqrt(3) / 2)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mag": [20.0]}, r"columns must have one length; got .*'mag': 1"),
        ({"mag": [20.0, np.nan]}, r"F200W\+CLEAR: mag must be finite; 1 are not, the first in row 1"),
        ({"V2": [np.inf, 0.0]}, "V2 must be finite; 1 are not, the first in row 0"),
        ({"RA": [10.0, np.nan]}, "RA must be finite"),
        ({"mag_error": [0.01, 0.0]}, "mag_error must be positive; row 1 has 0"),
        ({"array": ["1", "5"]}, "array must be one of 1, 2, 3, 4, long; row 1 has '5'"),
        ({"module": ["A", "C"]}, "module must be one of A, B; row 1 has 'C'"),
        ({"source": [0.5, 1.0]}, "source must be integers; got float64"),
        ({"mag": [[20.0, 20.0]]}, "mag must have one dimension; got 2"),
    ],
)
def test_refuses(changes, words):
    with pytest.raises(MeasurementsError, match=words):
        table(**changes)


def test_select_keeps_rows_together():
    chosen = table(RA=[10.0, 11.0]).select(np.array([False, True]))
    assert chosen.module.tolist() == ["B"]
    assert chosen.RA.tolist() == [11.0]
    assert chosen.detector.tolist() == [1]
    assert len(chosen) == 1
