"""Diffraction PSFs: the truth is the optics of textbooks, by ways that the simulator does not use."""

import numpy as np
import pytest
import yaml
from one_exposure import one_exposure, sources_at
from photutils.aperture import ApertureStats, CircularAperture
from scipy.ndimage import gaussian_filter, uniform_filter
from scipy.special import j1

from jwst_modfix.errors import SimulationError
from jwst_modfix.simulate import Band, Wavefronts
from jwst_modfix.simulate.diffraction import DIAMETER, DiffractionPSF, diffract, pupil
from jwst_modfix.simulate.render import draw_sources
from jwst_modfix.simulate.scene import Mixture

POINT, ROUND = Mixture(np.ones(1), np.zeros(1)), np.zeros((2, 2))
FLUX_20 = 3631e-6 * 10**-8  # MJy of 20 mag AB


def draw(a, b, seed=1):
    return Wavefronts.draw(np.random.default_rng(seed), {"A": a, "B": b})


def band(name):
    """A band that is narrow enough for one wavelength."""
    known = Band.named(name)
    return Band(name=name, filter=name, pupil="CLEAR", wavelength=known.wavelength, bandwidth=0.001)


def encircled(image, radius, step):
    y, x = (np.indices(image.shape) - len(image) // 2) * step
    return image[np.hypot(x, y) <= radius].sum()


def encircled_by_transfer(wavefront, length, radius):
    """Light within a radius [rad] from the autocorrelation of the pupil: integral of OTF r J1(2 pi r f) / f."""
    field = pupil() * np.exp(2j * np.pi * wavefront * 1e-9 / length)
    n, step = 2 * len(field), DIAMETER / len(field)
    transfer = np.fft.ifft2(np.abs(np.fft.fft2(field, (n, n))) ** 2).real / (np.abs(field) ** 2).sum()
    lag = np.fft.fftfreq(n, 1 / n) * step / length  # cycles/rad
    f = np.hypot(lag[:, None], lag)
    kernel = np.where(f > 0, radius * j1(2 * np.pi * radius * f) / np.where(f > 0, f, 1), np.pi * radius**2)
    return (transfer * kernel).sum() * (step / length) ** 2


def test_area_of_the_pupil():
    """18 hexagons with flats 1.32 m apart, less three struts: 26.4 m2."""
    hexagons = 18 * np.sqrt(3) / 2 * 1.32**2
    struts = 3 * 0.1 * 2.6  # m: from the missing segment's edge, 0.66 m, to the outer edge, 3.0 to 3.3 m
    assert pupil().sum() * (DIAMETER / len(pupil())) ** 2 == pytest.approx(hexagons - struts, rel=0.005)


@pytest.mark.parametrize(("name", "rms"), [("F200W", 60.0), ("F200W", 100.0), ("F444W", 130.0)])
def test_strehl_ratio_is_that_of_the_wavefront_error(name, rms):
    """Marechal: exp(-(2 pi sigma / lambda)^2)."""
    light, wavefronts = band(name), draw(rms, rms)
    perfect, real = (diffract(one, light, 0.02).max() for one in (0 * pupil(), wavefronts.modules["A"]))
    expected = np.exp(-((2 * np.pi * rms * 1e-3 / light.wavelength) ** 2))
    assert real / perfect == pytest.approx(expected, abs=0.02 * (1 - expected) + 0.002)
    assert wavefronts.rms == pytest.approx({"A": rms, "B": rms})


@pytest.mark.parametrize(("name", "radius"), [("F200W", 0.15), ("F200W", 0.30), ("F444W", 0.45)])
def test_light_in_a_circle_is_that_of_the_autocorrelation_of_the_pupil(name, radius):
    light, wavefront = band(name), draw(60.0, 80.0).modules["B"]
    expected = encircled_by_transfer(wavefront, 1e-6 * light.wavelength, np.deg2rad(radius / 3600))
    assert encircled(diffract(wavefront, light, 0.004), radius, 0.004) == pytest.approx(expected, abs=5e-4)


def test_three_wavelengths_stand_for_a_band():
    """Truth: the mean of PSFs of the pivot wavelength and of 0.4 bandwidths to either side of it."""
    known, wavefront = Band.named("F200W"), draw(60.0, 80.0).modules["A"]
    narrow = [Band(name="n", filter="F200W", pupil="CLEAR", wavelength=1.990 + share * 0.461, bandwidth=0.0)
              for share in (-0.4, 0.0, 0.4)]  # fmt: skip
    expected = np.mean([diffract(wavefront, one, 0.03) for one in narrow], axis=0)
    np.testing.assert_allclose(diffract(wavefront, known, 0.03), expected, rtol=1e-9, atol=1e-15)


def test_modules_share_the_segments_but_not_the_rest():
    """The shared part has 0.6 of the smaller rms, so the two differ by sqrt(a^2 + b^2 - 2 0.36 a^2) on the mean."""
    differences = []
    for seed in range(30):
        drawn = draw(60.0, 80.0, seed)
        differences.append((drawn.modules["A"] - drawn.modules["B"])[pupil() > 0.5].var())
    assert np.mean(differences) == pytest.approx(60**2 + 80**2 - 2 * 0.36 * 60**2, rel=0.1)


def test_pixels_of_another_size_are_interpolated():
    """The PSF is fixed on the sky: for pixels between the two sizes it is that of such pixels."""
    wavefront = draw(60.0, 80.0).modules["A"]
    between = DiffractionPSF(wavefront, Band.named("F444W"), 0.062, 0.064).stamp(0.2, -0.3, 0.063, POINT, ROUND)
    exact = DiffractionPSF(wavefront, Band.named("F444W"), 0.063, 0.063).stamp(0.2, -0.3, 0.063, POINT, ROUND)
    assert between.shape == exact.shape
    np.testing.assert_allclose(between, exact, atol=3e-4 * exact.max())
    circle = CircularAperture((len(exact) // 2 + 0.2, len(exact) // 2 - 0.3), 0.45 / 0.063)
    lost = [-2.5 * np.log10(ApertureStats(image, circle).sum) for image in (between, exact)]
    assert lost[0] == pytest.approx(lost[1], abs=5e-5)


@pytest.mark.parametrize("type", ["star", "exponential", "devaucouleurs"])
@pytest.mark.parametrize(("detector", "name", "held"), [("NRCA1", "F200W", 0.979), ("NRCBLONG", "F444W", 0.968)])
def test_sources_keep_their_place_and_the_light_of_the_psf(detector, name, held, type):
    """Within 1.4" or 2.1" a perfect pupil holds 97.9 and 96.8% of the light; wide parts of galaxies lose none."""
    exposure = one_exposure(detector, name)
    scene = sources_at(exposure, [900.3, 1500.6], [1100.8, 400.1], type)
    image = draw_sources(scene, exposure, wavefronts=draw(1.0, 1.0))
    box = image[1001:1201, 801:1001]
    assert box.sum() / FLUX_20 == pytest.approx(held, abs=0.003) or (type != "star" and held < box.sum() / FLUX_20 <= 1)
    y, x = np.indices(box.shape)
    bright = np.hypot(x - 99.3, y - 99.8) < 8
    assert (box * x)[bright].sum() / box[bright].sum() == pytest.approx(99.3, abs=0.05)
    assert (box * y)[bright].sum() / box[bright].sum() == pytest.approx(99.8, abs=0.05)


def on_fine_steps(wavefront, size, steps=9):
    """PSF of F200W on steps of a pixel, which filters of scipy smooth as pixels, diffusion and coupling do."""
    fine = gaussian_filter(uniform_filter(diffract(wavefront, Band.named("F200W"), size / steps), steps), 0.2 * steps)
    return 0.98 * fine + 0.005 * sum(np.roll(fine, shift, axis) for shift in (-steps, steps) for axis in (0, 1))


def test_pixels_have_the_light_that_falls_on_them():
    wavefront = draw(60.0, 80.0).modules["B"]
    stamp = DiffractionPSF(wavefront, Band.named("F200W"), 0.0311, 0.0311).stamp(0.0, 0.0, 0.0311, POINT, ROUND)
    fine, middle = on_fine_steps(wavefront, 0.0311), len(stamp) // 2
    centres = len(fine) // 2 + 9 * np.arange(-3, 4)
    expected = 81 * fine[np.ix_(centres, centres)]
    np.testing.assert_allclose(
        stamp[middle - 3 : middle + 4, middle - 3 : middle + 4], expected, atol=2e-3 * expected.max()
    )


def test_apertures_lose_more_in_the_module_of_the_larger_error():
    wavefronts, found, expected = draw(0.0, 150.0), {}, {}
    for module in "AB":
        exposure = one_exposure(f"NRC{module}1", "F200W")
        size = np.sqrt(np.prod(exposure.geometry.pixel_scales))
        image = draw_sources(sources_at(exposure, [1000.2], [900.4]), exposure, wavefronts=wavefronts)
        found[module] = ApertureStats(image, CircularAperture((1000.2, 900.4), 0.30 / size)).sum / FLUX_20
        expected[module] = encircled(on_fine_steps(wavefronts.modules[module], size), 0.30, size / 9)
    assert found == pytest.approx(expected, abs=1e-3)
    assert -2.5 * np.log10(found["A"] / found["B"]) < -0.005


def test_command_writes_the_wavefronts_and_refuses_them_without_diffraction(modfix, tmp_path):
    few = ["--filter", "F444W", "--epochs", 1, "--subarray", "1,1,16,16", "--density", "0.001", "--dithers", "1"]
    modfix("simulate", "out", *few, "--psf", "diffraction", "--wavefront", 100, 130)
    truth = yaml.safe_load((tmp_path / "out" / "field_truth.yaml").read_text())
    assert truth["psf"] == {"diffraction, wavefront rms [nm]": {"A": pytest.approx(100), "B": pytest.approx(130)}}
    words = modfix("simulate", "other", *few, "--wavefront", 100, 130, status=2)
    assert "--wavefront: only together with --psf diffraction" in words


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_wavefront_that_cannot_be_is_refused(value):
    with pytest.raises(SimulationError, match=f"wavefront of module B: must be finite, 0 nm or more; got {value:g} nm"):
        draw(60.0, value)
