"""The errors that a fit will have, from its design alone."""

from dataclasses import dataclass

from jwst_modfix.solution.links import check_linked, count_links
from jwst_modfix.solution.measurements import DIRECTION, ORIGIN
from jwst_modfix.solution.separability import find_separable
from jwst_modfix.solution.terms import SLOPE_ARRAYS, build_model

__all__ = ["Forecast", "forecast_terms"]


@dataclass(frozen=True, eq=False)
class Forecast:
    """
    What a fit of one filter and pupil will determine.

    Parameters
    ----------
    status : tuple of TermStatus
        One for each offset, slope and epoch term: its expected error, or why it is not determined.
    links : LinkReport
        Sources that detectors and epochs share.
    """

    status: tuple
    links: object


def forecast_terms(measurements, *, fit_slope="long"):
    """
    Forecast the errors of offsets, slopes and epoch terms.

    The covariance of the fit is that of its design, weighted by the errors of the measurements; no magnitude enters.

    Parameters
    ----------
    measurements : Measurements
        Where and how well sources will be measured; magnitudes are not looked at.
    fit_slope : {'long', 'all', 'none'}
        Array IDs that have a gradient.

    Returns
    -------
    Forecast
        The forecast.

    Raises
    ------
    NoSolutionError
        These measurements will hold no information on the offset between the modules.
    """
    links = count_links(measurements)
    check_linked(measurements, links)
    model = build_model(measurements, slope_arrays=SLOPE_ARRAYS[fit_slope], direction=DIRECTION, origin=ORIGIN)
    return Forecast(find_separable(model, links, measurements.mag_error).status, links)
