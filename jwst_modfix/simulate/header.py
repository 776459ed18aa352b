"""The metadata of a simulated ``_cal`` file, as in files of the archive."""

from dataclasses import asdict
from typing import Any

from astropy.time import Time

from jwst_modfix.simulate.detector import GROUPS, Subarray, photmjsr
from jwst_modfix.simulate.observation import SECONDS_PER_DAY, Exposure
from jwst_modfix.simulate.optics import DETECTORS, SQUARE_ARCSEC

_FRAMES = 4
_FRAME_TIME = 10.73677  # seconds
_GROUP_TIME = 53.68385  # seconds

# Every other array is mounted upside down.
_READ_ALONG_MINUS_X = ("NRCA1", "NRCA3", "NRCALONG", "NRCB2", "NRCB4")

_COMPLETE = (
    *("group_scale", "dq_init", "saturation", "superbias", "refpix", "linearity", "dark_sub", "jump"),
    *("ramp_fit", "gain_scale", "assign_wcs", "flat_field", "photom"),
)


def exposure_metadata(exposure: Exposure, context: str, subarray: Subarray) -> dict[str, Any]:
    """Describe an exposure of a subarray."""
    geometry, conversion = exposure.geometry, photmjsr(exposure)
    fast, slow = (-1, 2) if geometry.detector in _READ_ALONG_MINUS_X else (1, -2)
    return {
        **_origin(exposure),
        **_times(exposure),
        "instrument": {
            "name": "NIRCAM", "detector": geometry.detector, "module": geometry.module, "channel": geometry.channel,
            "filter": exposure.band.filter, "pupil": exposure.band.pupil,
        },
        "observation": _observation(exposure),
        "aperture": {"name": geometry.aperture.AperName, "pps_name": "NRCALL_FULL"},
        "subarray": asdict(subarray) | {"fastaxis": fast, "slowaxis": slow},
        "dither": {
            "primary_type": "FULLBOX" if exposure.dithers > 1 else "NONE", "position_number": exposure.number,
            "total_points": exposure.dithers, "primary_points": exposure.dithers,
        },
        **_pointing(exposure),
        "photometry": {
            "conversion_megajanskys": conversion, "conversion_microjanskys": conversion * 1e12 * SQUARE_ARCSEC,
            "pixelarea_steradians": geometry.nominal_solid_angle, "pixelarea_arcsecsq": geometry.nominal_area,
        },
        "ref_file": _reference_files(exposure, context),
        "cal_step": dict.fromkeys(_COMPLETE, "COMPLETE"),
    }  # fmt: skip


def _origin(exposure: Exposure) -> dict[str, Any]:
    return {
        "telescope": "JWST",
        "filename": exposure.filename,
        "model_type": "ImageModel",
        "origin": "jwst_modfix.simulate",
        "bunit_data": "MJy/sr",
        "bunit_err": "MJy/sr",
        "coordinates": {"reference_frame": "ICRS"},
        "program": {"title": "Simulated by jwst_modfix", "category": "GTO", "pi_name": "jwst_modfix"},
        "visit": {"type": "PRIME_TARGETED_FIXED", "status": "SUCCESSFUL"},
        "velocity_aberration": {"scale_factor": 1.0},
        "target": {"catalog_name": "SIMULATED", "type": "FIXED", "ra": exposure.epoch.ra, "dec": exposure.epoch.dec},
    }


def _times(exposure: Exposure) -> dict[str, Any]:
    start, length = exposure.start, exposure.duration / SECONDS_PER_DAY
    return {
        "date": Time(start, format="mjd", scale="utc").isot,
        "exposure": {
            "type": "NRC_IMAGE", "readpatt": "SHALLOW4", "count": exposure.dithers,
            "start_time": start, "mid_time": start + length / 2, "end_time": start + length,
            **dict.fromkeys(("exposure_time", "effective_exposure_time", "measurement_time"), exposure.duration),
            **dict.fromkeys(("duration", "elapsed_exposure_time"), exposure.duration + _FRAME_TIME),
            "nints": 1, "ngroups": GROUPS, "nframes": _FRAMES, "groupgap": 1,
            "frame_time": _FRAME_TIME, "group_time": _GROUP_TIME,
            "integration_start": 1, "integration_end": 1, "zero_frame": False,
        },
    }  # fmt: skip


def _observation(exposure: Exposure) -> dict[str, Any]:
    begin = Time(exposure.start, format="mjd", scale="utc")
    end = Time(exposure.start + exposure.duration / SECONDS_PER_DAY, format="mjd", scale="utc")
    program, observation = f"{exposure.program:05d}", f"{exposure.observation:03d}"
    return {
        "date": begin.isot[:10], "time": begin.isot[11:], "date_beg": begin.isot, "date_end": end.isot,
        "obs_id": f"V{program}{observation}001021{exposure.activity:02d}",
        "visit_id": f"{program}{observation}001",
        "program_number": program, "observation_number": observation, "observation_label": exposure.epoch.name,
        "visit_number": "001", "visit_group": "02", "sequence_id": "1", "activity_id": f"{exposure.activity:02d}",
        "exposure_number": str(exposure.number),
    }  # fmt: skip


def _pointing(exposure: Exposure) -> dict[str, Any]:
    aperture, attitude, reference = exposure.geometry.aperture, exposure.attitude, exposure.geometry.reference
    ra_v1, dec_v1 = attitude.v2v3_to_sky(0.0, 0.0)
    ra, dec = attitude.v2v3_to_sky(*reference)
    return {
        "pointing": {
            "ra_v1": float(ra_v1), "dec_v1": float(dec_v1), "pa_v3": exposure.attitude.roll_at(0.0, 0.0),
            "target_ra": exposure.epoch.ra, "target_dec": exposure.epoch.dec,
        },
        "wcsinfo": {
            "ra_ref": float(ra), "dec_ref": float(dec), "roll_ref": attitude.roll_at(*reference),
            "v2_ref": reference[0], "v3_ref": reference[1],
            "v3yangle": aperture.V3IdlYAngle, "vparity": int(aperture.VIdlParity),
        },
    }  # fmt: skip


def _reference_files(exposure: Exposure, context: str) -> dict[str, Any]:
    """Name reference files as in the archive; they are not read, and need not exist."""
    number = DETECTORS.index(exposure.geometry.detector)
    band = sum(exposure.band.name.encode()) % 50
    return {
        "crds": {"context_used": context, "sw_version": "12.0.0"},
        "photom": {"name": f"crds://jwst_nircam_photom_{153 + number:04d}.fits"},
        "flat": {"name": f"crds://jwst_nircam_flat_{500 + 10 * band + number:04d}.fits"},
        "area": {"name": f"crds://jwst_nircam_area_{270 + number:04d}.fits"},
        "distortion": {"name": f"crds://jwst_nircam_distortion_{210 + number:04d}.asdf"},
    }
