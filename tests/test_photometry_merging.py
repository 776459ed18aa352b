"""Truth: a sky of known sources, of which each exposure sees a part, with errors and a shift of its own."""

import numpy as np
import pytest
from one_header import make_header

from jwst_modfix.errors import PhotometryError
from jwst_modfix.photometry.source_list import (
    Detections,
    choose_exposures,
    find_shift,
    measure_isolation,
    merge_detections,
    refine_centroids,
)

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


@pytest.mark.parametrize("dec", [68.9, -68.9])
@pytest.mark.parametrize(("number", "shift"), [(4, (0.0, 0.0)), (5, (-1.0, 0.4))])
def test_five_pairs_give_a_shift(number, shift, dec):
    """Truth: sources 1" east and 0.4" south of the list, beside one that is 1.2" off in another direction."""
    along = 20 * ARCSEC * np.arange(number + 1)
    ra, place = 10.0 + along / np.cos(np.radians(dec)), np.full(number + 1, dec)
    east, north = np.where(along == 0, -0.6, 1.0), np.where(along == 0, 1.0, -0.4)
    found = find_shift(ra + east * ARCSEC / np.cos(np.radians(dec)), place + north * ARCSEC, ra, place)
    assert found == pytest.approx(shift, abs=1e-4)


@pytest.mark.parametrize(("ratio", "expected"), [(1.5, 1.5), (0.5, 1.0)])
def test_flux_is_the_median_in_the_brightest_band(sky, ratio, expected):
    rng, ra, dec, flux = sky
    found = [see(rng, f"a{i}", ra, dec, flux * f) for i, f in enumerate((1.0, 1.0, 9.0))]
    found += [see(rng, f"b{i}", ra, dec, flux * ratio, band="F444W+CLEAR") for i in range(3)]
    sources = merge_detections(found)
    true = flux[np.lexsort([dec, ra])]
    assert np.median(sources.flux / true) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("apart", "counts"), [(0.10, [2, 1]), (0.20, [1, 1, 1])], ids=["within the radius", "beyond it"]
)
def test_two_sources_stay_two_though_one_exposure_blends_them(apart, counts):
    """The truth: a pair that the first exposure sees as one source at the place of the first, or 0.1" beyond it."""
    lone = np.arange(8) * 5 * ARCSEC
    blend = see_all("e0", np.append(lone, 0.0 if apart < 0.15 else -0.2 * ARCSEC))
    pair = see_all("e1", np.concatenate([lone, [0.0, apart * ARCSEC]]))
    sources = merge_detections([blend, pair])
    near = sources.n_detections[np.abs(sources.dec - 60) > 0.5 * ARCSEC]
    assert sorted(near.tolist(), reverse=True) == counts
    assert (sources.n_detections[np.abs(sources.dec - 60) < 0.5 * ARCSEC] == 2).all()


def see_all(name, east):
    """Sources along a line of declination 60 deg; the last ones, beyond eight, are an arcsec north of it."""
    dec = 60 + np.where(np.arange(len(east)) < 8, 0.0, ARCSEC)
    ra = 200 + np.asarray(east) / np.cos(np.radians(dec))
    return Detections(exposure=name, band="F200W+CLEAR", ra=ra, dec=dec, flux=np.full(len(east), 1e-6))


@pytest.mark.parametrize(("flux", "expected"), [(0.5, 1.0), (0.11, 1.0), (0.09, 3.0)])
def test_isolation_counts_neighbours_of_a_tenth_of_the_flux(flux, expected):
    """The truth: neighbours at 1" and, of half the flux, at 3"."""
    ra, dec = np.array([50.0, 50.0, 50.0]), np.array([0.0, 1.0, 3.0]) * ARCSEC
    assert measure_isolation(ra, dec, np.array([1.0, flux, 0.5]))[0] == pytest.approx(expected)
    assert measure_isolation(ra[:1], dec[:1], np.array([1.0])) == [np.inf], "alone"


def test_isolation_looks_beyond_many_faint_neighbours(sky):
    """Truth: distances between all pairs of 30 sources, of which one has nine fainter ones nearer."""
    rng, ra, dec, _ = sky
    flux = 10 ** rng.uniform(0, 6, 30)
    east = ((ra[:30, None] - ra[:30] + 180) % 360 - 180) * np.cos(np.radians(68.9))
    distance = np.hypot(east, dec[:30, None] - dec[:30]) / ARCSEC
    counts = (flux > 0.1 * flux[:, None]) & ~np.eye(30, dtype=bool)
    nearest = np.where(counts, distance, np.inf).min(axis=1)
    assert measure_isolation(ra[:30], dec[:30], flux) == pytest.approx(nearest, rel=1e-3)
    assert (distance < nearest[:, None]).sum(axis=1).max() > 6


def test_no_source_at_all_is_an_error_that_names_the_exposures():
    empty = Detections(exposure="dark_cal.fits", band="F200W+CLEAR", ra=np.empty(0), dec=np.empty(0), flux=np.empty(0))
    with pytest.raises(PhotometryError, match=r"no source was detected in any of 1 exposure: dark_cal\.fits"):
        merge_detections([empty])


@pytest.mark.parametrize(
    ("second", "chosen"),
    [
        ({"east": 0}, ["a"]),
        ({"east": 12}, ["a", "b"]),
        ({"east": 0, "filter": "F444W"}, ["a", "b"]),
        ({"east": None}, ["a", "b"]),
    ],
    ids=["same sky", "20% new", "other filter", "unknown footprint"],
)
@pytest.mark.parametrize("ra", [150.0, 0.0, 359.999])
def test_sources_are_found_in_as_few_exposures_as_cover_the_sky(second, chosen, ra):
    headers = [make_header(name="b", **second, ra=ra), make_header(name="a", east=0, ra=ra)]
    assert [header.name for header in choose_exposures(headers)] == chosen


@pytest.mark.parametrize(("east", "count"), [(4.0, 1), (8.0, 2)])
def test_an_exposure_is_searched_if_it_adds_three_percent(east, count):
    """Truth: 200" of sky in cells of 4": a shift by one or two of them adds 2 or 4%."""
    headers = [make_header(name=name, east=place, ra=150.0, size=200) for name, place in (("a", 0.0), ("b", east))]
    assert len(choose_exposures(headers)) == count


def test_sources_near_an_exposure_are_measured_in_it():
    """The truth: pointing errors are below 1.5"; a source 100" beyond the footprint is not on the array."""
    ra = 150 + np.array([-130.0, -2.0, 30.0, 62.0, 190.0]) * ARCSEC
    sources = merge_detections([Detections(exposure="e", band="b", ra=ra, dec=ra * 0 + 0.008, flux=ra * 0 + 1e-6)])
    assert sources.rows_near(make_header(east=0, ra=150.0)).tolist() == [1, 2, 3]
    assert sources.rows_near(make_header()).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("detector", "pixel"), [("NRCA1", 0.031), ("NRCBLONG", 0.062)])
@pytest.mark.parametrize(("start", "expected"), [(32.0, 30.0), (26.0, 30.0), (37.0, 37.0), (55.0, 55.0)])
def test_a_centroid_that_strays_to_a_neighbour_or_finds_no_light_is_given_up(start, expected, detector, pixel):
    """Truth: a star at (30, 30); a centroid may move by 0.15 or, in long wavelengths, 0.30 arcsec: 4.8 pixels."""
    y, x = np.mgrid[:61, :61]
    star = np.exp(-((x - 30) ** 2 + (y - 30) ** 2) / (2 * 1.5**2)) * (np.hypot(x - 30, y - 30) < 15)
    header = make_header(detector, pixar_sr=np.deg2rad(pixel / 3600) ** 2)
    found = refine_centroids(star, np.array([start]), np.array([30.0]), header)
    assert np.ravel(found) == pytest.approx([expected, 30.0], abs=0.02)
