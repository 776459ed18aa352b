"""Derivations from simulated magnitudes: the geometry, sky and truth of simulated exposures, with no pixels."""

from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.table import Table

from jwst_modfix import simulate
from jwst_modfix.derivation.derive import Options, solve_photometry
from jwst_modfix.photometry.columns import Photometry
from jwst_modfix.photometry.frames import Epochs, ExposureHeader
from jwst_modfix.table.table import OffsetRow, OffsetTable

DRIFT = 0.006  # mag: t of the second epoch, in every filter
PHOTMJSR = {"A": 2.1, "B": 2.3}  # of every filter, by module
CONTEXTS = ("jwst_1126.pmap", "jwst_989.pmap", "jwst_1084.pmap")  # by epoch
SKY = 0.3  # MJy/sr, as bright over both modules

ROWS = {
    "F200W": OffsetRow(array="2", filter="F200W", offset=-0.05, offset_error=0.0),
    "F444W": OffsetRow(array="long", filter="F444W", offset=-0.0165, offset_error=0.0, slope=0.012, slope_error=0.0),
}


def simulate_photometry(rows=None, *, epochs=3, seed=1, outliers=0.01, density=30.0, dithers=2):
    """
    Photometry of both detectors of each row, in epochs turned by 180 deg, each of some dithers.

    The sky level of each exposure is what its detector makes of a sky of ``SKY``.
    """
    rows = list(ROWS.values()) if rows is None else rows
    rng = np.random.default_rng(seed)
    exposures = [
        exposure
        for row in rows
        for exposure in simulate.plan_exposures(
            simulate.JWIDF_EPOCHS[:epochs], filters=[row.filter], detectors=_detectors(row.array), dithers=dithers
        )
    ]
    table = OffsetTable(rows=tuple(rows), gradient=simulate.MA2023_TABLE.gradient, name="truth")
    truth = simulate.CalibrationTruth(table=table, epoch_terms={"ep2": DRIFT})
    scene = simulate.scene_around(rng, exposures, simulate.Population(density=density, faintest=22.0))
    drawn = simulate.simulate_measurements(
        scene, exposures, rng, truth=truth, faintest=21.5, scatter=0.002, outlier_fraction=outliers
    )
    names = tuple(dict.fromkeys(exposure.epoch.name for exposure in exposures))
    number = np.array([names.index(exposure.epoch.name) for exposure in exposures])
    headers = [_header(exposure, epoch) for exposure, epoch in zip(exposures, number, strict=True)]
    levels = [SKY * 10 ** (-0.4 * _middle(truth, exposure)) for exposure in exposures]
    photometry = Photometry(
        measurements=_measurements(drawn, number), exposures=_exposures(headers, number, np.array(levels))
    )
    return photometry, headers, Epochs(number, names)


def derive(photometry, headers, epochs, *, product="made", mixed=(), **options):
    """Solve the photometry with these options."""
    return solve_photometry(photometry, headers, epochs, Options(**options), product=product, mixed=mixed)


def _detectors(array):
    return [f"NRC{module}{array.upper()}" for module in "AB"]


def _middle(truth, exposure):
    """Systematic error at the middle of a detector, the epoch's term left out [mag]."""
    geometry, at = exposure.geometry, 1023.5
    v2, v3 = geometry.pixel_to_v2v3(at, at)
    error = truth.magnitude_error(exposure, x=at, y=at, v2=v2, v3=v3)
    return float(error) - truth.epoch_term(exposure.epoch.name, exposure.band)


def _header(exposure, epoch):
    geometry = exposure.geometry
    return ExposureHeader(
        path=Path(exposure.filename.replace("_nrc", f"_{exposure.band.name.lower()}_nrc")),
        detector=geometry.detector, filter=exposure.band.filter, pupil=exposure.band.pupil, mjd=exposure.start,
        roll=exposure.epoch.roll, pixar_sr=1e-13, shape=(2048, 2048), corner=(0, 0), context=CONTEXTS[epoch],
        photom=f"jwst_nircam_photom_{geometry.detector.lower()}.fits", flat="jwst_nircam_flat_0001.fits",
        photmjsr=PHOTMJSR[geometry.module],
    )  # fmt: skip


def _measurements(drawn, epoch):
    n = len(drawn)
    table = Table({name: np.asarray(drawn[name]) for name in ("source", "exposure", "array", "module", "filter")})
    table["epoch"], table["pupil"] = epoch[table["exposure"]], np.asarray(drawn["pupil"])
    for name, ours in (("x", "x"), ("y", "y"), ("v2", "V2"), ("v3", "V3"), ("ra", "RA"), ("dec", "Dec")):
        table[ours] = np.asarray(drawn[name])
    table["mag"], table["mag_error"] = np.asarray(drawn["mag"]) * u.mag, np.asarray(drawn["mag_err"]) * u.mag
    table["flux"] = 3631.0 * 10 ** (-0.4 * np.asarray(drawn["mag"])) * u.Jy
    table["flux_error"] = table["flux"] * np.asarray(drawn["mag_err"]) / 1.0857
    table["source_mag"] = np.asarray(drawn["true_mag"]) * u.mag
    table["off_east"], table["off_north"] = np.zeros((2, n))
    table["flags"], table["isolation"], table["compactness"] = np.zeros(n, int), np.full(n, 5.0), np.full(n, 0.5)
    return table


def _exposures(headers, epoch, levels):
    table = Table({"exposure": np.arange(len(headers)), "file": [header.name for header in headers], "epoch": epoch})
    for name in ("detector", "array", "module", "filter", "pupil", "mjd", "roll"):
        table[name] = [getattr(header, name) for header in headers]
    table["sky"], table["sky_error"] = levels, 0.001 * levels
    table["shift_east"], table["shift_north"] = np.arange(len(headers)) * 0.01, np.arange(len(headers)) * -0.02
    return table
