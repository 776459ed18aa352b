"""Diffraction PSFs: pupil, wavefront errors of each module, pixel response."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import fft
from scipy.special import eval_jacobi

from jwst_modfix.errors import SimulationError
from jwst_modfix.simulate.observation import Band
from jwst_modfix.simulate.optics import Array
from jwst_modfix.simulate.scene import Mixture

SAMPLES, DIAMETER = 256, 6.6  # of the pupil: pixels on a side, and its size [m]
_FLAT_TO_FLAT, _SPACING = 1.32, 1.327  # m, of a segment, and between the centres of neighbours
_STRUTS, _STRUT_WIDTH = (0.0, 150.0, 210.0), 0.1  # deg from +V3, and m
_SHARED = 0.6  # rms of the segments, which both modules share, over the smaller rms of the two modules
_ZERNIKES = range(4, 16)  # Noll's numbers of a module's own errors, from focus on
_ARCSEC = np.pi / 180 / 3600
_REACH = {"SHORT": 1.4, "LONG": 2.1}  # arcsec, half the width of a PSF: 4.6 radii of the default apertures
_DIFFUSION = 0.2  # pixel, standard deviation of the diffusion of charges
_COUPLING = 0.005  # share of a pixel's signal that each of its four neighbours gets (inter-pixel capacitance)
_STAMP = 3.5  # standard deviations of a profile that its stamp holds


@dataclass(frozen=True, kw_only=True, eq=False)
class Wavefronts:
    """Wavefront errors by module over the pupil, as from `Wavefronts.draw`."""

    modules: Mapping[str, Array]  #: wavefront error [nm] of ``"A"`` and ``"B"``, shape (256, 256) over 6.6 m

    @classmethod
    def draw(cls, rng: np.random.Generator, rms: Mapping[str, float]) -> "Wavefronts":
        """
        Draw segment errors that the modules share, and Zernike errors of each module.

        Parameters
        ----------
        rng : numpy.random.Generator
            Source of randomness.
        rms : mapping
            Root mean square of the whole wavefront error by module [nm].

        Returns
        -------
        Wavefronts
            The wavefront errors.
        """
        for module, value in rms.items():
            if not 0 <= value < np.inf:
                raise SimulationError(f"wavefront of module {module}: must be finite, 0 nm or more; got {value:g} nm")
        smaller = _SHARED * min(rms.values())
        shared = _scale(_draw_segments(rng), smaller)
        own = {module: _scale(_draw_zernikes(rng), np.sqrt(value**2 - smaller**2)) for module, value in rms.items()}
        return cls(modules={module: _scale(shared + own[module], value) for module, value in rms.items()})

    @property
    def rms(self) -> dict[str, float]:
        """Root mean square over the pupil by module [nm]."""
        return {module: float(one[pupil() > 0.5].std()) for module, one in self.modules.items()}


@cache
def pupil() -> Array:
    """Draw the amplitude of the pupil, x along -V2 and y along V3; shape (256, 256)."""
    fine = 4
    x, y = _grid(fine * SAMPLES)
    inside, flats = np.zeros((fine * SAMPLES, fine * SAMPLES), bool), np.deg2rad([30.0, 90.0, 150.0])
    for cx, cy in _centres():  # of hexagons, which have flats toward +-y
        across = [np.abs((x - cx) * np.cos(a) + (y - cy) * np.sin(a)) < _FLAT_TO_FLAT / 2 for a in flats]
        inside |= np.all(across, axis=0)
    for angle in np.deg2rad(_STRUTS):
        along, across = -x * np.sin(angle) + y * np.cos(angle), x * np.cos(angle) + y * np.sin(angle)
        inside &= ~((along > 0) & (np.abs(across) < _STRUT_WIDTH / 2))
    return np.asarray(inside.reshape(SAMPLES, fine, SAMPLES, fine).mean((1, 3)))


def _grid(number: int) -> tuple[Array, Array]:
    axis = (np.arange(number) - (number - 1) / 2) * DIAMETER / number
    return axis[None, :], axis[:, None]


def _centres() -> list[tuple[float, float]]:
    """List the centres of the 18 segments [m]: two rings around the missing one."""
    places = [(q, r) for q in range(-2, 3) for r in range(-2, 3) if abs(q + r) <= 2 and (q, r) != (0, 0)]
    return [(_SPACING * np.sqrt(3) / 2 * r, _SPACING * (q + r / 2)) for q, r in places]


def _draw_segments(rng: np.random.Generator) -> Array:
    """Draw piston and tilts of each segment, of equal rms."""
    x, y = _grid(SAMPLES)
    distances = np.stack([np.hypot(x - cx, y - cy) for cx, cy in _centres()])
    label, centres = distances.argmin(0), np.array(_centres())
    piston, tip, tilt = rng.normal(size=(3, len(centres)))
    arm = 0.4  # m, where a tilt is as large as a piston
    slopes = tip[label] * (x - centres[label, 0]) + tilt[label] * (y - centres[label, 1])
    return np.asarray(piston[label] + slopes / arm)


def _draw_zernikes(rng: np.random.Generator) -> Array:
    """Draw Zernike polynomials of sizes that fall as one over their number."""
    x, y = _grid(SAMPLES)
    radius, angle = np.hypot(x, y) * 2 / DIAMETER, np.arctan2(y, x)
    sizes, total = rng.normal(size=len(_ZERNIKES)) * 4 / np.array(_ZERNIKES), np.zeros(radius.shape)
    for size, number in zip(sizes, _ZERNIKES, strict=True):  # by Noll's number, mean square 1 over the circle
        n = int((np.sqrt(8 * number - 7) - 1) / 2)
        place = number - n * (n + 1) // 2 - 1
        m = n % 2 + 2 * ((place + (n + 1) % 2) // 2)
        k = (n - m) // 2
        radial = (-1) ** k * radius**m * eval_jacobi(k, m, 0, 1 - 2 * radius**2)
        turn = 1.0 if m == 0 else np.sqrt(2) * (np.cos(m * angle) if number % 2 == 0 else np.sin(m * angle))
        total += size * np.where(radius <= 1, np.sqrt(n + 1) * radial * turn, 0.0)
    return total


def _scale(wavefront: Array, rms: float) -> Array:
    spread = wavefront[pupil() > 0.5].std()
    return np.asarray(wavefront * (rms / spread if spread else 0.0))


def diffract(wavefront: Array, band: Band, step: float) -> Array:
    """Compute the PSF of a wavefront [nm] as shares of light in steps [arcsec].

    Three wavelengths represent the band; the source is in the middle of the image, whose side is odd.
    """
    number = int(_REACH[band.channel] / step)
    place, (aperture, _) = np.arange(-number, number + 1) * step * _ARCSEC, _grid(SAMPLES)
    image = np.zeros((len(place), len(place)))
    lengths = 1e-6 * (band.wavelength + band.bandwidth * np.array([-0.4, 0.0, 0.4]))
    for length in lengths:
        kernel = np.exp(-2j * np.pi * np.outer(place, aperture) / length)
        field = kernel @ (pupil() * np.exp(2j * np.pi * 1e-9 * wavefront / length)) @ kernel.T
        image += np.abs(field) ** 2 * (step * _ARCSEC * DIAMETER / SAMPLES / length) ** 2
    return np.asarray(image / (len(lengths) * (pupil() ** 2).sum()))


class DiffractionPSF:
    """Images of sources in a module and band, for pixels between two sizes [arcsec]."""

    def __init__(self, wavefront: Array, band: Band, smallest: float, largest: float) -> None:
        # The light of wavelength l has no detail below l / 2 D: such steps lose nothing.
        shortest = 1e-6 * (band.wavelength - 0.4 * band.bandwidth)
        self.oversampling = int(np.ceil(largest * 2 * DIAMETER * _ARCSEC / shortest))
        self.reach = _REACH[band.channel]
        # The PSF is fixed on the sky, and pixels differ by up to 3% in size: between the two, PSFs are interpolated.
        self._sizes = smallest, max(largest, 1.001 * smallest)
        self._images = [diffract(wavefront, band, size / self.oversampling) for size in self._sizes]
        self._transfer = cache(self._find_transfer)

    def stamp(self, dx: float, dy: float, size: float, profile: Mixture, shape: Array) -> Array:
        """
        Make the image of a source of unit flux at (dx, dy) from the central pixel.

        ``size`` is that of the pixels [arcsec], and ``shape`` the covariance of a Gaussian of the profile with
        sigma = 1 [pixel^2]. The central pixel of the stamp has the index n // 2 along each axis.
        """
        half = self.reach / size + _STAMP * np.sqrt(np.trace(shape)) * profile.sigmas.max()
        number = self.oversampling * fft.next_fast_len(2 * int(np.ceil(half)) + 3, real=True)
        x, y = fft.rfftfreq(number, 1 / self.oversampling), fft.fftfreq(number, 1 / self.oversampling)[:, None]
        near, far = self._transfer(number)
        share = (size - self._sizes[0]) / (self._sizes[1] - self._sizes[0])
        square = shape[0, 0] * x**2 + 2 * shape[0, 1] * x * y + shape[1, 1] * y**2
        light = sum(w * np.exp(-2 * np.pi**2 * s**2 * square)
                    for w, s in zip(profile.weights, profile.sigmas, strict=True))  # fmt: skip
        light = light * (near + share * (far - near)) * np.exp(-2j * np.pi * (x * dx)) * np.exp(-2j * np.pi * (y * dy))
        image = fft.irfft2(light, (number, number))[:: self.oversampling, :: self.oversampling]
        return np.asarray(fft.fftshift(image) * self.oversampling**2)

    def _find_transfer(self, number: int) -> list[Array]:
        """Find transfer functions of both PSFs and the pixels on a grid of these steps."""
        x, y = fft.rfftfreq(number, 1 / self.oversampling), fft.fftfreq(number, 1 / self.oversampling)[:, None]
        pixel = np.sinc(x) * np.sinc(y) * np.exp(-2 * np.pi**2 * _DIFFUSION**2 * (x**2 + y**2))
        pixel *= 1 - 2 * _COUPLING * (2 - np.cos(2 * np.pi * x) - np.cos(2 * np.pi * y))
        found = []
        for image in self._images:
            padded = np.zeros((number, number))
            padded[: len(image), : len(image)] = image
            middle = -(len(image) // 2)
            found.append(fft.rfft2(np.roll(padded, (middle, middle), (0, 1))) * pixel)
        return found
