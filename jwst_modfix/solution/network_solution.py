"""What the network's solution holds, and what it predicts for any measurement."""

from dataclasses import dataclass, field

import numpy as np

from jwst_modfix.errors import MeasurementsError
from jwst_modfix.reference.table import ARRAYS
from jwst_modfix.solution.measurements import EXPOSURE_SHARE

__all__ = ["NetworkSolution"]


@dataclass(frozen=True, kw_only=True, eq=False)
class NetworkSolution:
    """
    Zero points, gradients and epoch terms of one filter and pupil.

    Parameters
    ----------
    measurements : Measurements
        The measurements that were fitted: all that are not reserved.
    model : Model
        All terms that were asked for, and the reduced system.
    fitted : numpy.ndarray of bool, shape (n_terms,)
        Terms that are determined and were solved for.
    fit : RobustFit
        Values, covariance, residuals, weights and rejections.
    links : LinkReport
        What is linked to what.
    status : tuple of TermStatus
        What became of each offset, slope and epoch term.
    direction : float
        Direction of the gradients [deg], where it is not fitted.
    origin : tuple of float
        (V2, V3) where u = 0 [arcsec].
    fit_direction : bool
        Whether two components of each gradient were fitted.
    level_group : dict
        For each array ID, the number of the group of arrays within which its level counts.
    """

    measurements: object
    model: object
    fitted: np.ndarray
    fit: object
    links: object
    status: tuple
    direction: float
    origin: tuple
    fit_direction: bool
    level_group: dict = field(default_factory=dict)

    @property
    def names(self):
        """Short names of all terms."""
        return tuple(term.name for term in self.model.terms)

    @property
    def values(self):
        """Values of all terms [mag or mag/arcmin]; 0 where fixed."""
        return self.fit.values

    @property
    def covariance(self):
        """Covariance of all terms; 0 where fixed."""
        return self.fit.covariance

    @property
    def sigma_int(self):
        """Intrinsic scatter of one measurement [mag]."""
        return self.fit.sigma_int

    @property
    def rejected(self):
        """Reason code of each measurement fitted: 0 used, 1 single, 2 outlier, 3 variable source."""
        return self.fit.rejected

    @property
    def chi2(self):
        """Sum of squared residuals over variances, sigma_int included."""
        return self.fit.chi2

    @property
    def n_measurements(self):
        """Number of measurements used."""
        return int(np.count_nonzero(self.fit.rejected == 0))

    @property
    def n_sources(self):
        """Number of sources used."""
        return len(np.unique(self.measurements.source[self.fit.rejected == 0]))

    @property
    def dof(self):
        """Degrees of freedom: measurements less sources less determined terms."""
        return self.n_measurements - self.n_sources - int(self.fitted.sum())

    def value(self, name):
        """
        Look up one term by its name.

        Parameters
        ----------
        name : str
            Name such as ``"offset[long]"``.

        Returns
        -------
        value, error : float
            Value and standard error; NaN for both where the term was not determined.

        Raises
        ------
        KeyError
            No term has that name.
        """
        if name not in self.names:
            raise KeyError(f"no term {name!r}; there are {', '.join(self.names)}")
        number = self.names.index(name)
        known = self.fitted[number]
        if not known:
            return np.nan, np.nan
        return float(self.values[number]), float(np.sqrt(self.covariance[number, number]))

    def epoch_terms(self):
        """
        List the epoch terms.

        Returns
        -------
        dict
            Epoch to (t, error) [mag]; (0, 0) in the first epoch and where the term is fixed to 0.
        """
        found = {int(epoch): (0.0, 0.0) for epoch in self.model.epochs}
        for number in np.flatnonzero(self.model.mask("epoch") & self.fitted):
            error = np.sqrt(self.covariance[number, number])
            found[self.model.terms[number].epoch] = (float(self.values[number]), float(error))
        return found

    def predict(self, measurements):
        """
        Systematic error z + g u + t of any measurements of this filter, with the baseline ``'mean'``.

        Parameters
        ----------
        measurements : Measurements
            Measurements by detectors and in epochs of this solution.

        Returns
        -------
        numpy.ndarray, shape (n,)
            What to subtract from the magnitudes [mag]; an array's own level included.

        Raises
        ------
        MeasurementsError
            An array, module or epoch has no part in the solution.
        """
        number = {term.name: i for i, term in enumerate(self.model.terms)}
        total = np.zeros(len(measurements))
        for code, array in enumerate(ARRAYS):
            mine = measurements.array_code == code
            if mine.any():
                total[mine] = self._predict_array(measurements.select(mine), array, number)
        for epoch in np.unique(measurements.epoch):
            if epoch not in self.model.epochs:
                raise MeasurementsError(f"epoch {epoch} has no part in the solution")
            if f"epoch[{epoch}]" in number:
                total[measurements.epoch == epoch] += self.values[number[f"epoch[{epoch}]"]]
        return total

    def _predict_array(self, measurements, array, number):
        if f"level[{array}]" not in number:
            raise MeasurementsError(f"array {array} has no part in the solution")
        side = np.where(measurements.module_code == 0, 0.5, -0.5)
        total = self.values[number[f"level[{array}]"]] + side * self._or_zero(f"offset[{array}]", number)
        for kind, angle in (("slope", self.direction), ("slope_V2", 90.0), ("slope_V3", 0.0)):
            u = measurements.coordinate(angle, self.origin)
            total = total + EXPOSURE_SHARE * u * self._or_zero(f"{kind}[{array}]", number)
            for code, module in enumerate("AB"):
                mine = measurements.module_code == code
                total = total + EXPOSURE_SHARE * u * mine * self._or_zero(f"{kind}[{array} {module}]", number)
        return total

    def _or_zero(self, name, number):
        return self.values[number[name]] if name in number else 0.0
