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
    """
    An exposure that is open for correction, and the record of what we did to it.

    The record is a set of cards in the primary header, which later steps carry along. Beside it, in the ASDF tree,
    stand the status (``meta.cal_step.module_offset``) and the coefficients of the factor, which save the undo from a
    WCS that a later step has adjusted.
    """

    @abc.abstractmethod
    def describe(self, *, headers_only=False):
        """
        Say what the exposure is.

        Parameters
        ----------
        headers_only : bool
            Leave the frames of the WCS unknown where looking at them costs time.

        Returns
        -------
        Exposure
            Its description.
        """

    @abc.abstractmethod
    def scale_pixels(self, factor_map, *, undo=False):
        """
        Multiply data and errors by the factor, and variances by its square; absent ones stay absent.

        Parameters
        ----------
        factor_map : FactorMap
            The factor.
        undo : bool
            Divide instead.

        Raises
        ------
        ExposureError
            An array does not fit the factor.
        """

    @abc.abstractmethod
    def check(self):
        """
        Look for what would end the correction of this exposure in its middle.

        Raises
        ------
        ExposureError
            An array does not fit the correction.
        """

    @abc.abstractmethod
    def scale_photometry(self, factor):
        """
        Scale PHOTMJSR and PHOTUJA2, so that data / PHOTMJSR stays DN/s, and BKGLEVEL where a sky was measured.

        Parameters
        ----------
        factor : float
            The factor.
        """

    @abc.abstractmethod
    def read_wcs(self, last=None):
        """
        Read the gWCS.

        Parameters
        ----------
        last : str, optional
            Name of the coordinate frame up to which it is asked for; what follows may be left out.

        Returns
        -------
        gwcs.WCS or None
            The WCS; None where there is none.

        Raises
        ------
        ExposureError
            It cannot be read.
        """

    @abc.abstractmethod
    def cards(self):
        """
        Read the cards of the primary header that may be ours.

        Returns
        -------
        dict
            Keyword to value.
        """

    @abc.abstractmethod
    def replace_cards(self, cards):
        """
        Take our cards out of the primary header and put others in.

        Parameters
        ----------
        cards : list of tuple
            ``(keyword, value, comment)`` each.
        """

    @abc.abstractmethod
    def read_node(self):
        """
        Read the coefficients that the ASDF tree keeps.

        Returns
        -------
        dict
            ``factor`` and ``shape``; empty where there are none.
        """

    @abc.abstractmethod
    def read_status_node(self):
        """
        Read the status that the ASDF tree keeps.

        Returns
        -------
        str or None
            ``meta.cal_step.module_offset``.
        """

    @abc.abstractmethod
    def write_node(self, status, node):
        """
        Set the status and the coefficients in the ASDF tree.

        Parameters
        ----------
        status : str or None
            The status; None takes it away.
        node : dict
            ``factor`` and ``shape``; empty takes them away.
        """

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
        """
        Read what was taken out.

        Returns
        -------
        AppliedOffset
            The record.

        Raises
        ------
        KeyError
            A card of the record is missing.
        """
        return AppliedOffset.from_cards(self.cards())

    def factor(self):
        """
        Read the factor that was applied.

        Returns
        -------
        FactorMap or None
            None where the exposure carries none, or one for another shape.
        """
        node, shape = self.read_node(), self.describe(headers_only=True).shape
        if tuple(node.get("shape", ())) != shape:
            return None
        return FactorMap(np.asarray(node["factor"], dtype=float), shape)

    def mark_complete(self, record, factor_map):
        """
        Record a correction.

        Parameters
        ----------
        record : AppliedOffset
            What was taken out.
        factor_map : FactorMap
            The factor that did it.
        """
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
        """
        Refuse an array that the factor does not fit.

        Parameters
        ----------
        array : numpy.ndarray
            The array.
        name : str
            Its name, for the message.
        shape : tuple of int
            Shape of the data.
        exposure : str
            Name of the exposure, for the message.

        Returns
        -------
        numpy.ndarray
            The array.

        Raises
        ------
        ExposureError
            Its shape is not that of the data, or it holds no floating-point numbers.
        """
        if array.shape != shape:
            raise ExposureError(f"{exposure}: {name} has shape {array.shape}, and the data have {shape}")
        if array.dtype.kind != "f":
            raise ExposureError(f"{exposure}: {name} must hold floating-point numbers, got {array.dtype}")
        return array

    @staticmethod
    def is_ours(keyword):
        """
        Tell whether a keyword belongs to the record.

        Parameters
        ----------
        keyword : str
            A FITS keyword.

        Returns
        -------
        bool
            Whether it does.
        """
        return keyword in all_keywords()
