"""What a user may choose when offsets are derived."""

from dataclasses import dataclass

from jwst_modfix.errors import MeasurementsError
from jwst_modfix.photometry import Criteria

__all__ = ["Options"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """
    Parameters of a derivation.

    Parameters
    ----------
    photometry : {'exposure', 'mosaic', 'catalog'}
        Where measurements come from.
    catalogs : tuple of str
        Tables of a user's own photometry.
    method : {'network', 'pairs'}
        How the offsets are solved for.
    fit_slope : {'long', 'all', 'none'}
        Array IDs with a gradient.
    fit_direction : bool
        Fit the direction of each gradient too.
    time_term : {'auto', 'fit', 'zero'}
        Whether epochs have a term; ``'auto'`` says too which terms the data do not demand.
    baseline : {'B', 'A', 'mean'}
        The module whose flux scale is kept.
    significance : float
        Gaussian sigmas from which a row is non-zero.
    epoch_gap_days : float
        The longest time between exposures of one epoch [day].
    epoch_roll_tolerance : float
        The largest difference of roll within one epoch [deg].
    min_snr : float
        Least ratio of flux to error.
    faintest : float
        Faintest magnitude [AB].
    isolation : float, optional
        Least distance to the nearest comparable source [arcsec]; that of `Criteria` unless given, and 0 for a user's
        own photometry, which is for fields where no source is isolated.
    compactness : float, optional
        Least compactness; any unless given.
    reserve_share : float
        Share of the sources kept for validation.
    seed : int
        Seed of all that is random.
    bootstrap : int
        Draws of the bootstrap over sources; 0 for none.
    allow_mixed : bool
        Accept exposures that were not calibrated alike.

    Raises
    ------
    MeasurementsError
        A value is out of range, or two choices exclude each other.
    """

    photometry: str = "exposure"
    catalogs: tuple[str, ...] = ()
    method: str = "network"
    fit_slope: str = "long"
    fit_direction: bool = False
    time_term: str = "auto"
    baseline: str = "B"
    significance: float = 3.0
    epoch_gap_days: float = 30.0
    epoch_roll_tolerance: float = 5.0
    min_snr: float = 100.0
    faintest: float = 22.0
    isolation: float | None = None
    compactness: float | None = None
    reserve_share: float = 0.2
    seed: int = 1
    bootstrap: int = 0
    allow_mixed: bool = False

    def __post_init__(self):
        if (self.photometry == "catalog") != bool(self.catalogs):
            raise MeasurementsError(
                "catalogs: needed with photometry='catalog', and used by no other; "
                f"got photometry={self.photometry!r} and {len(self.catalogs)} catalogs"
            )
        if self.fit_direction and self.method == "pairs":
            raise MeasurementsError("fit_direction: only method='network' fits the direction of a gradient")
        for name, least in (("significance", 0), ("bootstrap", 0), ("seed", 0), ("min_snr", 0), ("isolation", 0)):
            value = getattr(self, name)
            if value is not None and not value >= least:
                raise MeasurementsError(f"{name}: must be at least {least}; got {value}")
        if not 0 <= self.reserve_share <= 0.9:
            raise MeasurementsError(f"reserve_share: must be from 0 to 0.9; got {self.reserve_share}")
        if self.bootstrap == 1:
            raise MeasurementsError("bootstrap: must be 0 (none) or at least 2 draws; got 1")

    @property
    def criteria(self):
        """Rules for measurements that enter the fit."""
        isolation = self.isolation
        if isolation is None:
            isolation = 0.0 if self.photometry == "catalog" else Criteria.isolation
        return Criteria(snr=self.min_snr, faintest=self.faintest, isolation=isolation, compactness=self.compactness)
