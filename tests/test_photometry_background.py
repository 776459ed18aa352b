"""Truth: skies of known level, and astropy's sigma clipping."""

from types import SimpleNamespace

import numpy as np
import pytest
from astropy.stats import sigma_clip
from scipy.stats import median_abs_deviation

from jwst_modfix.errors import PhotometryError
from jwst_modfix.photometry.source_list import (
    clip,
    find_connected,
    map_background,
    measure_sky,
    subtract,
)

NOISE = 0.02  # MJy/sr


def make_frame(data, bad=None):
    """The part of an exposure that the background needs."""
    bad = np.zeros(data.shape, bool) if bad is None else bad
    return SimpleNamespace(data=data.astype(np.float32), bad=bad, header=SimpleNamespace(path="one_cal.fits"))


@pytest.mark.parametrize("n", [1, 2, 3, 4, 51, 200])
@pytest.mark.filterwarnings("ignore:Input data contains invalid values")
def test_clipping_is_that_of_astropy(n):
    """Truth: astropy's clipping of each row alone, with numpy's median and median distance from it."""
    rng = np.random.default_rng(n)
    rows = np.where(rng.random((50, n)) < 0.1, 30.0, rng.normal(size=(50, n)))
    rows[rng.random(rows.shape) < 0.1] = rng.choice([np.nan, np.inf])
    rows[0] = np.nan
    kept = clip(rows)
    for i, row in enumerate(rows):
        expected = sigma_clip(row, sigma=3, maxiters=5, cenfunc="median", stdfunc="mad_std", masked=False)
        np.testing.assert_array_equal(kept.values[i, kept.first[i] : kept.last[i]], np.sort(expected))
        assert kept.size[i] == len(expected)
        if len(expected):
            middle = np.median(expected)
            assert kept.median[i] == middle
            assert kept.deviation[i] == pytest.approx(median_abs_deviation(expected, scale="normal"))
            assert kept.spread[i] == pytest.approx(np.std(expected), abs=1e-12)
    assert kept.size[0] == 0
    assert np.isnan(kept.median[0])
    assert clip(np.ones((1, n))).size == n


def test_a_plane_is_mapped_under_sources_and_holes():
    """The truth: a sloping sky; what is between the outermost centres of boxes is a plane too."""
    y, x = np.mgrid[:500, :420]
    sky = 0.3 + 1e-4 * x + 2e-4 * y
    rng = np.random.default_rng(1)
    data = sky + rng.normal(0, NOISE, sky.shape)
    data[(x % 90 < 8) & (y % 70 < 8)] += 5.0
    bad = (x > 200) & (x < 290) & (y > 100) & (y < 160)
    data[bad] = np.nan
    level, noise = map_background(make_frame(data, bad))
    inner = np.s_[96:-116, 96:-100]
    assert np.abs(level - sky)[inner].max() < 0.01
    assert np.abs(np.mean((level - sky)[inner])) < 1e-3
    assert noise == pytest.approx(NOISE, rel=0.05)
    assert level.dtype == np.float32


def test_a_plane_without_noise_is_mapped_as_it_is():
    """Truth: the plane itself, but for the outermost boxes, which the filter of three boxes changes."""
    y, x = np.mgrid[:512, :448]
    sky = 0.3 + 1e-3 * x + 2e-3 * y
    inner = np.s_[96:-96, 96:-96]
    np.testing.assert_allclose(map_background(make_frame(sky))[0][inner], sky[inner], atol=1e-4)


@pytest.mark.parametrize("fraction", [0.3, 1.0], ids=["box with few good pixels", "box filled by a source"])
def test_one_odd_box_does_not_change_the_sky(fraction):
    """The truth: a flat sky of 0.3; one box of 64 x 64 pixels has another value, with few or with all pixels good."""
    rng = np.random.default_rng(2)
    data = 0.3 + rng.normal(0, NOISE, (512, 512))
    data[128:192, 192:256] += 5.0
    bad = np.zeros(data.shape, bool)
    bad[128:192, 192:256] = rng.random((64, 64)) > fraction
    frame = make_frame(data, bad)
    assert map_background(frame)[0] == pytest.approx(0.3, abs=6 * NOISE / 64)
    assert measure_sky(frame)[0] == pytest.approx(0.3, abs=0.001)


def test_error_of_the_sky_level_is_its_scatter():
    """The truth: the scatter of the levels of 400 skies of the same brightness, known to 3.5%."""
    rng = np.random.default_rng(3)
    found = [measure_sky(make_frame(0.3 + rng.normal(0, NOISE, (256, 256)))) for _ in range(400)]
    level, error = np.transpose(found)
    assert np.sqrt(np.mean(error**2)) == pytest.approx(np.std(level), rel=0.12)


def test_a_sky_without_a_good_box_is_refused():
    data = np.full((128, 128), np.nan)
    data[:, :10] = 1.0
    frame = make_frame(data, ~np.isfinite(data))
    with pytest.raises(PhotometryError, match="one_cal.fits: no background can be measured: no box of 64 x 64 pixels"):
        map_background(frame)
    assert np.isnan(measure_sky(frame)[0])


def test_bad_pixels_are_filled_by_good_neighbours_only():
    """Truth: the mean of the good ones of four neighbours above the sky, and 0 where there is none."""
    data = np.arange(20.0).reshape(4, 5)
    bad = np.zeros(data.shape, bool)
    bad[1, 1] = bad[1, 2] = bad[0, 4] = bad[0, 3] = bad[1, 4] = True
    data[bad] = [1e6, np.nan, 1e6, 1e6, 1e6]
    found = subtract(make_frame(data, bad), 1.0)
    assert found[1, 1] == pytest.approx(np.mean([1, 11, 5]) - 1)
    assert found[1, 2] == pytest.approx(np.mean([2, 12, 8]) - 1)
    assert found[0, 4] == 0
    np.testing.assert_array_equal(found[~bad], data[~bad] - 1)


def test_connected_pixels_are_measured_from_the_least_number_on():
    """Truth: six pixels that touch at corners, five in a row, and one at the threshold."""
    image = np.zeros((20, 30))
    image[range(2, 8), range(3, 9)] = 2.0
    image[12, 4:9], image[15, 20] = 3.0, 1.0
    total, x, y = find_connected(image, 1.0).measure(image)
    assert (total.tolist(), x.tolist(), y.tolist()) == ([12.0], [5.5], [4.5])
    assert len(find_connected(image, 5.0).measure(image)[0]) == 0
