"""Parts of a detector: cut out of a full frame, with the WCS and the keywords that belong to them."""

from dataclasses import dataclass

import numpy as np
from stdatamodels.jwst.datamodels import ImageModel

from jwst_modfix.errors import ModuleOffsetError
from jwst_modfix.simulate.geometry import FULL_FRAME, detector_geometry
from jwst_modfix.simulate.siaf import read_subarray
from jwst_modfix.simulate.wcs import assign_wcs

__all__ = ["Subarray", "SubarrayError", "cut_subarray", "named_subarray"]

_ARRAYS = ("data", "err", "dq", "var_poisson", "var_rnoise", "var_flat", "area")


class SubarrayError(ModuleOffsetError, ValueError):
    """A subarray that does not lie on the detector."""


@dataclass(frozen=True, kw_only=True)
class Subarray:
    """
    A rectangle of pixels of the full frame.

    Parameters
    ----------
    xstart, ystart : int
        First column and row, 1-indexed, as in ``SUBSTRT1`` and ``SUBSTRT2``.
    xsize, ysize : int
        Number of columns and rows.
    name : str
        Name, as in the ``SUBARRAY`` keyword, which allows no others.
    """

    xstart: int
    ystart: int
    xsize: int
    ysize: int
    name: str = "GENERIC"

    def __post_init__(self):
        for start, size in (("xstart", "xsize"), ("ystart", "ysize")):
            first, length = getattr(self, start), getattr(self, size)
            if first < 1 or length < 1 or first + length - 1 > FULL_FRAME:
                raise SubarrayError(
                    f"{start}, {size}: pixels 1 to {FULL_FRAME}, at least one; got {length} pixels from {first}"
                )

    @property
    def slices(self):
        """The rows and columns of the full frame, 0-indexed."""
        rows = slice(self.ystart - 1, self.ystart - 1 + self.ysize)
        return rows, slice(self.xstart - 1, self.xstart - 1 + self.xsize)


def named_subarray(name, detector):
    """
    Look up a subarray of the SIAF.

    Parameters
    ----------
    name : str
        Such as ``"SUB640"``.
    detector : str
        Name of the detector.

    Returns
    -------
    Subarray
        Where it lies on that detector.

    Raises
    ------
    SubarrayError
        That detector has no such subarray.
    """
    aperture = read_subarray(detector, name)
    if aperture is None:
        raise SubarrayError(f"subarray: one that the SIAF has for {detector}, such as SUB640; got {name!r}")
    x, y = detector_geometry(detector).v2v3_to_pixel(aperture.V2Ref, aperture.V3Ref)
    return Subarray(
        name=name,
        xstart=round(float(x) - (aperture.XSciRef - 1)) + 1,
        ystart=round(float(y) - (aperture.YSciRef - 1)) + 1,
        xsize=int(aperture.XSciSize),
        ysize=int(aperture.YSciSize),
    )


def cut_subarray(model, subarray):
    """
    Cut a subarray out of a full-frame exposure.

    Parameters
    ----------
    model : stdatamodels.jwst.datamodels.ImageModel
        A full-frame exposure from `simulate_exposure`; it is not changed.
    subarray : Subarray or str
        The rectangle, or its name in the SIAF.

    Returns
    -------
    stdatamodels.jwst.datamodels.ImageModel
        The subarray; V2_REF, V3_REF and RA_REF, DEC_REF stay those of the full frame.
    """
    detector = model.meta.instrument.detector
    if isinstance(subarray, str):
        subarray = named_subarray(subarray, detector)
    cut = ImageModel(**{name: np.array(getattr(model, name)[subarray.slices]) for name in _ARRAYS})
    cut.update(model)
    for name in ("name", "xstart", "ystart", "xsize", "ysize"):
        setattr(cut.meta.subarray, name, getattr(subarray, name))
    assign_wcs(cut, detector_geometry(detector))
    return cut
