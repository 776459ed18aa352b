"""
What apertures lose where the wavefronts of the two modules differ: offsets of stars of equal brightness, without noise.

Run ``python benchmarks/apertures.py --number 40`` with the project installed. PSFs are those of the simulator
(``modfix simulate --psf diffraction``). Each pair of wavefronts has its own seed.
"""

import argparse

import numpy as np
from photutils.aperture import ApertureStats, CircularAperture

from jwst_modfix.photometry.forced import FARTHEST, LARGE, default_aperture, growth_shares, systematic_error
from jwst_modfix.simulate import BANDS, Wavefronts, random_stream
from jwst_modfix.simulate.diffraction import DiffractionPSF
from jwst_modfix.simulate.scene import Mixture

WAVEFRONTS = ((60.0, 80.0), (100.0, 130.0))  # nm rms of module A and of module B
PIXELS = {"SHORT": 0.0311, "LONG": 0.0629}  # arcsec
POINT = Mixture(np.ones(1), np.zeros(1))
PHASES = [(x, y) for x in (-0.25, 0.25) for y in (-0.25, 0.25)]  # of the star in its pixel


def magnitudes(wavefront, band):
    """Magnitudes in the aperture, in 1.5 times and in twice its radius, above the median of the annulus."""
    size, aperture = PIXELS[band.channel], default_aperture(band.channel)
    psf = DiffractionPSF(wavefront, band, size, size)
    return np.mean([measure(psf, place, size, aperture) for place in PHASES], axis=0)


def measure(psf, place, size, aperture):
    """Magnitudes of a star at one place in its pixel."""
    image = psf.stamp(*place, size, POINT, np.zeros((2, 2)))
    centre = [len(image) // 2 + shift for shift in place]
    y, x = np.indices(image.shape)
    distance = size * np.hypot(x - centre[0], y - centre[1])
    image = image - np.median(image[(distance > aperture.inner) & (distance < aperture.outer)])
    circles = [CircularAperture(centre, factor * aperture.radius / size) for factor in (1.0, LARGE, FARTHEST)]
    return -2.5 * np.log10([ApertureStats(image, circle).sum for circle in circles])


def draw_offsets(band, wavefronts, trial):
    """Offsets A - B of one pair of wavefronts in the three apertures [mmag]."""
    rng = random_stream(trial, "apertures", band.name, str(wavefronts))
    drawn = Wavefronts.draw(rng, dict(zip("AB", wavefronts, strict=True)))
    a, b = (magnitudes(drawn.modules[module], band) for module in "AB")
    return 1e3 * (a - b)


def main():
    """Print the rms of offsets by aperture, the best extrapolation, and how often floor and error hold the truth."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=40, help="pairs of wavefronts [40]")
    parser.add_argument("--first", type=int, default=0, help="seed of the first pair [0]")
    given = parser.parse_args()
    for name in ("F200W", "F444W"):
        band, everything, trials = BANDS[name], [], range(given.first, given.first + given.number)
        near, far = growth_shares("extrapolated", band.channel)
        for wavefronts in WAVEFRONTS:
            offset = np.array([draw_offsets(band, wavefronts, trial) for trial in trials])
            everything.append(offset)
            report(f"{name}, {wavefronts[0]:.0f} and {wavefronts[1]:.0f} nm", offset, near, far)
        offset = np.concatenate(everything)
        report(f"{name}, all", offset, near, far)
        growth = np.diff(offset, axis=1)
        print(f"    best extrapolation: {np.linalg.lstsq(growth, -offset[:, 0], rcond=None)[0].round(2)}", flush=True)


def report(name, offset, near, far):
    """Print a row: rms in each aperture and extrapolated, and how often what the package calls the floor is enough."""
    growth = np.diff(offset, axis=1)
    extrapolated = offset[:, 0] + near * growth[:, 0] + far * growth[:, 1]
    rms = np.sqrt(np.mean(np.column_stack([offset, extrapolated]) ** 2, axis=0))
    band = ("LONG", "F444W") if "F444W" in name else ("SHORT", "F200W")
    print(f"{name:24} rms r {rms[0]:.2f}, 1.5 r {rms[1]:.2f}, 2 r {rms[2]:.2f}, extrapolated {rms[3]:.2f} mmag")
    for aperture, value in (("r", offset[:, 0]), ("large", offset[:, 1]), ("extrapolated", extrapolated)):
        floor = np.array([1e3 * systematic_error(aperture, *band, *1e-3 * one) for one in growth])
        held, typical = np.mean(np.abs(value) <= floor), np.median(floor)
        print(f"    {aperture}: within the floor {held:.0%}, typical floor {typical:.2f} mmag", flush=True)


if __name__ == "__main__":
    main()
