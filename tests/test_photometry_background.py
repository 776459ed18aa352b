"""Truth: skies of known level, and clipping value by value."""

from types import SimpleNamespace

import numpy as np
import pytest

from jwst_modfix.errors import PhotometryError
from jwst_modfix.photometry.background import clip, clipped_medians, map_background

NOISE = 0.02  # MJy/sr


def make_frame(data, bad=None):
    """What `map_background` asks of an exposure."""
    bad = np.zeros(data.shape, bool) if bad is None else bad
    return SimpleNamespace(data=data.astype(np.float32), bad=bad, header=SimpleNamespace(path="one_cal.fits"))


@pytest.mark.parametrize("n", [1, 2, 3, 4, 51, 200])
def test_all_rows_are_clipped_as_each_alone(n):
    rng = np.random.default_rng(n)
    rows = rng.normal(size=(100, n))
    rows[rng.random(rows.shape) < 0.1] = np.nan
    rows[rng.random(rows.shape) < 0.05] = 30.0
    rows[:3, 0] = np.inf
    rows[3] = np.nan
    rows[4] = 1.0
    found = clipped_medians(rows)
    kept = [clip(row) for row in rows]
    np.testing.assert_array_equal(found.kept, [len(values) for values in kept])
    some = found.kept > 0
    medians = np.array([np.median(values) for values in kept if len(values)])
    deviations = [np.median(np.abs(values - np.median(values))) for values in kept if len(values)]
    np.testing.assert_allclose(found.median[some], medians, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.sigma[some], 1.4826 * np.array(deviations), rtol=0, atol=1e-12)
    assert np.isnan(found.median[3])


def test_a_plane_is_mapped_under_sources_and_holes():
    """The truth: a sloping sky; what is between the outermost middles of boxes is a plane too."""
    y, x = np.mgrid[:500, :420]
    sky = 0.3 + 1e-4 * x + 2e-4 * y
    rng = np.random.default_rng(1)
    data = sky + rng.normal(0, NOISE, sky.shape)
    data[(x % 90 < 8) & (y % 70 < 8)] += 5.0
    bad = (x > 200) & (x < 290) & (y > 100) & (y < 160)
    data[bad] = np.nan
    found = map_background(make_frame(data, bad))
    inner = np.s_[96:-116, 96:-100]
    assert np.abs(found.level - sky)[inner].max() < 0.01
    assert np.abs(np.mean((found.level - sky)[inner])) < 1e-3
    assert found.noise == pytest.approx(NOISE, rel=0.05)
    assert found.level.dtype == np.float32


def test_a_sky_without_a_good_box_is_refused():
    data = np.full((128, 128), np.nan)
    data[:, :10] = 1.0
    with pytest.raises(PhotometryError, match="one_cal.fits: no background can be measured: no box of 64 pixels"):
        map_background(make_frame(data, ~np.isfinite(data)))
