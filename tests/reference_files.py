"""Small photom, flat and area files, as CRDS has them, and the stock steps that use them."""

import numpy as np
from jwst.flatfield import FlatFieldStep
from jwst.photom import PhotomStep
from stdatamodels.jwst.datamodels import FlatModel, NrcImgPhotomModel, PixelAreaModel

PIXAR_SR = 2.1e-14
TIME_COLUMNS = {
    "timecoeff_linear": ("lossperyear",),
    "timecoeff_exponential": ("amplitude", "tau", "const"),
    "timecoeff_powerlaw": ("year1value", "tsoft", "alpha"),
}
T0 = 59700.0  # MJD


def write_photom(path, detector, values, *, pixar=PIXAR_SR, times=None):
    """Write a photom file; keys of values are ``filter``, ``(filter, pupil)`` or ``(filter, pupil, subarray)``.

    ``times`` gives the coefficients of the columns of `TIME_COLUMNS`, the same in all rows, with t0 = `T0`.
    """
    keys = [(key,) if isinstance(key, str) else key for key in values]
    columns = [("filter", "S12"), ("pupil", "S15"), ("photmjsr", "<f4"), ("uncertainty", "<f4")]
    if any(len(key) == 3 for key in keys):
        columns.insert(2, ("subarray", "S15"))
    rows = np.zeros(len(keys), dtype=columns)
    for row, key, value in zip(rows, keys, values.values(), strict=True):
        row["filter"], row["pupil"], *_ = (*key, "CLEAR")[:2]
        row["photmjsr"], row["uncertainty"] = value, 0.01 * value
        if "subarray" in rows.dtype.names:
            row["subarray"] = key[2] if len(key) == 3 else "FULL"
    model = NrcImgPhotomModel()
    model.phot_table = rows
    for name, coefficients in (times or {}).items():
        table = np.zeros(len(keys), dtype=[*columns[:2], ("t0", "<f4"), *((c, "<f4") for c in TIME_COLUMNS[name])])
        table["filter"], table["pupil"], table["t0"] = rows["filter"], rows["pupil"], T0
        for column, value in zip(TIME_COLUMNS[name], coefficients, strict=True):
            table[column] = value
        setattr(model, name, table)
    return _save(model, path, "PHOTOM", detector, pixar=pixar)


def write_flat(path, detector, data, *, band=("F200W", "CLEAR"), dq=None, err=None, corner=None, dq_def=None):
    """Write a flat file of one filter and pupil; a corner (x, y, 1-indexed) makes it that of a subarray."""
    model = FlatModel(data=np.float32(data), dq=dq, err=None if err is None else np.float32(err))
    if dq_def is not None:
        model.dq_def = dq_def
    model.meta.instrument.filter, model.meta.instrument.pupil = band
    return _save(model, path, "FLAT", detector, corner=corner, shape=np.shape(data))


def write_area(path, detector, data, *, pixar=PIXAR_SR, band=("F200W", "CLEAR")):
    """Write an area file."""
    model = PixelAreaModel(np.float32(data))
    model.meta.instrument.filter, model.meta.instrument.pupil = band
    return _save(model, path, "AREA", detector, pixar=pixar)


def _save(model, path, reftype, detector, *, pixar=None, corner=None, shape=()):
    meta = model.meta
    meta.instrument.name, meta.instrument.detector, meta.telescope = "NIRCAM", detector, "JWST"
    meta.reftype, meta.description, meta.author = reftype, "for a test", "nobody"
    meta.pedigree, meta.useafter, meta.exposure.type = "DUMMY", "2022-01-01T00:00:00", "NRC_IMAGE"
    if pixar:
        meta.photometry.pixelarea_steradians, meta.photometry.pixelarea_arcsecsq = pixar, 9e-4
    if shape:
        meta.subarray.xstart, meta.subarray.ystart = corner or (1, 1)
        meta.subarray.ysize, meta.subarray.xsize = shape
        meta.subarray.fastaxis, meta.subarray.slowaxis = -1, 2
        meta.subarray.name = "GENERIC"
    model.save(str(path))
    return str(path)


def run_photom(rate, photom, area):
    """Run the stock photom step on a count rate [DN/s]."""
    step = PhotomStep()
    step.override_photom, step.override_area = str(photom), str(area)
    result = step.process(rate)
    assert result.meta.cal_step.photom == "COMPLETE"
    return result


def run_flat(model, flat):
    """Run the stock flat step."""
    step = FlatFieldStep()
    step.override_flat = str(flat)
    step.override_fflat = step.override_sflat = step.override_dflat = "N/A"  # of NIRSpec; without them CRDS is asked
    result = step.process(model)
    assert result.meta.cal_step.flat_field == "COMPLETE"
    return result
