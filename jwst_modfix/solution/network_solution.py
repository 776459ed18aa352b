"""What the network's solution holds, and what it predicts for any measurement."""

from dataclasses import dataclass, field

import numpy as np

from jwst_modfix.errors import MeasurementsError
from jwst_modfix.reference.table import ARRAYS, MODULES
from jwst_modfix.solution.measurements import EXPOSURE_SHARE, focal_plane_coordinate

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
            Epoch to (t, error) [mag]; (0, 0) in the first epoch and where the term is left out or fixed to 0.
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
        self._check_known(measurements)
        total = np.zeros(len(measurements))
        for value, term in zip(self.values, self.model.terms, strict=True):
            if term.kind != "epoch" and value:
                total += value * self._design(term, measurements)
        t = np.zeros(len(self.model.epochs))
        t[self._epoch_places()] = self.values[self.model.mask("epoch")]
        return total + t[np.searchsorted(self.model.epochs, measurements.epoch)]

    def design_sums(self, measurements, weight):
        """
        Sum each term's part in some measurements: the transpose of `predict`.

        Parameters
        ----------
        measurements : Measurements
            Measurements by detectors and in epochs of this solution.
        weight : numpy.ndarray, shape (n,)
            Weight of each.

        Returns
        -------
        numpy.ndarray, shape (n_terms,)
            The sums, which hold ``weight @ predict == sums @ values``.

        Raises
        ------
        MeasurementsError
            An array, module or epoch has no part in the solution.
        """
        self._check_known(measurements)
        place = np.searchsorted(self.model.epochs, measurements.epoch)
        by_epoch = np.bincount(place, weight, len(self.model.epochs))
        terms = [term for term in self.model.terms if term.kind != "epoch"]
        sums = np.array([weight @ self._design(term, measurements) for term in terms])
        return np.concatenate([sums, by_epoch[self._epoch_places()]])

    def contrast(self, array, place_A, place_B):
        """
        Write the difference A - B between two places of an array ID as a combination of the terms.

        Parameters
        ----------
        array : str
            Array ID.
        place_A, place_B : tuple of float
            (V2, V3) in module A and in module B [arcsec].

        Returns
        -------
        numpy.ndarray, shape (n_terms,)
            Weights of the terms: the difference is ``contrast @ values``. Terms that are not determined weigh 0.
        """
        found = np.zeros(len(self.model.terms))
        for number, term in enumerate(self.model.terms):
            if term.array != array:
                continue
            if term.kind == "offset":
                found[number] = 1.0
            elif term.is_slope:
                V2, V3 = np.transpose([place_A, place_B])
                u = focal_plane_coordinate(V2, V3, self._angle(term), self.origin)
                seen = [term.module in (None, module) for module in MODULES]
                found[number] = EXPOSURE_SHARE * np.sum(u * seen * [1.0, -1.0])
        return found * self.fitted

    def _check_known(self, measurements):
        for array in np.unique(measurements.array_code):
            if f"level[{ARRAYS[array]}]" not in self.names:
                raise MeasurementsError(f"array {ARRAYS[array]} has no part in the solution")
        for epoch in np.setdiff1d(measurements.epoch, self.model.epochs):
            raise MeasurementsError(f"epoch {epoch} has no part in the solution")

    def _epoch_places(self):
        """Places among the epochs of those that have a term, which stand last among the terms."""
        return [np.searchsorted(self.model.epochs, term.epoch) for term in self.model.terms if term.kind == "epoch"]

    def _angle(self, term):
        return {"slope": self.direction, "slope_V2": 90.0, "slope_V3": 0.0}[term.kind]

    def _design(self, term, measurements):
        """Part of one term in each measurement; not for epochs."""
        mine = measurements.array_code == ARRAYS.index(term.array)
        if term.kind == "level":
            return mine.astype(float)
        if term.kind == "offset":
            return mine * np.where(measurements.module_code == 0, 0.5, -0.5)
        if term.module is not None:
            mine = mine & (measurements.module_code == MODULES.index(term.module))
        return mine * EXPOSURE_SHARE * measurements.coordinate(self._angle(term), self.origin)
