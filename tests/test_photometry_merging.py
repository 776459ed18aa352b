"""Truth: a sky of known sources, of which each exposure sees a part, with errors and a shift of its own."""

import numpy as np
import pytest

from jwst_modfix.errors import PhotometryError
from jwst_modfix.photometry.detection import Detections
from jwst_modfix.photometry.source_list import find_shift, measure_isolation, merge_detections

ARCSEC = 1 / 3600


def make_sky(rng, number=150, ra=0.001, dec=68.9):
    """Places in 100" x 100", across RA = 0."""
    east, north = rng.uniform(-50, 50, (2, number)) * ARCSEC
    return (ra + east / np.cos(np.radians(dec))) % 360, dec + north


def see(rng, name, ra, dec, flux, *, shift=(0.0, 0.0), error=0.005, band="F200W+CLEAR"):
    east, north = (rng.normal(0, error, len(ra)) + s for s in shift)
    seen = rng.random(len(ra)) < 0.8
    ra = (ra + east * ARCSEC / np.cos(np.radians(dec))) % 360
    return Detections(exposure=name, band=band, ra=ra[seen], dec=(dec + north * ARCSEC)[seen], flux=flux[seen])


@pytest.fixture
def sky():
    rng = np.random.default_rng(11)
    ra, dec = make_sky(rng)
    return rng, ra, dec, 10 ** rng.uniform(-7, -5, len(ra))


def test_sources_seen_often_come_once_though_pointings_are_wrong(sky):
    rng, ra, dec, flux = sky
    shifts = [(0.0, 0.0), (0.6, -0.3), (-0.2, 0.9), (0.1, 0.05), (0.0, -0.7)]
    found = [see(rng, f"e{i}", ra, dec, flux, shift=shift) for i, shift in enumerate(shifts)]
    sources = merge_detections(found)
    # Each is missed by all five with a chance of 0.03%, and neighbours within the radius are one in this sky: none.
    assert len(sources) == len(ra)
    order = np.lexsort([dec, ra])
    offset = (sources.ra - ra[order] + 180) % 360 - 180
    assert np.abs(offset * np.cos(np.radians(dec[order]))).max() < 0.05 * ARCSEC
    assert np.sort(sources.flux) == pytest.approx(np.sort(flux))


def test_order_of_exposures_does_not_matter(sky):
    rng, ra, dec, flux = sky
    found = [see(rng, f"e{i}", ra, dec, flux, shift=(0.1 * i, 0), error=0.03) for i in range(6)]
    first, second = merge_detections(found), merge_detections(found[::-1])
    for name in ("ra", "dec", "flux", "n_detections", "isolation"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_shift_is_found(sky):
    rng, ra, dec, flux = sky
    seen = see(rng, "e", ra, dec, flux, shift=(0.8, -0.4))
    east, north = find_shift(seen.ra, seen.dec, ra, dec)
    assert (east, north) == pytest.approx((-0.8, 0.4), abs=0.003)


def test_too_few_pairs_give_no_shift():
    ra, dec = np.array([10.0, 10.01]), np.array([0.0, 0.0])
    assert find_shift(ra + ARCSEC, dec, ra, dec) == (0.0, 0.0)


def test_flux_is_the_median_in_the_brightest_band(sky):
    rng, ra, dec, flux = sky
    found = [see(rng, f"a{i}", ra, dec, flux * f) for i, f in enumerate((1.0, 1.0, 9.0))]
    found += [see(rng, f"b{i}", ra, dec, flux * 1.5, band="F444W+CLEAR") for i in range(3)]
    sources = merge_detections(found)
    true = flux[np.lexsort([dec, ra])]
    assert np.median(sources.flux / true) == pytest.approx(1.5)


def test_isolation_counts_neighbours_of_a_tenth_of_the_flux():
    # The truth: 3" to a neighbour of half the flux; the one at 1" has 5%, and is itself overshadowed.
    ra, dec = np.array([50.0, 50.0, 50.0]), np.array([0.0, 1.0, 3.0]) * ARCSEC
    isolation = measure_isolation(ra, dec, np.array([1.0, 0.05, 0.5]), 0.1)
    assert isolation == pytest.approx([3.0, 1.0, 3.0])


def test_a_lone_source_is_isolated():
    assert measure_isolation(np.array([1.0]), np.array([2.0]), np.array([1.0]), 0.1) == [np.inf]


def test_no_source_at_all_is_an_error_that_names_the_exposures():
    empty = Detections(exposure="dark_cal.fits", band="F200W+CLEAR", ra=np.empty(0), dec=np.empty(0), flux=np.empty(0))
    with pytest.raises(PhotometryError, match=r"no source was detected in any of 1 exposures: dark_cal\.fits"):
        merge_detections([empty])
