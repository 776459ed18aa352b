"""Our numbers against code that is not ours: pysiaf's geometry, SEP's photometry, the asdf library's reading."""

import asdf
import numpy as np
import pysiaf
import pytest
import sep

from jwst_modfix import ModuleOffsetModel, ModuleOffsetStep, simulate
from jwst_modfix.photometry.forced import default_aperture, measure_frame
from jwst_modfix.photometry.frames import read_frame, read_header
from jwst_modfix.photometry.source_list import detect, merge_detections
from jwst_modfix.table.file import PACKAGED_TABLE, SCHEMA_URI


@pytest.mark.parametrize(
    ("detector", "aperture", "z"), [("NRCALONG", "NRCA5_FULL", -0.01654), ("NRCBLONG", "NRCB5_FULL", 0)]
)
def test_the_gradient_is_that_of_pysiaf(detector, aperture, z, make_exposure):
    """Eq. 9 with the numbers of Table 2, V2 straight from the SIAF; no gWCS, no interpolation."""
    model = make_exposure(detector, "F444W")
    model.data[:] = 1.0
    corrected = ModuleOffsetStep.call(model)
    y, x = np.mgrid[0:2048:89, 0:2048:89]
    v2, _ = pysiaf.Siaf("NIRCam")[aperture].sci_to_tel(x + 1.0, y + 1.0)
    expected = z + 0.5 * 0.00433 * (v2 + 1.74) / 60
    np.testing.assert_allclose(2.5 * np.log10(corrected.data[y, x].astype(float)), expected, atol=1e-6)  # mag


@pytest.fixture(scope="module", params=[("NRCA2", "F200W", "SHORT"), ("NRCBLONG", "F444W", "LONG")], ids="-".join)
def photometry(request, tmp_path_factory):
    """A frame of stars, what is measured in it, and the ellipses on its pixels that are circles on the sky."""
    detector, band, channel = request.param
    path = tmp_path_factory.mktemp("sep") / "jw_cal.fits"
    epochs = [simulate.Epoch(name="ep1", date="2022-07-08", roll=161.0)]
    exposures = simulate.plan_exposures(epochs, filters=[band], detectors=[detector], dithers=1)
    rng = np.random.default_rng(5)
    scene = simulate.scene_around(rng, exposures, simulate.Population(density=60.0, faintest=22.0, star_fraction=1.0))
    simulate.simulate_exposure(exposures[0], scene, rng).save(str(path))
    frame = read_frame(read_header(path))
    aperture = default_aperture(channel)
    sources = merge_detections([detect(frame)])
    found = measure_frame(frame, sources, aperture)
    # Brighter than 21 AB, with nothing of a tenth of its light inside the annulus.
    bright, isolated = found["flux"] > 3631 * 10 ** (-0.4 * 21), sources.isolation[found["source"]] > aperture.outer
    good = (found["flags"] == 0) & bright & isolated
    assert good.sum() >= 3
    return frame, aperture, *(found[name][good] for name in ("x", "y", "flux", "sky"))


def ellipse(frame, x, y):
    """Semi-axes [pixel per arcsec] and angle of what is a circle on the sky."""
    scale = np.reshape(frame.geometry.scale(x, y), (2, 2))
    squares, axes = np.linalg.eigh(scale.T @ scale)  # the smallest scale has the longest axis
    a, b = 1 / np.sqrt(squares)
    return a, b, (np.arctan2(axes[1, 0], axes[0, 0]) + np.pi / 2) % np.pi - np.pi / 2


def sep_flux(frame, aperture, x, y, sky):
    """Flux [Jy] by SEP: the exact sum in an ellipse above a sky [MJy/sr]."""
    a, b, theta = ellipse(frame, x, y)
    image = np.where(frame.bad, 0, frame.data - sky).astype(float) * frame.area
    total, _, flag = sep.sum_ellipse(image, [x], [y], a, b, theta, aperture.radius, subpix=0)
    assert flag[0] == 0
    return total[0] * frame.header.jansky


def sep_sky(frame, aperture, x, y):
    """Mean surface brightness [MJy/sr] of SEP's own annulus."""
    a, b, theta = ellipse(frame, x, y)
    shape = ([x], [y], a, b, theta, aperture.inner, aperture.outer)
    good = (~frame.bad).astype(float)
    image = np.where(frame.bad, 0, frame.data).astype(float)
    return sep.sum_ellipann(image, *shape, subpix=5)[0][0] / sep.sum_ellipann(good, *shape, subpix=5)[0][0]


def test_apertures_are_those_of_sep_on_the_same_sky(photometry):
    """Both integrate the pixels exactly; SEP knows neither WCS nor sky, which are handed in."""
    frame, aperture, *columns = photometry
    for x, y, flux, sky in zip(*columns, strict=True):
        other = sep_flux(frame, aperture, x, y, sky)
        assert 2.5 * np.log10(other / flux) == pytest.approx(0, abs=1e-4)  # mag


def test_fluxes_are_those_of_sep_with_its_own_annulus(photometry):
    """SEP takes the annulus's mean, we its clipped median: faint neighbours in the annulus are the difference."""
    frame, aperture, x, y, fluxes, _ = photometry
    others = np.array(
        [sep_flux(frame, aperture, *place, sep_sky(frame, aperture, *place)) for place in zip(x, y, strict=True)]
    )
    np.testing.assert_allclose(2.5 * np.log10(others / fluxes), 0, atol=1e-3)  # mag


def test_the_plain_asdf_library_reads_what_we_write(tmp_path):
    """With our schema taken away, as where this package is not installed."""
    model = ModuleOffsetModel(PACKAGED_TABLE)
    model.save(tmp_path / "mine.asdf")
    with asdf.config_context() as config:
        config.remove_resource_mapping(package="jwst-modfix")
        assert SCHEMA_URI not in config.resource_manager
        with asdf.open(tmp_path / "mine.asdf") as file:
            rows = [dict(row) for row in file["offsets"]]
            gradient = dict(file["gradient"])
    assert [(r["array"], r["filter"], r["offset"], r["offset_error"], r.get("slope")) for r in rows] == [
        (row.array, row.filter, row.offset, row.offset_error, row.slope) for row in model.table.rows
    ]
    assert (gradient["frame"], gradient["direction"], gradient["exposure_share"]) == ("focal_plane", 90.0, 0.5)
