"""The terms of the model, their design columns, and which of them the pointings separate."""

from dataclasses import dataclass

import numpy as np

from jwst_modfix.errors import NoSolutionError
from jwst_modfix.fitting.links import check_linked, count_links
from jwst_modfix.fitting.measurements import DIRECTION, EXPOSURE_SHARE, ORIGIN, number_labels
from jwst_modfix.fitting.normal import NULL_SHARE, generalised_inverse, reduce_system
from jwst_modfix.table.table import ARRAYS, MODULES

__all__ = [
    "MAX_INFLATION",
    "MAX_OFFSET_ERROR",
    "MAX_SLOPE_ERROR",
    "MIN_SOURCES",
    "SLOPE_ARRAYS",
    "Forecast",
    "Model",
    "Separability",
    "Term",
    "TermStatus",
    "build_model",
    "count_effective_sources",
    "find_separable",
    "forecast_terms",
    "too_few_sources",
]


SLOPE_ARRAYS = {"long": ("long",), "all": ARRAYS, "none": ()}
"""Array IDs that have a gradient, by the parameter ``fit_slope``."""

_WORDS = {
    "offset": "offset of array {array}",
    "level": "level of array {array}",
    "slope": "slope of array {array}",
    "slope_V2": "slope of array {array} along V2",
    "slope_V3": "slope of array {array} along V3",
    "epoch": "term of epoch {epoch}",
}


@dataclass(frozen=True)
class Term:
    """
    One global term of the model.

    Parameters
    ----------
    kind : {'offset', 'level', 'slope', 'slope_V2', 'slope_V3', 'epoch'}
        Delta_AB = z_A - z_B [mag], the array's mean zero point [mag], k [mag/arcmin], t [mag].
    array : str, optional
        Array ID.
    module : str, optional
        Module, where a slope is fitted for each module.
    epoch : int, optional
        Epoch.
    """

    kind: str
    array: str | None = None
    module: str | None = None
    epoch: int | None = None

    @property
    def name(self):
        """Short name, such as ``offset[long]``, ``slope[long A]`` or ``epoch[2]``."""
        inside = (self.array, self.module, self.epoch)
        return f"{self.kind}[{' '.join(str(part) for part in inside if part is not None)}]"

    @property
    def words(self):
        """The term in words."""
        words = _WORDS[self.kind].format(array=self.array, epoch=self.epoch)
        return words if self.module is None else f"{words} in module {self.module}"

    @property
    def is_slope(self):
        """Whether the term is a gradient or a component of one."""
        return self.kind.startswith("slope")


@dataclass(frozen=True, eq=False)
class Model:
    """
    Every term that was asked for, and the reduced system of the measurements.

    Parameters
    ----------
    terms : tuple of Term
        The terms theta.
    transform : numpy.ndarray, shape (n_columns, n_terms)
        From terms to columns of the design: ``beta = transform @ theta``, which holds z_A = level + Delta_AB / 2.
    system : ReducedSystem
        The design in columns z, k, t.
    epochs : numpy.ndarray of int
        Epochs in order of time; the first one's term is 0.
    """

    terms: tuple
    transform: np.ndarray
    system: object
    epochs: np.ndarray

    def mask(self, *kinds):
        """Find the terms of some kinds."""
        return np.array([term.kind in kinds for term in self.terms], dtype=bool)


def build_model(measurements, *, slope_arrays, direction, origin, fit_direction=False, per_module=False):
    """Write down the model m = M + z + g u + t for these measurements."""
    epochs, epoch = number_labels(measurements.epoch)
    columns, values, terms, transform = _zero_points(measurements)
    kinds = {"slope": direction} if not fit_direction else {"slope_V2": 90.0, "slope_V3": 0.0}
    for kind, angle in kinds.items():
        u = measurements.coordinate(angle, origin)
        more = _slope_terms(kind, measurements, slope_arrays, per_module)
        if more:
            column, has_slope = _slope_columns(measurements, more)
            _extend(columns, values, terms, column, EXPOSURE_SHARE * u * has_slope, more)
    if len(epochs) > 1:
        more = [Term("epoch", epoch=int(e)) for e in epochs[1:]]
        _extend(columns, values, terms, np.maximum(epoch - 1, 0), (epoch > 0).astype(float), more)
    n_columns = len(terms)
    full = np.eye(n_columns)
    full[: len(transform), : len(transform)] = transform
    source = number_labels(measurements.source)[1]
    return Model(tuple(terms), full, reduce_system(source, columns, values, n_columns), epochs)


def _zero_points(measurements):
    """Columns z of the detectors that are there, and their transform to offsets and levels."""
    detectors = np.unique(measurements.detector)
    column = np.searchsorted(detectors, measurements.detector).astype(np.int32)
    terms, rows = [], []
    for code in np.unique(detectors // 2):
        here = np.flatnonzero(detectors // 2 == code)
        level = np.zeros(len(detectors))
        level[here] = 1.0
        if len(here) == len(MODULES):
            offset = np.zeros(len(detectors))
            offset[here] = 0.5, -0.5
            terms.append(Term("offset", ARRAYS[code]))
            rows.append(offset)
        terms.append(Term("level", ARRAYS[code]))
        rows.append(level)
    return [column], [None], terms, np.array(rows).T


def _slope_terms(kind, measurements, slope_arrays, per_module):
    """Terms of the gradients of the arrays that are there."""
    found = [ARRAYS[code] for code in np.unique(measurements.array_code) if ARRAYS[code] in slope_arrays]
    if not per_module:
        return [Term(kind, array) for array in found]
    there = set(zip(measurements.array_code.tolist(), measurements.module_code.tolist(), strict=True))
    return [
        Term(kind, array, module)
        for array in found
        for code, module in enumerate(MODULES)
        if (ARRAYS.index(array), code) in there
    ]


def _slope_columns(measurements, terms):
    """Place of each measurement's gradient among the terms, and whether it has one."""
    place = np.full(2 * len(ARRAYS), -1, dtype=np.int32)
    for number, term in enumerate(terms):
        modules = MODULES if term.module is None else (term.module,)
        for module in modules:
            place[2 * ARRAYS.index(term.array) + MODULES.index(module)] = number
    column = place[measurements.detector]
    return np.maximum(column, 0), column >= 0


def _extend(columns, values, terms, column, value, more):
    """Append one slot of the design behind those that are there."""
    columns.append((len(terms) + column).astype(np.int32))
    values.append(value)
    terms.extend(more)


# Beyond this many epochs, count the sources behind each term by the links alone: the exact count costs a pass each.
_COUNTED_EPOCHS = 30


@dataclass(frozen=True)
class TermStatus:
    """
    What became of one term, and why.

    Parameters
    ----------
    term : Term
        The term.
    status : {'free', 'tied', 'idle', 'not separable', 'no information'}
        Free, known only through a chain of other arrays, fitted but not demanded by the data, or left out for one of
        two reasons.
    words : str
        The reason in words; empty where the term is free.
    correlation : float
        Largest correlation with a term of another kind; 1 where they cannot be told apart.
    expected_error : float
        Standard error to expect from the errors of the measurements [mag or mag/arcmin]; infinite where fixed for lack
        of information.
    effective_sources : float
        Number of sources that share the information evenly and would give as much.
    partners : tuple of str
        Names of the terms that it is not separable from: they hold only if this one is 0.
    """

    term: Term
    status: str
    words: str = ""
    correlation: float = 0.0
    expected_error: float = np.inf
    effective_sources: float = 0.0
    partners: tuple = ()

    @property
    def is_fitted(self):
        """Whether the term enters the fit as determined."""
        return self.status in ("free", "tied", "idle")

    @property
    def is_degenerate(self):
        """Whether these pointings do not determine the term."""
        return self.status in ("not separable", "no information")


@dataclass(frozen=True, eq=False)
class Separability:
    """
    Roles of all terms.

    Parameters
    ----------
    status : tuple of TermStatus
        One for each offset, slope and epoch term.
    fitted : numpy.ndarray of bool, shape (n_terms,)
        Terms that are determined.
    nuisance : numpy.ndarray of bool, shape (n_terms,)
        Terms that are left free without being determined: levels, offsets with no link, terms that are vague.
    """

    status: tuple
    fitted: np.ndarray
    nuisance: np.ndarray


def count_effective_sources(model, links, weight, free, wanted):
    """Count the sources that terms hang on."""
    T = model.transform[:, free]
    matrix, gram = (T.T @ part @ T for part in model.system.normal_matrix(weight))
    inverse, _ = generalised_inverse(matrix, gram)
    place = np.cumsum(free) - 1
    counts = {}
    for number in wanted:
        term = model.terms[number]
        if term.kind == "epoch" and len(model.epochs) > _COUNTED_EPOCHS:
            counts[number] = float(links.shared_epochs[links.epochs.index(term.epoch)].max())
        else:
            counts[number] = model.system.effective_sources(weight, T @ inverse[:, place[number]])
    return counts


def too_few_sources(term, count, needed):
    """Say that a term hangs on too few sources."""
    words = f"{term.words}: hangs on {count:.1f} sources in effect, {needed} are needed; it is left out"
    return TermStatus(term, "no information", words, effective_sources=count)


# A term that inflates the variance of a term of another kind a hundredfold (correlation 0.995) makes its error
# ten times larger: what is then called its value is the model's assumption, not the data's.
MAX_INFLATION = 100.0
# The largest offsets known are 0.05 mag and the largest slopes 0.005 mag/arcmin (Ma et al. 2023, Table 2):
# an expected error of that size (four times it for slopes) tells nothing.
MAX_OFFSET_ERROR = 0.05
MAX_SLOPE_ERROR = 0.02
# The scatter of fewer sources gives no error to trust (of ten, it is known to a quarter), and one variable
# source among them passes for an offset.
MIN_SOURCES = 10


def find_separable(model, links, mag_error, fit_epochs=True, min_sources=MIN_SOURCES):
    """Admit the terms one by one: offsets, then epoch terms, then slopes.

    A term is fixed to 0 where it would take the information of a term of another kind (``MAX_INFLATION``). A term that
    hangs on too few sources (``MIN_SOURCES``), or whose error would tell nothing, is solved for but left out of the
    result, so that the others' errors hold. Levels of arrays are always left free.
    """
    T, weight = model.transform, 1 / mag_error**2
    matrix, gram = (T.T @ part @ T for part in model.system.normal_matrix(weight))
    unknown = _undetermined_offsets(model, matrix, gram)
    if (unknown == model.mask("offset")).all():
        raise NoSolutionError(
            "no chain of common sources ties an array of module A to its namesake in B to better than"
            f" {MAX_OFFSET_ERROR} mag"
        )
    nuisance, refused = model.mask("level") | unknown, {}
    while True:
        reduced = _eliminate(matrix, gram, nuisance)
        admitted = _admit_all(model, reduced, gram, nuisance, refused, fit_epochs)
        free = np.isin(np.arange(len(model.terms)), admitted) | nuisance
        counts = count_effective_sources(model, links, weight, free, admitted)
        vague = _vaguest(model.terms, reduced, admitted, counts, min_sources)
        if vague is None:
            break
        number = model.terms.index(vague.term)
        nuisance[number] = True
        refused = {number: vague} | {i: r for i, r in refused.items() if nuisance[i]}
    fitted = np.isin(np.arange(len(model.terms)), admitted)
    return Separability(_statuses(model, links, reduced, admitted, refused, counts), fitted, nuisance)


def _admit_all(model, reduced, gram, nuisance, refused, fit_epochs):
    """Admit what can be admitted; write the reasons against the others into ``refused``."""
    admitted = [int(i) for i in np.flatnonzero(model.mask("offset") & ~nuisance)]
    if not admitted:
        return []
    inverse = np.linalg.inv(reduced[np.ix_(admitted, admitted)])
    for number in _candidates(model, fit_epochs):
        if number in refused:
            continue
        fraction = inverse @ reduced[admitted, number]
        left = max(reduced[number, number] - reduced[number, admitted] @ fraction, 0.0)
        status = _admit(model.terms, reduced, gram, admitted, number, fraction, left, np.diag(inverse))
        if status is None:
            admitted.append(number)
            inverse = _border(inverse, fraction, left)
        else:
            refused[number] = status
    return admitted


def _border(inverse, fraction, left):
    """Inverse of a matrix that has grown by one row and column (a thousand inversions would take minutes)."""
    n = len(fraction)
    grown = np.empty((n + 1, n + 1))
    grown[:n, :n] = inverse + np.outer(fraction, fraction / left)
    grown[n, :n] = grown[:n, n] = -fraction / left
    grown[n, n] = 1 / left
    return grown


def _vaguest(terms, reduced, admitted, counts, min_sources):
    """Pick the next term to leave out: it hangs on too few sources, or its error is too large."""
    error = np.sqrt(np.diag(np.linalg.inv(reduced[np.ix_(admitted, admitted)])))
    for number, expected in sorted(zip(admitted, error, strict=True), key=lambda pair: counts[pair[0]]):
        term, count = terms[number], counts[number]
        if count < min_sources:
            return too_few_sources(term, count, min_sources)
        limit, unit = (MAX_SLOPE_ERROR, "mag/arcmin") if term.is_slope else (MAX_OFFSET_ERROR, "mag")
        if expected > limit:
            words = f"{term.words}: expected error {expected:.3f} {unit} tells nothing; it is left out"
            return TermStatus(term, "no information", words, 0.0, float(expected), count)
    return None


def _candidates(model, fit_epochs):
    """Epoch terms before slopes: where the two are one, a slope must not carry an epoch's term."""
    slopes = model.mask("slope", "slope_V2", "slope_V3")
    epochs = np.flatnonzero(model.mask("epoch")) if fit_epochs else []
    return [int(i) for i in (*epochs, *np.flatnonzero(slopes))]


def _undetermined_offsets(model, matrix, gram):
    """Offsets that have a part in the null space that is left when only levels go with them."""
    found = model.mask("offset")
    here = np.ix_(found, found)
    inverse, null = generalised_inverse(_eliminate(matrix, gram, model.mask("level"))[here], gram[here])
    unlinked = np.linalg.norm(null, axis=1) > np.sqrt(NULL_SHARE)
    found[found] = unlinked | (np.sqrt(np.diag(inverse)) > MAX_OFFSET_ERROR)
    return found


def _eliminate(matrix, gram, nuisance):
    """Schur complement: the information on all other terms when the nuisance terms are free."""
    here = np.ix_(nuisance, nuisance)
    inverse, _ = generalised_inverse(matrix[here], gram[here])
    reduced = matrix - matrix[:, nuisance] @ inverse @ matrix[nuisance, :]
    reduced[nuisance, :] = reduced[:, nuisance] = 0.0
    return reduced


def _admit(terms, reduced, gram, admitted, number, fraction, left, variance):
    """None where the term is admitted, else the reason against it.

    ``fraction`` is what the admitted terms take over of it, ``left`` the information left to it alone, and ``variance``
    the variances of the admitted terms without it.
    """
    term, own = terms[number], reduced[number, number]
    if own <= NULL_SHARE * gram[number, number]:
        return TermStatus(term, "no information", f"{term.words}: {_no_information(term)}; it is fixed to 0")
    left = max(left, NULL_SHARE * own)
    inflation = 1 + fraction**2 / (left * variance)
    if left > NULL_SHARE * own:
        inflation[[_same_kind(terms[j], term) for j in admitted]] = 1.0
    worst = int(np.argmax(inflation))
    if inflation[worst] < MAX_INFLATION:
        return None
    correlation = float(np.sqrt(1 - 1 / inflation[worst]))
    words = (
        f"{term.words} and {terms[admitted[worst]].words} are not separable: correlation {correlation:.3f} at"
        f" these pointings; the {term.words} is fixed to 0"
    )
    partners = tuple(terms[j].name for j, i in zip(admitted, inflation, strict=True) if i >= MAX_INFLATION)
    return TermStatus(term, "not separable", words, correlation, partners=partners)


def _no_information(term):
    if term.is_slope:
        return "no source moves along the gradient's direction between its measurements"
    return "no source ties it to an earlier epoch"


def _same_kind(one, other):
    """Correlations within a kind (an epoch poor in sources, say) harm nothing else."""
    return one.kind == other.kind or (one.is_slope and other.is_slope)


def _statuses(model, links, reduced, admitted, refused, counts):
    """Status of every term but the levels, with errors and correlations of the whole fit."""
    covariance = np.linalg.inv(reduced[np.ix_(admitted, admitted)])
    error = np.sqrt(np.diag(covariance))
    correlation = np.abs(covariance / np.outer(error, error))
    found = []
    for number, term in enumerate(model.terms):
        if number in refused:
            found.append(refused[number])
        elif number in admitted:
            place = admitted.index(number)
            others = [j for j, k in enumerate(admitted) if not _same_kind(model.terms[k], term)]
            largest = float(correlation[place, others].max(initial=0.0))
            values = largest, float(error[place]), counts[number]
            found.append(_fitted_status(term, links, *values))
        elif term.kind == "offset":
            found.append(TermStatus(term, "no information", _unlinked(term)))
    return tuple(found)


def _unlinked(term):
    return f"{term.words}: no chain of common sources ties its modules to better than {MAX_OFFSET_ERROR} mag"


def _fitted_status(term, links, correlation, error, count):
    if term.kind == "offset" and links.between_modules(term.array) == 0:
        words = f"{term.words}: its modules share no source and are tied through other arrays"
        return TermStatus(term, "tied", words, correlation, error, count)
    return TermStatus(term, "free", "", correlation, error, count)


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
    """Forecast the errors of offsets, slopes and epoch terms.

    The covariance of the fit is that of its design, weighted by the errors of the measurements; no magnitude enters.
    """
    links = count_links(measurements)
    check_linked(measurements, links)
    model = build_model(measurements, slope_arrays=SLOPE_ARRAYS[fit_slope], direction=DIRECTION, origin=ORIGIN)
    return Forecast(find_separable(model, links, measurements.mag_error).status, links)
