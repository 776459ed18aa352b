"""
From pixels, or from a user's own catalogues, to one table of measurements.

This is the only part of the package that imports `photutils`::

    headers = [read_header(path) for path in paths]
    epochs = group_epochs([header.mjd for header in headers], [header.roll for header in headers])
    photometry = measure_sources(headers, epochs, find_sources(headers))
    selection = select_measurements(photometry.measurements)
"""

from jwst_modfix.photometry.apertures import SYSTEMATIC_FLOOR, Aperture, default_aperture
from jwst_modfix.photometry.cache import Cache
from jwst_modfix.photometry.catalogues import read_catalogues
from jwst_modfix.photometry.columns import UNUSABLE, Criteria, Flag, Selection, select_measurements
from jwst_modfix.photometry.epochs import Epochs, find_wide_epochs, group_epochs
from jwst_modfix.photometry.forced import Photometry, find_sources, measure_sources
from jwst_modfix.photometry.headers import ExposureHeader, find_apart, find_copies, find_mixed, read_header

__all__ = [
    "SYSTEMATIC_FLOOR",
    "UNUSABLE",
    "Aperture",
    "Cache",
    "Criteria",
    "Epochs",
    "ExposureHeader",
    "Flag",
    "Photometry",
    "Selection",
    "default_aperture",
    "find_apart",
    "find_copies",
    "find_mixed",
    "find_sources",
    "find_wide_epochs",
    "group_epochs",
    "measure_sources",
    "read_catalogues",
    "read_header",
    "select_measurements",
]
