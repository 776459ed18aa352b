"""
Simulated multi-epoch NIRCam exposures with a known error of the calibration.

The exposures have the geometry of the observatory's SIAF and go through calwebb_image3. On the command
line: ``modfix simulate --help``. In Python::

    exposures = plan_exposures(JWIDF_EPOCHS, filters=["F444W"])
    simulate_dataset("data", exposures, seed=1, field="jwidf")

Only this package imports `pysiaf`, which comes with the extra ``sim``.
"""

from jwst_modfix.simulate.dataset import Dataset, calibration_factor, simulate_dataset, simulate_exposure
from jwst_modfix.simulate.detector import Effects, Subarray, named_subarray
from jwst_modfix.simulate.diffraction import Wavefronts
from jwst_modfix.simulate.magnitudes import draw_measurements, observe_sources, simulate_measurements
from jwst_modfix.simulate.observation import BANDS, JWIDF_EPOCHS, Band, Epoch, Exposure, dither_pattern, plan_exposures
from jwst_modfix.simulate.optics import DETECTORS, MODULE_MIDPOINT, Attitude, DetectorGeometry, detector_geometry
from jwst_modfix.simulate.scene import Population, make_scene, random_stream, scene_around
from jwst_modfix.simulate.truth import MA2023_TABLE, CalibrationTruth

__all__ = [
    "BANDS",
    "DETECTORS",
    "JWIDF_EPOCHS",
    "MA2023_TABLE",
    "MODULE_MIDPOINT",
    "Attitude",
    "Band",
    "CalibrationTruth",
    "Dataset",
    "DetectorGeometry",
    "Effects",
    "Epoch",
    "Exposure",
    "Population",
    "Subarray",
    "Wavefronts",
    "calibration_factor",
    "detector_geometry",
    "dither_pattern",
    "draw_measurements",
    "make_scene",
    "named_subarray",
    "observe_sources",
    "plan_exposures",
    "random_stream",
    "scene_around",
    "simulate_dataset",
    "simulate_exposure",
    "simulate_measurements",
]
