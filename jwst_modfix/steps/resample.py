"""Mosaics of each epoch, detector and filter, by jwst's resample step."""

from dataclasses import replace

import numpy as np
from jwst.datamodels import ModelLibrary
from jwst.resample import ResampleStep
from stdatamodels.jwst.datamodels import ImageModel

from jwst_modfix.apply.factor import project
from jwst_modfix.photometry.frames import read_geometry
from jwst_modfix.photometry.mosaics import Mosaic

_PIXEL_SCALE = {"SHORT": 0.031, "LONG": 0.063}  # arcsec
_PADDING = 4  # pixels


class _ResampleUnsaturated(ResampleStep):
    """The resample step, with saturated pixels left out."""

    def get_drizpars(self):
        return super().get_drizpars() | {"good_bits": "~DO_NOT_USE+NON_SCIENCE+SATURATED"}


def make_mosaics(headers, epochs, *, progress=iter):
    """Make the mosaics, one at a time.

    Saturated pixels are left out as bad ones are.
    """
    corners = {}  # RA, Dec of the corners of each exposure, shape (2, 4) [deg]
    for header in headers:
        x, y = header.shape[1] - 1, header.shape[0] - 1
        corners[header] = np.array(read_geometry(header).to_sky([0, x, x, 0], [0, 0, y, y]))
    everywhere = np.concatenate(list(corners.values()), axis=1)
    turns = (everywhere[0] - everywhere[0, 0] + 180) % 360 - 180 + everywhere[0, 0]
    centre = float((turns.min() + turns.max()) / 2) % 360, float((everywhere[1].min() + everywhere[1].max()) / 2)
    groups = {}
    for header, epoch in zip(headers, epochs.number, strict=True):
        groups.setdefault((int(epoch), header.filter, header.pupil, header.detector), []).append(header)
    for key in progress(sorted(groups)):
        members = tuple(sorted(groups[key], key=lambda header: header.name))
        yield _resample(members, key[0], centre, np.concatenate([corners[header] for header in members], axis=1))


def _resample(members, epoch, centre, corners):
    """Resample onto that part of the common grid which the exposures reach."""
    scale = _PIXEL_SCALE[members[0].channel]
    x, y = (3600 * along / scale for along in project(*corners, centre))
    first = np.floor(np.array([(-x).min(), y.min()])).astype(int) - _PADDING
    last = np.ceil(np.array([(-x).max(), y.max()])).astype(int) + _PADDING
    step = _ResampleUnsaturated(
        crval=list(centre), crpix=(-first).astype(float).tolist(), rotation=0.0, pixel_scale=scale,
        output_shape=(last - first + 1).tolist(), weight_type="ivm",
        blendheaders=False, report_var=False, enable_ctx=False,
    )  # fmt: skip
    models = [ImageModel(str(header.path)) for header in members]
    result = step.process(ModelLibrary(models))
    bad = ~(np.isfinite(result.data) & np.isfinite(result.err) & (result.wht > 0))
    area = (np.deg2rad(scale / 3600)) ** 2
    mosaic = Mosaic(
        header=replace(members[0], pixar_sr=area, shape=result.data.shape, corner=(0, 0)),
        members=members, epoch=epoch, data=np.array(result.data), err=np.array(result.err), bad=bad,
        corner=(int(first[0]), int(first[1])), wcs=result.meta.wcs,
    )  # fmt: skip
    for model in (*models, result):
        model.close()
    return mosaic
