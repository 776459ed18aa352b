"""Simulated exposures, and data sets on disk with associations and the truth."""

import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import yaml
from astropy.table import Table
from jwst.associations.asn_from_list import asn_from_list
from jwst.associations.lib.rules_level3_base import DMS_Level3_Base
from stdatamodels.jwst.datamodels import ImageModel

from jwst_modfix.simulate.detector import WHOLE, Effects, Subarray, detect, named_subarray
from jwst_modfix.simulate.diffraction import Wavefronts
from jwst_modfix.simulate.header import exposure_metadata
from jwst_modfix.simulate.observation import Exposure
from jwst_modfix.simulate.optics import Array, assign_wcs
from jwst_modfix.simulate.render import draw_sources
from jwst_modfix.simulate.scene import Population, random_stream, scene_around
from jwst_modfix.simulate.truth import CalibrationTruth
from jwst_modfix.table.file import plain_tree
from jwst_modfix.text import log

DEFAULT_CONTEXT = "jwst_1130.pmap"
"""The CRDS context that Table 2 of Ma et al. (2023) was derived on."""


def simulate_exposure(
    exposure: Exposure,
    scene: Table,
    rng: np.random.Generator | None,
    *,
    truth: CalibrationTruth | None = None,
    effects: Effects | None = None,
    context: str = DEFAULT_CONTEXT,
    subarray: Subarray | str | None = None,
    wavefronts: Wavefronts | None = None,
) -> ImageModel:
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
    subarray : Subarray or str, optional
        The part of the detector that is read, or its name; the full frame unless given.
    wavefronts : Wavefronts, optional
        Wavefront errors of the modules, for diffraction PSFs; a round sum of Gaussians unless given.

    Returns
    -------
    stdatamodels.jwst.datamodels.ImageModel
        The exposure [MJy/sr].
    """
    effects, geometry = effects or Effects(), exposure.geometry
    part = named_subarray(subarray, geometry.detector) if isinstance(subarray, str) else subarray or WHOLE
    area = geometry.pixel_area(part.columns, part.rows) / geometry.nominal_area
    brightness = draw_sources(scene, exposure, part, wavefronts) / (area * geometry.nominal_solid_angle)
    if effects.sky:
        brightness += exposure.band.sky
    pixels = detect(brightness, exposure, rng, effects, part)
    dq = pixels.pop("dq")
    factor = calibration_factor(exposure, truth or CalibrationTruth(), part)
    # Variances grow as the square of the values.
    scaled = {name: np.float32(array * factor ** (1 + name.startswith("var_"))) for name, array in pixels.items()}
    model = ImageModel(area=np.float32(area), dq=dq, **scaled)
    model.update({"meta": exposure_metadata(exposure, context, part)})
    assign_wcs(model, geometry)
    return model


def calibration_factor(exposure: Exposure, truth: CalibrationTruth, subarray: Subarray = WHOLE) -> Array | float:
    """Compute the factor 10^(-0.4 (z + g u + t)), one number without gradient."""
    x, y = subarray.columns, subarray.rows
    v2, v3 = exposure.geometry.grid_to_v2v3(x, y)
    error = truth.magnitude_error(exposure, x=x[None, :], y=y[:, None], v2=v2, v3=v3)
    return 10 ** (-0.4 * error)


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """The paths of what was written."""

    exposures: tuple[Path, ...]  #: _cal files, in the order of the exposures
    associations: tuple[Path, ...]  #: the last one holds everything
    truth: Path  #: the injected calibration error, the epochs and the exposures (YAML)
    sources: Path  #: the catalogue of true sources (ECSV)


def simulate_dataset(
    output_dir: str | Path,
    exposures: Sequence[Exposure],
    seed: int,
    *,
    field: str = "field",
    scene: Table | None = None,
    population: Population | None = None,
    truth: CalibrationTruth | None = None,
    effects: Effects | None = None,
    context: str = DEFAULT_CONTEXT,
    subarray: Subarray | str | None = None,
    wavefronts: Wavefronts | None = None,
) -> Dataset:
    """
    Simulate exposures and write them with their associations and the truth.

    The sky belongs to the seed and the field, and the noise to the seed, the field and the name of the exposure:
    give two trials of one seed fields of different names, and they share neither.

    Parameters
    ----------
    output_dir : path-like
        Where to write; made where it does not exist.
    exposures : sequence of Exposure
        The exposures, as from `plan_exposures`.
    seed : int
        Seed of the scene and of the noise.
    field : str
        Name of the field, for the names of files.
    scene : astropy.table.Table, optional
        The sky; drawn around the exposures unless given.
    population : Population, optional
        The sources to draw.
    truth, effects, context, subarray, wavefronts : optional
        As in `simulate_exposure`.

    Returns
    -------
    Dataset
        The paths of the files.
    """
    output_dir = Path(output_dir)
    output_dir.mkdir(parents=True, exist_ok=True)
    truth = truth or CalibrationTruth()
    scene = scene_around(random_stream(seed, field, "sky"), exposures, population) if scene is None else scene
    paths = []
    for exposure in exposures:
        rng = random_stream(seed, field, exposure.name)
        paths.append(output_dir / exposure.filename)
        options = {"truth": truth, "effects": effects, "context": context, "subarray": subarray}
        with simulate_exposure(exposure, scene, rng, wavefronts=wavefronts, **options) as model:
            model.save(paths[-1])
        log.info("Wrote %s: %s, %s", exposure.filename, exposure.epoch.name, exposure.band.name)
    sources = output_dir / f"{field}_sources.ecsv"
    scene.write(sources, format="ascii.ecsv", overwrite=True)
    return Dataset(
        exposures=tuple(paths),
        associations=_write_associations(output_dir, field, exposures),
        truth=_write_truth(output_dir / f"{field}_truth.yaml", exposures, truth, context, wavefronts),
        sources=sources,
    )


def _write_associations(output_dir: Path, field: str, exposures: Sequence[Exposure]) -> tuple[Path, ...]:
    """Write associations, per epoch and filter, per filter, and of all exposures."""
    epochs = dict.fromkeys(exposure.epoch.name for exposure in exposures)
    bands = dict.fromkeys(exposure.band.name for exposure in exposures)
    paths = []
    for band, epoch in [*itertools.product(bands, epochs), *((band, None) for band in [*bands, None])]:
        members = [e for e in exposures if epoch in (None, e.epoch.name) and band in (None, e.band.name)]
        if not members:
            continue
        names = [exposure.filename for exposure in members]
        product = "_".join(part for part in (field, epoch, band and band.lower()) if part)
        association = asn_from_list(names, rule=DMS_Level3_Base, product_name=product)
        association["asn_type"] = "image3"
        for member, exposure in zip(association["products"][0]["members"], members, strict=True):
            member["epoch"] = exposure.epoch.name
        paths.append(output_dir / f"{'_'.join(part for part in (field, epoch, band) if part)}_image3_asn.json")
        paths[-1].write_text(json.dumps(association.data, indent=4, default=dict) + "\n")
    return tuple(paths)


def _write_truth(
    path: Path, exposures: Sequence[Exposure], truth: CalibrationTruth, context: str, wavefronts: Wavefronts | None
) -> Path:
    """Write the injected calibration error and the geometry of the exposures."""
    taken = dict.fromkeys((exposure.epoch.name, exposure.band) for exposure in exposures)
    tree = {
        "model": "m = M + z + g u + t [mag]; pixels are multiplied by 10^(-0.4 (z + g u + t))",
        "context": context,
        "psf": "round Gaussians" if wavefronts is None else {"diffraction, wavefront rms [nm]": wavefronts.rms},
        "table": asdict(truth.table),
        "epoch_terms": [
            {"epoch": epoch, "filter": band.filter, "pupil": band.pupil, "term": truth.epoch_term(epoch, band)}
            for epoch, band in taken
        ],
        "epochs": [asdict(epoch) for epoch in dict.fromkeys(exposure.epoch for exposure in exposures)],
        "exposures": [
            {"filename": e.filename, **e.facts, "start": e.start, "attitude": asdict(e.attitude)} for e in exposures
        ],
    }
    path.write_text(yaml.safe_dump(plain_tree(tree), sort_keys=False))
    return path
