"""An exposure that is open for correction, whether as a data model or as a FITS file."""

import abc

import numpy as np

from jwst_modfix.apply.factor import FactorMap
from jwst_modfix.apply.record import STATUS_KEYWORD, AppliedOffset, all_keywords
from jwst_modfix.errors import ExposureError

__all__ = ["ARRAYS_BY_POWER", "OpenExposure"]

ARRAYS_BY_POWER = (("data", "err"), ("var_poisson", "var_rnoise", "var_flat"))
"""Arrays that take the factor, and arrays that take its square."""


class OpenExposure(abc.ABC):
    """An exposure that is open for correction, and the record of what we did to it.

    The record is a set of cards in the primary header, which later steps carry along. Beside it, in the ASDF tree,
    stand the status (``meta.cal_step.module_offset``) and the coefficients of the factor, which save the undo from a
    WCS that a later step has adjusted.
    """

    @abc.abstractmethod
    def describe(self, *, headers_only=False):
        """Say what the exposure is."""

    @abc.abstractmethod
    def scale_pixels(self, factor_map, *, undo=False):
        """Multiply data and errors by the factor, and variances by its square; absent ones stay absent."""

    @abc.abstractmethod
    def check(self):
        """Look for what would end the correction of this exposure in its middle."""

    @abc.abstractmethod
    def scale_photometry(self, factor):
        """Scale PHOTMJSR and PHOTUJA2, so that data / PHOTMJSR stays DN/s, and BKGLEVEL where a sky was measured."""

    @abc.abstractmethod
    def read_wcs(self, last=None):
        """Read the gWCS."""

    @abc.abstractmethod
    def cards(self):
        """Read the cards of the primary header that may be ours."""

    @abc.abstractmethod
    def replace_cards(self, cards):
        """Take our cards out of the primary header and put others in."""

    @abc.abstractmethod
    def read_node(self):
        """Read the coefficients that the ASDF tree keeps."""

    @abc.abstractmethod
    def read_status_node(self):
        """Read the status that the ASDF tree keeps."""

    @abc.abstractmethod
    def write_node(self, status, node):
        """Set the status and the coefficients in the ASDF tree."""

    @property
    def status(self):
        """``"COMPLETE"``, ``"SKIPPED"`` or None; either of the two places counts, lest a correction be repeated."""
        stated = [self.cards().get(STATUS_KEYWORD), self.read_status_node()]
        stated = [status.strip().upper() for status in stated if isinstance(status, str)]
        return "COMPLETE" if "COMPLETE" in stated else next(iter(stated), None)

    @property
    def history(self):
        """By which table the exposure was corrected and when, in words."""
        cards = self.cards()
        return f"by {cards.get('R_MODOFF')} on {cards.get('MODFDATE')}"

    def record(self):
        """Read what was taken out."""
        return AppliedOffset.from_cards(self.cards())

    def factor(self):
        """Read the factor that was applied."""
        node, shape = self.read_node(), self.describe(headers_only=True).shape
        if tuple(node.get("shape", ())) != shape:
            return None
        return FactorMap(np.asarray(node["factor"], dtype=float), shape)

    def mark_complete(self, record, factor_map):
        """Record a correction."""
        self.replace_cards([(STATUS_KEYWORD, "COMPLETE", "Module offset correction"), *record.cards()])
        node = {"factor": factor_map.coefficients.tolist(), "shape": list(factor_map.shape)}
        self.write_node("COMPLETE", node)

    def mark_skipped(self):
        """Record that the exposure was left as it was."""
        self.replace_cards([(STATUS_KEYWORD, "SKIPPED", "Module offset correction")])
        self.write_node("SKIPPED", {})

    def clear_mark(self):
        """Take every trace of a correction away."""
        self.replace_cards([])
        self.write_node(None, {})

    @staticmethod
    def check_array(array, name, shape, exposure):
        """Refuse an array that the factor does not fit."""
        if array.shape != shape:
            raise ExposureError(f"{exposure}: {name} has shape {array.shape}, and the data have {shape}")
        if array.dtype.kind != "f":
            raise ExposureError(f"{exposure}: {name} must hold floating-point numbers, got {array.dtype}")
        return array

    @staticmethod
    def is_ours(keyword):
        """Tell whether a keyword belongs to the record."""
        return keyword in all_keywords()
