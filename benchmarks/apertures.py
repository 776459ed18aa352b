"""
What apertures lose where the wavefronts of the two modules differ: offsets of stars of equal brightness, without noise.

Run ``python benchmarks/apertures.py --number 40`` with the project and poppy installed; it takes about 3 minutes on one
core. PSFs have 18 hexagonal segments, struts, errors of the segments that both modules share, and Zernike errors of
each module's own; pixels, charge diffusion and inter-pixel capacitance follow. Each pair of wavefronts has its own
seed.
"""

import argparse
import functools

import numpy as np
import poppy
from scipy.ndimage import gaussian_filter, uniform_filter1d

from jwst_modfix.photometry.apertures import FARTHEST, LARGE, default_aperture, growth_shares, systematic_error
from jwst_modfix.simulate.filters import BANDS
from jwst_modfix.simulate.streams import random_stream

SAMPLES, DIAMETER = 256, 6.6  # of the pupil: pixels on a side, and its size [m]
WAVEFRONTS = ((60.0, 80.0), (100.0, 130.0))  # nm rms of module A and of module B
SHARED = 0.6  # rms of the telescope's segments over that of module A
SEGMENT = 1.327  # m, between the centres of neighbouring segments
OVERSAMPLING = 4
PIXELS = {"SHORT": 0.0311, "LONG": 0.0629}  # arcsec
ARCSEC = np.pi / 180 / 3600


@functools.cache
def pupil():
    """Amplitude of the pupil, the label of each point's segment, and the distance from its centre [m]."""
    hexagons = poppy.MultiHexagonAperture(rings=2, flattoflat=1.32, gap=0.007)
    struts = poppy.AsymmetricSecondaryObscuration(secondary_radius=0.3, support_angle=(0, 150, 210), support_width=0.1)
    fine = poppy.Wavefront(wavelength=2e-6, npix=4 * SAMPLES, diam=DIAMETER)
    transmission = poppy.CompoundAnalyticOptic([hexagons, struts]).get_transmission(fine)
    amplitude = transmission.reshape(SAMPLES, 4, SAMPLES, 4).mean((1, 3))
    y, x = (np.mgrid[:SAMPLES, :SAMPLES] - (SAMPLES - 1) / 2) * DIAMETER / SAMPLES
    grid = [(q, r) for q in range(-2, 3) for r in range(-2, 3) if abs(q + r) <= 2 and (q, r) != (0, 0)]
    centres = np.array([(SEGMENT * (q + r / 2), SEGMENT * np.sqrt(3) / 2 * r) for q, r in grid])
    # The hexagons may be turned by 30 deg against these centres: the labels that cover more of the pupil hold.
    turned = [centres @ np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]]) for a in (0, np.pi / 6)]
    distances = [np.hypot(x[..., None] - c[:, 0], y[..., None] - c[:, 1]) for c in turned]
    best = int(np.argmin([(amplitude * (d.min(-1) > 0.77)).sum() for d in distances]))
    label = distances[best].argmin(-1)
    return amplitude, label, x - turned[best][label, 0], y - turned[best][label, 1]


@functools.cache
def zernikes(first=4, last=15):
    """Zernike polynomials from the first to the last, by Noll's numbers."""
    return np.nan_to_num(poppy.zernike.zernike_basis(nterms=last, npix=SAMPLES, outside=0.0)[first - 1 :])


def scaled(wavefront, rms):
    """Scale a wavefront to an rms over the pupil [nm]."""
    return wavefront * rms / wavefront[pupil()[0] > 0.5].std()


def draw_segments(rng, rms):
    """Piston and tilts of each segment."""
    _, label, dx, dy = pupil()
    piston, tip, tilt = rng.normal(size=(3, 18))
    return scaled(piston[label] + (tip[label] * dx + tilt[label] * dy) / 0.4, rms)


def draw_internal(rng, rms):
    """Zernike polynomials from focus on, of sizes that fall as one over their number."""
    coefficients = rng.normal(size=len(zernikes())) / (np.arange(4, 4 + len(zernikes())) / 4)
    return scaled(np.tensordot(coefficients, zernikes(), 1), rms)


def point_spread_function(wavefront, band):
    """PSF [share of the light per oversampled pixel] and the distance from its centre [arcsec]."""
    amplitude = pupil()[0]
    step = PIXELS[band.channel] / OVERSAMPLING
    reach = 4.6 * default_aperture(band.channel).radius
    place = np.arange(-int(reach / step), int(reach / step) + 1) * step
    image, grid = 0.0, (np.arange(SAMPLES) - (SAMPLES - 1) / 2) * DIAMETER / SAMPLES
    lengths = 1e-6 * (band.wavelength + band.bandwidth * np.array([-0.4, 0.0, 0.4]))
    for length in lengths:
        kernel = np.exp(-2j * np.pi * np.outer(place * ARCSEC, grid) / length)
        field = kernel @ (amplitude * np.exp(2j * np.pi * wavefront * 1e-9 / length)) @ kernel.T
        image += np.abs(field) ** 2 * (step * ARCSEC * DIAMETER / SAMPLES / length) ** 2
    image /= len(lengths) * (amplitude**2).sum()
    for axis in (0, 1):
        image = uniform_filter1d(image, OVERSAMPLING, axis=axis)
    image = gaussian_filter(image, 0.2 * OVERSAMPLING)
    near = sum(np.roll(image, shift, axis) for axis in (0, 1) for shift in (-OVERSAMPLING, OVERSAMPLING))
    return 0.98 * image + 0.005 * near, np.hypot(place[:, None], place)


def magnitudes(wavefront, band):
    """Magnitudes in the aperture, in 1.5 times and in twice its radius, above the median of the annulus."""
    image, distance = point_spread_function(wavefront, band)
    aperture, step = default_aperture(band.channel), PIXELS[band.channel] / OVERSAMPLING
    sky = np.median(image[(distance > aperture.inner) & (distance < aperture.outer)])
    shares = [np.clip((f * aperture.radius - distance) / step + 0.5, 0, 1) for f in (1.0, LARGE, FARTHEST)]
    return -2.5 * np.log10([((image - sky) * share).sum() for share in shares])


def draw_offsets(band, wavefronts, trial):
    """Offsets A - B of one pair of wavefronts in the three apertures [mmag]."""
    rng = random_stream(trial, "apertures", band.name, str(wavefronts))
    shared = draw_segments(rng, SHARED * wavefronts[0])
    own = [np.sqrt(rms**2 - (SHARED * wavefronts[0]) ** 2) for rms in wavefronts]
    a, b = (magnitudes(shared + draw_internal(rng, rms), band) for rms in own)
    return 1e3 * (a - b)


def main():
    """Print the rms of offsets by aperture, the best extrapolation, and how often floor and error hold the truth."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=40, help="pairs of wavefronts [40]")
    given = parser.parse_args()
    for name in ("F200W", "F444W"):
        band, everything = BANDS[name], []
        near, far = growth_shares("extrapolated", band.channel)
        for wavefronts in WAVEFRONTS:
            offset = np.array([draw_offsets(band, wavefronts, trial) for trial in range(given.number)])
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
    floors = {x: [1e3 * systematic_error(x, *band, 1e-3 * d) for d in growth[:, 0]] for x in ("r", "extrapolated")}
    held = np.abs(offset[:, 0]) <= floors["r"]
    held_extrapolated = np.abs(extrapolated) <= floors["extrapolated"]
    print(f"{name:24} rms r {rms[0]:.2f}, 1.5 r {rms[1]:.2f}, 2 r {rms[2]:.2f}, extrapolated {rms[3]:.2f} mmag;"
          f" within the floor {held.mean():.0%}, extrapolated {held_extrapolated.mean():.0%}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
