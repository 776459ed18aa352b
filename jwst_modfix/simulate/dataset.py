"""Simulated exposures and whole data sets on disk, with associations and the truth."""

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import yaml
from stdatamodels.jwst.datamodels import ImageModel

from jwst_modfix.simulate.detector import Effects, cut_subarray, detect
from jwst_modfix.simulate.header import exposure_metadata
from jwst_modfix.simulate.optics import FULL_FRAME, assign_wcs
from jwst_modfix.simulate.render import draw_sources
from jwst_modfix.simulate.scene import scene_around
from jwst_modfix.simulate.truth import CalibrationTruth

__all__ = [
    "DEFAULT_CONTEXT",
    "Dataset",
    "calibration_factor",
    "simulate_dataset",
    "simulate_exposure",
    "write_associations",
    "write_truth",
]


def write_associations(output_dir, field, exposures):
    """
    Write the associations of a data set: per epoch and filter, per filter, and of everything.

    Parameters
    ----------
    output_dir : path-like
        Where the exposures are.
    field : str
        Name of the field, for the names of files and products.
    exposures : sequence of Exposure
        The exposures.

    Returns
    -------
    list of pathlib.Path
        ``<field>_<epoch>_<filter>_image3_asn.json``, ``<field>_<filter>_image3_asn.json`` and
        ``<field>_image3_asn.json``, whose members carry their epoch.
    """
    epochs = dict.fromkeys(exposure.epoch.name for exposure in exposures)
    bands = dict.fromkeys(exposure.band.name for exposure in exposures)
    taken = {(exposure.epoch.name, exposure.band.name) for exposure in exposures}
    choices = [(epoch, band) for band in bands for epoch in epochs if (epoch, band) in taken]
    choices += [(None, band) for band in bands] + [(None, None)]
    return [_write(Path(output_dir), field, exposures, epoch, band) for epoch, band in choices]


def _write(output_dir, field, exposures, epoch, band):
    members = [
        exposure
        for exposure in exposures
        if epoch in (None, exposure.epoch.name) and band in (None, exposure.band.name)
    ]
    product = "_".join(part for part in (field, epoch, band and band.lower()) if part)
    path = output_dir / f"{'_'.join(part for part in (field, epoch, band) if part)}_image3_asn.json"
    path.write_text(json.dumps(_association(product, members, path.name), indent=2) + "\n")
    return path


def _association(product, exposures, name):
    return {
        "asn_type": "image3",
        "asn_rule": "Asn_Lv3Image",
        "asn_id": "a3001",
        "asn_pool": name.replace("_image3_asn.json", "_pool.csv"),
        "program": f"{exposures[0].program:05d}",
        "target": "t001",
        "version_id": None,
        "code_version": "jwst_modfix.simulate",
        "degraded_status": "No known degraded exposures in association.",
        "constraints": "No constraints",
        "products": [{"name": product, "members": [_member(exposure) for exposure in exposures]}],
    }


def _member(exposure):
    return {
        "expname": exposure.filename,
        "exptype": "science",
        "exposerr": "null",
        "epoch": exposure.epoch.name,
    }


DEFAULT_CONTEXT = "jwst_1130.pmap"
"""The CRDS context that Table 2 of Ma et al. (2023) was derived on."""

_PIXELS = np.arange(FULL_FRAME, dtype=float)


def simulate_exposure(exposure, scene, rng, *, truth=None, effects=None, context=DEFAULT_CONTEXT):
    """
    Simulate one exposure of one detector.

    Parameters
    ----------
    exposure : Exposure
        The exposure, as from `plan_exposures`.
    scene : astropy.table.Table
        The sky, as from `make_scene`.
    rng : numpy.random.Generator or None
        Source of the noise and cosmic rays; None will do where `effects` has neither.
    truth : CalibrationTruth, optional
        The error of the calibration; that of Ma et al. (2023) unless given.
    effects : Effects, optional
        Which effects to simulate; noise, sky, bad pixels and saturation unless given.
    context : str
        The CRDS context to write in the file.

    Returns
    -------
    stdatamodels.jwst.datamodels.ImageModel
        The exposure, full frame [MJy/sr].
    """
    effects = effects or Effects()
    geometry = exposure.geometry
    area = geometry.pixel_area(_PIXELS, _PIXELS) / geometry.nominal_area
    brightness = draw_sources(scene, exposure) / (area * geometry.nominal_solid_angle)
    if effects.sky:
        brightness += exposure.band.sky
    pixels = detect(brightness, exposure, rng, effects)
    factor = calibration_factor(exposure, truth or CalibrationTruth())
    return _assemble(exposure, pixels, area, factor, context)


def calibration_factor(exposure, truth):
    """
    Factor that the wrong calibration puts on the pixels of an exposure.

    Parameters
    ----------
    exposure : Exposure
        The exposure.
    truth : CalibrationTruth
        The error of the calibration.

    Returns
    -------
    ndarray, shape (2048, 2048), or float
        10^(-0.4 (z + g u + t)); one number where the array has no gradient.
    """
    v2, v3 = exposure.geometry.grid_to_v2v3(_PIXELS, _PIXELS)
    error = truth.magnitude_error(exposure, x=_PIXELS[None, :], y=_PIXELS[:, None], v2=v2, v3=v3)
    return 10 ** (-0.4 * error)


def _assemble(exposure, pixels, area, factor, context):
    """Scale the pixels by the error, once for values and twice for variances, and describe them."""
    model = ImageModel(
        data=np.float32(pixels.data * factor),
        err=np.float32(pixels.err * factor),
        dq=pixels.dq,
        var_poisson=np.float32(pixels.var_poisson * factor**2),
        var_rnoise=np.float32(pixels.var_rnoise * factor**2),
        var_flat=np.float32(pixels.var_flat * factor**2),
        area=np.float32(area),
    )
    model.update({"meta": exposure_metadata(exposure, context)})
    assign_wcs(model, exposure.geometry)
    return model


log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """
    What was written.

    Parameters
    ----------
    exposures : tuple of pathlib.Path
        The ``_cal`` files, in the order of the exposures.
    associations : tuple of pathlib.Path
        The associations; the last one holds everything.
    truth : pathlib.Path
        The injected calibration error, the epochs and the exposures (YAML).
    sources : pathlib.Path
        The catalogue of true sources (ECSV).
    """

    exposures: tuple[Path, ...]
    associations: tuple[Path, ...]
    truth: Path
    sources: Path


def simulate_dataset(
    output_dir,
    exposures,
    rng,
    *,
    field="field",
    scene=None,
    population=None,
    truth=None,
    effects=None,
    context=DEFAULT_CONTEXT,
    subarray=None,
):
    """
    Simulate a set of exposures and write them, with their associations and the truth.

    Parameters
    ----------
    output_dir : path-like
        Where to write; made where it does not exist.
    exposures : sequence of Exposure
        The exposures, as from `plan_exposures`.
    rng : numpy.random.Generator
        Source of the scene and of the noise.
    field : str
        Name of the field, for the names of files.
    scene : astropy.table.Table, optional
        The sky; drawn around the exposures unless given.
    population : Population, optional
        The sources to draw.
    truth : CalibrationTruth, optional
        The error of the calibration; that of Ma et al. (2023) unless given.
    effects : Effects, optional
        Which effects to simulate.
    context : str
        The CRDS context to write in the files.
    subarray : Subarray or str, optional
        The part of the detector to keep, or its name; the full frame unless given.

    Returns
    -------
    Dataset
        The paths of the files.
    """
    output_dir = Path(output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    truth = truth or CalibrationTruth()
    scene = scene_around(rng, exposures, population) if scene is None else scene
    paths = []
    for exposure, noise in zip(exposures, rng.spawn(len(exposures)), strict=True):
        with simulate_exposure(exposure, scene, noise, truth=truth, effects=effects, context=context) as model:
            paths.append(_save(model, output_dir / exposure.filename, subarray))
        log.info("Wrote %s: %s, %s", exposure.filename, exposure.epoch.name, exposure.band.name)
    return Dataset(
        exposures=tuple(paths),
        associations=tuple(write_associations(output_dir, field, exposures)),
        truth=write_truth(output_dir / f"{field}_truth.yaml", exposures, truth, context),
        sources=_write_sources(output_dir / f"{field}_sources.ecsv", scene),
    )


def _save(model, path, subarray):
    if subarray is not None:
        model = cut_subarray(model, subarray)
    model.save(path)
    return path


def _write_sources(path, scene):
    scene.write(path, format="ascii.ecsv", overwrite=True)
    return path


def write_truth(path, exposures, truth, context=DEFAULT_CONTEXT):
    """
    Write the injected calibration error and the geometry of the exposures.

    Parameters
    ----------
    path : path-like
        The YAML file to write.
    exposures : sequence of Exposure
        The exposures.
    truth : CalibrationTruth
        The error of the calibration.
    context : str
        The CRDS context of the files.

    Returns
    -------
    pathlib.Path
        The path.
    """
    epochs = dict.fromkeys(exposure.epoch for exposure in exposures)
    tree = {
        "model": "m = M + z + g u + t [mag]; pixels are multiplied by 10^(-0.4 (z + g u + t))",
        "context": context,
        "table": asdict(truth.table),
        "epoch_terms": _describe_epoch_terms(truth, exposures),
        "epochs": [asdict(epoch) for epoch in epochs],
        "exposures": [_describe(exposure) for exposure in exposures],
    }
    path = Path(path)
    path.write_text(yaml.safe_dump(_plain(tree), sort_keys=False))
    return path


def _describe_epoch_terms(truth, exposures):
    """One entry for each epoch and band, whichever way the terms were given."""
    pairs = dict.fromkeys((exposure.epoch.name, exposure.band) for exposure in exposures)
    return [
        {"epoch": epoch, "filter": band.filter, "pupil": band.pupil, "term": truth.epoch_term(epoch, band)}
        for epoch, band in pairs
    ]


def _describe(exposure):
    return {
        "filename": exposure.filename,
        "epoch": exposure.epoch.name,
        "detector": exposure.geometry.detector,
        "module": exposure.geometry.module,
        "array": exposure.geometry.array,
        "filter": exposure.band.filter,
        "pupil": exposure.band.pupil,
        "start": exposure.start,
        "attitude": asdict(exposure.attitude),
    }


def _plain(tree):
    """Turn what YAML does not know, tuples and NumPy numbers, into what it does."""
    if isinstance(tree, dict):
        return {str(key): _plain(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_plain(value) for value in tree]
    return tree.item() if isinstance(tree, np.generic) else tree
