"""Truth: fluxes of sources of known flux, drawn here with pixels of known size, or written as they must come out."""

from types import SimpleNamespace

import numpy as np
import pytest
from one_header import make_header
from scipy.special import ndtr

from jwst_modfix.errors import PhotometryError
from jwst_modfix.photometry.columns import Flag
from jwst_modfix.photometry.forced import Aperture, default_aperture, measure_fluxes
from jwst_modfix.photometry.frames import Frame

APERTURE = Aperture(radius=0.3, inner=0.75, outer=1.2)
SCALE = np.diag([-0.031, 0.0308])  # arcsec per pixel
PIXAR_SR = 2.37e-14
SHAPE = (121, 131)
NOISE = 0.01


def draw(x, y, flux, sigma=0.028, sky=0.2, area=1.0):
    """Surface brightness [MJy/sr] of a round Gaussian of a flux [Jy], integrated over the pixels, on a flat sky."""

    def share(size, centre, pixel):
        edges = (np.arange(size + 1) - 0.5 - centre) * abs(pixel) / sigma
        return np.diff(ndtr(edges))

    light = np.outer(share(SHAPE[0], y, SCALE[1, 1]), share(SHAPE[1], x, SCALE[0, 0]))
    return sky + flux * light / (PIXAR_SR * 1e6 * area)


def make_frame(data, bad=None, saturated=None, area=1.0, err=NOISE, detector="NRCA1"):
    none = np.zeros(data.shape, bool)
    arrays = {"data": data, "err": np.full(data.shape, err), "area": np.full(data.shape, area)}
    masks = {"bad": none if bad is None else bad, "saturated": none if saturated is None else saturated}
    return Frame(header=make_header(detector, pixar_sr=PIXAR_SR, shape=data.shape), geometry=None, **masks, **arrays)


def measure_source(frame, x, y, scale, aperture):
    """Measure one source; the two beside it, one of them outside of the array, must not change it."""
    found = measure_fluxes(
        frame, np.array([x + 7.3, x, 900.0]), np.array([y - 4.1, y, y]), np.stack(3 * [scale]), aperture
    )
    return SimpleNamespace(**{name: values[1] for name, values in found.items()})


def measure_draws(image, aperture, rng, n, **about):
    """Measure the middle of an image in n draws of noise, each a tile of a frame; no annulus reaches the next tile."""
    y, x = 60.0 + np.mgrid[:10, :10].reshape(2, -1) * np.reshape(SHAPE, (2, 1))
    found, tiles = [], np.tile(image, (10, 10))
    for _ in range(n // 100):
        frame = make_frame(tiles + rng.normal(0, NOISE, tiles.shape), **about)
        found.append(measure_fluxes(frame, x, y, np.stack(100 * [SCALE]), aperture))
    return SimpleNamespace(**{name: np.concatenate([one[name] for one in found]) for name in found[0]})


@pytest.mark.parametrize("area", [0.97, 1.0, 1.04])
def test_flux_is_sum_of_data_times_area_times_solid_angle(area):
    # The truth: the source's flux, whatever the pixel's area; R = 0.3" holds all but 1e-25 of it.
    one = measure_source(make_frame(draw(60.3, 58.8, 2e-6, area=area), area=area), 60.3, 58.8, SCALE, APERTURE)
    assert one.flux == pytest.approx(2e-6, rel=1e-5)
    assert one.sky == pytest.approx(0.2, abs=1e-5)
    assert one.flags == 0


def test_flux_of_a_flat_sky_is_zero_and_of_a_disc_is_its_area():
    # The truth: a uniform surface brightness above a sky of zero is the aperture's area on the sky times it.
    x, y = np.meshgrid(np.arange(SHAPE[1]) - 60.0, np.arange(SHAPE[0]) - 60.0)
    disc = (np.hypot(x * SCALE[0, 0], y * SCALE[1, 1]) < 0.5).astype(float)
    one = measure_source(make_frame(disc), 60.0, 60.0, SCALE, APERTURE)
    pixels = np.pi * 0.3**2 / (0.031 * 0.0308)
    assert one.flux == pytest.approx(pixels * PIXAR_SR * 1e6, rel=1e-6)
    assert one.compactness == pytest.approx(0.25, rel=1e-6)
    # The outer edge of a pixel nine columns or rows away is 0.2945" or 0.2926" from the centre: it counts as a whole.
    for column, row in [(51, 60), (69, 60), (60, 51), (60, 69)]:
        image = np.zeros(SHAPE)
        image[row, column] = 1.0
        one = measure_source(make_frame(image), 60.0, 60.0, SCALE, APERTURE)
        assert one.flux == pytest.approx(PIXAR_SR * 1e6, rel=1e-6)


@pytest.mark.parametrize(
    "aperture", [APERTURE, Aperture(radius=0.3, inner=0.31, outer=0.38)], ids=["pixels", "half of it the sky's"]
)
def test_error_is_the_scatter_of_the_fluxes(aperture):
    # The truth: the scatter over 300 skies, known to three times 1/sqrt(600).
    found = measure_draws(np.full(SHAPE, 0.2), aperture, np.random.default_rng(5), 300)
    assert np.std(found.flux) / np.median(found.flux_error) == pytest.approx(1.0, abs=0.13)


@pytest.mark.parametrize(
    ("flux", "bad_beyond", "saturated", "flags"),
    [
        (2e-6, 26, (0, 0), Flag.SKY),  # most of the annulus
        (2e-6, 99, (61, 60), Flag.SATURATED),
        (2e-6, 99, (60, 70), Flag.SATURATED),  # a pixel across the edge of the aperture
        (2e-6, 99, (60, 71), Flag(0)),  # and its neighbour outside
        (-1e-8, 99, (0, 0), Flag.NEGATIVE),
        (0.0, 99, (0, 0), Flag.NEGATIVE),
        (2e-6, 99, (0, 0), Flag(0)),
    ],
)
def test_flags_of_the_sky_saturation_and_no_light(flux, bad_beyond, saturated, flags):
    x, y = np.meshgrid(np.arange(SHAPE[1]), np.arange(SHAPE[0]))
    bad = np.hypot(x - 60, y - 60) > bad_beyond
    frame = make_frame(np.where(bad, np.nan, draw(60.0, 60.0, flux)), bad, (y == saturated[0]) & (x == saturated[1]))
    assert measure_source(frame, 60.0, 60.0, SCALE, APERTURE).flags == flags


def test_a_neighbour_that_is_clipped_from_the_annulus_is_no_noise():
    """Truth: the error without the neighbour, as its pixels are not in the sky; half of the error is the sky's."""
    image = np.random.default_rng(9).normal(0.2, NOISE, SHAPE)
    crowded, aperture = image.copy(), Aperture(radius=0.3, inner=0.31, outer=0.5)
    crowded[60:62, 71:74] += 5.0
    one, other = (measure_source(make_frame(each), 60.0, 60.0, SCALE, aperture) for each in (image, crowded))
    assert other.flux_error == pytest.approx(one.flux_error, rel=0.02)
    assert other.sky == pytest.approx(one.sky, abs=0.1 * NOISE)


def test_bad_pixels_of_the_annulus_do_not_count_whatever_they_hold():
    """Truth: the sky of the good pixels; 45% of all are bad, and higher by 1.5 sigma, which no clipping removes."""
    rng = np.random.default_rng(8)
    bad = rng.random(SHAPE) < 0.45
    data = rng.normal(0.2, NOISE, SHAPE) + 1.5 * NOISE * bad
    y, x = np.indices(SHAPE)
    radius = np.hypot((x - 60) * SCALE[0, 0], (y - 60) * SCALE[1, 1])
    good = data[~bad & (radius >= APERTURE.inner) & (radius <= APERTURE.outer)]
    assert measure_source(make_frame(data, bad), 60.0, 60.0, SCALE, APERTURE).sky == pytest.approx(
        np.median(good), abs=0.02 * NOISE
    )


@pytest.mark.parametrize("flux", [2e-7, 2e-6, 2e-5])  # of a wide source, whose wings are in the annulus
def test_light_in_the_annulus_is_no_noise_but_makes_the_median_noisier(flux):
    """Truth: the scatter over 300 skies. If the brightest wings were noise, the error would be far too large."""
    found = measure_draws(draw(60.0, 60.0, flux, sigma=0.45), APERTURE, np.random.default_rng(5), 300)
    assert np.std(found.flux) / np.median(found.flux_error) == pytest.approx(1.0, abs=0.13)


def mask(*places, sigma=0.045):
    """A source of 2 uJy in the middle, with some pixels masked, and the share of its flux that they hold."""
    image = draw(60.0, 60.0, 2e-6, sigma=sigma)
    bad = np.zeros(SHAPE, bool)
    for x, y in places:
        bad[y, x] = True
    lost = ((image - 0.2)[bad]).sum() / (image - 0.2).sum()
    return make_frame(np.where(bad, np.nan, image), bad, err=1e-9), lost


@pytest.mark.parametrize(
    ("place", "share", "flags"),
    [
        ((62, 60), 0.025, Flag.FILLED | Flag.MASKED),
        ((63, 60), 0.005, Flag.FILLED),
        ((68, 60), 0.0, Flag.FILLED),
    ],
    ids=["more than 2%", "less than 2%", "nothing"],
)
def test_flux_is_filled_in_up_to_two_percent(place, share, flags):
    # The truth: the flux of the drawn source; 15% of the share that is filled in are in the error.
    frame, lost = mask(place)
    assert lost >= share
    one = measure_source(frame, 60.0, 60.0, SCALE, APERTURE)
    assert one.flags == flags
    assert one.flux == pytest.approx(2e-6, rel=1e-4)
    assert one.flux_error == pytest.approx(0.15 * lost * 2e-6, rel=1e-3, abs=1e-12)
    assert one.masked == pytest.approx(0.031 * 0.0308 / (np.pi * 0.3**2))


def test_the_masked_share_is_of_the_area_inside_the_aperture():
    # The truth: the part of a pixel across the edge that is inside, by points of 1/500 of its side.
    frame, _ = mask((70, 60), (60, 63))
    x, y = np.meshgrid((np.arange(500) + 0.5) / 500 + 9.5, (np.arange(500) + 0.5) / 500 - 0.5)
    inside = np.mean(np.hypot(x * SCALE[0, 0], y * SCALE[1, 1]) < 0.3)
    one = measure_source(frame, 60.0, 60.0, SCALE, APERTURE)
    assert 0.1 < inside < 0.9
    assert one.masked == pytest.approx((1 + inside) * 0.031 * 0.0308 / (np.pi * 0.3**2), rel=1e-4)


def test_masked_centre_is_flagged_though_it_is_faint():
    frame, lost = mask((60, 60), sigma=0.2)
    assert lost < 0.02
    assert measure_source(frame, 60.0, 60.0, SCALE, Aperture(radius=0.9, inner=1.0, outer=1.5)).flags & Flag.MASKED


def test_pixel_whose_counterpart_is_masked_too_takes_the_ring():
    # The truth: the source's flux, within what the error says of the 1.8% that is filled in: twice 0.15 of it.
    bad = np.zeros(SHAPE, bool)
    bad[60, [57, 63]] = True
    image = np.where(bad, np.nan, draw(60.0, 60.0, 2e-6, sigma=0.045))
    one = measure_source(make_frame(image, bad), 60.0, 60.0, SCALE, APERTURE)
    assert one.flags & Flag.FILLED
    assert one.flux == pytest.approx(2e-6, rel=0.3 * 0.018)


@pytest.mark.parametrize("place", [(5.0, 60.0), (60.0, 115.0), (-1.0, 60.0), (500.0, 60.0)])
def test_aperture_over_the_edge_is_flagged_and_has_no_flux(place):
    one = measure_source(make_frame(draw(60.0, 60.0, 2e-6)), *place, SCALE, APERTURE)
    assert one.flags == Flag.EDGE
    assert np.isnan(one.flux)


@pytest.mark.parametrize("column", [0, 130])
@pytest.mark.parametrize(("away", "flags"), [(9.25, Flag(0)), (8.9, Flag.EDGE)], ids=["within", "cut"])
def test_an_aperture_may_reach_the_outer_edge_of_the_outermost_pixels(column, away, flags):
    # The truth: 0.3" are 9.68 pixels, and the array ends half a pixel beyond the centre of its outermost column.
    place = abs(column - away)
    assert measure_source(make_frame(draw(place, 60.0, 2e-6)), place, 60.0, SCALE, APERTURE).flags == flags


@pytest.mark.parametrize(("first", "last"), [(0.752, 0.775), (1.17, 1.198)], ids=["inner edge", "outer edge"])
def test_the_annulus_reaches_from_its_inner_to_its_outer_radius(first, last):
    # The truth: only pixels at one edge of the annulus are good; too few for a good sky, but they are all there is.
    x, y = np.meshgrid(np.arange(SHAPE[1]), np.arange(SHAPE[0]))
    radius = np.hypot((x - 60) * SCALE[0, 0], (y - 60) * SCALE[1, 1])
    bad = (radius > 0.7) & ~((radius > first) & (radius < last))
    one = measure_source(make_frame(draw(60.0, 60.0, 2e-6, sky=0.7), bad), 60.0, 60.0, SCALE, APERTURE)
    assert one.flags == Flag.SKY
    assert one.sky == pytest.approx(0.7)


def test_apertures_are_those_of_the_documentation():
    # The truth: 0.30" and 0.45", with an annulus from 2.5 to 4 times that.
    for channel, radius in (("SHORT", 0.30), ("LONG", 0.45)):
        found = default_aperture(channel)
        assert (found.radius, found.inner, found.outer) == pytest.approx((radius, 2.5 * radius, 4 * radius))


@pytest.mark.parametrize(("good", "flags"), [(0.35, Flag(0)), (0.25, Flag.SKY)])
def test_three_tenths_of_the_annulus_are_enough_for_the_sky(good, flags):
    """Truth: a sector of the annulus is good, so large a part of the circle."""
    y, x = np.indices(SHAPE)
    dx, dy = (x - 60) * SCALE[0, 0], (y - 60) * SCALE[1, 1]
    bad = (np.hypot(dx, dy) > 0.7) & (np.abs(np.arctan2(dy, dx)) > good * np.pi)
    assert measure_source(make_frame(draw(60.0, 60.0, 2e-6), bad), 60.0, 60.0, SCALE, APERTURE).flags == flags


def test_radii_must_grow():
    assert Aperture(radius=0.3, inner=0.3, outer=1).radius == 0.3
    with pytest.raises(PhotometryError, match=r"aperture: must have 0 < radius <= inner < outer; got 0.3, 0.5, 0.5"):
        Aperture(radius=0.3, inner=0.5, outer=0.5)
    with pytest.raises(PhotometryError, match=r"aperture: must have 0 < radius <= inner < outer; got 0.3, 0.2, 1"):
        Aperture(radius=0.3, inner=0.2, outer=1)
