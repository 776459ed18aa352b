"""A whole data set on disk: exposures, associations and, beside them, the truth."""

import logging
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import yaml

from jwst_modfix.simulate.associations import write_associations
from jwst_modfix.simulate.exposure import DEFAULT_CONTEXT, simulate_exposure
from jwst_modfix.simulate.scene import scene_around
from jwst_modfix.simulate.subarray import cut_subarray
from jwst_modfix.simulate.truth import CalibrationTruth

__all__ = ["Dataset", "simulate_dataset", "write_truth"]

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
