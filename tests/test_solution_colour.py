"""A colour term: A - B depends on the colour of a source by a known amount, put into magnitudes here."""

import dataclasses

import numpy as np
import pytest
from derivation_of_magnitudes import derive, simulate_photometry
from simulated_network import HARD, LW, SW, Survey, Truth, simulate

from jwst_modfix.derivation.provenance import describe_derivation
from jwst_modfix.errors import NoSolutionError
from jwst_modfix.fitting.solution import fit_quietly as solve
from jwst_modfix.fitting.stability import list_drifts
from jwst_modfix.simulate import random_stream

TERM = 0.020  # mag per mag, A - B


def draw(rng, arrays, colours):
    """Measurements whose offset is 10 mmag at colour 0; each source has one of these colours [mag]."""
    found = simulate(rng, Truth(offset=dict.fromkeys(arrays, 0.010)), Survey(arrays=arrays, **HARD))
    colour = colours(found.source.max() + 1)[found.source]
    side = np.where(found.module == "A", 0.5, -0.5)
    return dataclasses.replace(found, mag=found.mag + TERM * side * colour, colour=colour)


@pytest.mark.parametrize(("arrays", "scale"), [(LW, "modules"), (SW, "modules"), (LW, "detectors")])
def test_term_and_offsets_at_the_stated_colour_are_recovered(arrays, scale):
    """The errors are right too: pulls have a width of 1 within 4 standard errors."""
    pulls = []
    for seed in range(25):
        rng = random_stream(seed, "colour term", *arrays, scale)
        found = draw(rng, arrays, lambda n, rng=rng: rng.normal(0.8, 0.4, n))
        solution = solve(found, colour_term=True, scale=scale, fit_slope="long" if scale == "modules" else "none")
        assert solution.model.colour == np.median(found.colour)
        value, error = solution.value("colour")
        assert error < 0.003
        points = solution.zero_points()
        expected = 0.010 + TERM * solution.model.colour
        if scale == "detectors":
            offset, offset_error = points["NRCALONG"]
        else:
            offset, offset_error = solution.value(f"offset[{arrays[0]}]")
        pulls.append([(value - TERM) / error, (offset - expected) / offset_error])
    np.testing.assert_allclose(np.mean(pulls, axis=0), 0, atol=4 / 5)
    np.testing.assert_allclose(np.std(pulls, axis=0), 1, atol=4 / np.sqrt(50))


def test_drifts_do_not_depend_on_what_the_colour_term_takes_up():
    """Truth: more of the dependence on colour, 0.3 mag per mag, changes the colour term and the zero points only."""
    found = draw(random_stream(4, "drift"), LW, lambda n: np.random.default_rng(4).normal(0.8, 0.4, n))
    more = found.mag + 0.3 * np.where(found.module == "A", 0.5, -0.5) * found.colour
    drifts = [
        [drift for drift in list_drifts(solve(m, colour_term=True, scale="detectors", fit_slope="none"))
         if drift.value is not None]
        for m in (found, dataclasses.replace(found, mag=more))
    ]  # fmt: skip
    assert len(drifts[0]) == len(drifts[1]) > 0
    for one, other in zip(*drifts, strict=True):
        assert other.value == pytest.approx(one.value, abs=1e-5)
        assert other.error == pytest.approx(one.error, rel=0.01)


def test_without_the_option_there_is_no_term():
    found = draw(random_stream(1, "no term"), LW, lambda n: np.linspace(0, 1, n))
    assert "colour" not in solve(found).names


def test_sources_of_one_colour_determine_no_term():
    found = draw(random_stream(2, "one colour"), LW, lambda n: np.full(n, 0.7))
    solution = solve(found, colour_term=True)
    (status,) = [s for s in solution.status if s.term.kind == "colour"]
    assert status.words == "colour term A - B: no source of another colour is in both modules; fixed to 0"
    assert np.isnan(solution.value("colour")[0])
    offset, error = solution.value("offset[long]")
    assert abs(offset - 0.010 - 0.7 * TERM) < 4 * error


@pytest.fixture(scope="module")
def coloured():
    """Photometry of F200W and F444W; module A of F444W is fainter by 20 mmag per mag of F444W - F200W."""
    photometry, headers, epochs = simulate_photometry(density=60.0)
    table = photometry.measurements.copy()
    mag = {band: dict(zip(t["source"].tolist(), t["source_mag"].tolist(), strict=True))
           for band in ("F200W", "F444W") for t in [table[table["filter"] == band]]}  # fmt: skip
    colour = np.array([mag["F444W"].get(s, np.nan) - mag["F200W"].get(s, np.nan) for s in table["source"].tolist()])
    is_long = np.asarray(table["filter"] == "F444W")
    table["mag"] = np.asarray(table["mag"]) + TERM * np.nan_to_num(colour) * (is_long & (table["module"] == "A"))
    return dataclasses.replace(photometry, measurements=table), headers, epochs, colour, is_long


def test_residuals_that_depend_on_colour_are_a_warning(coloured):
    """Truth: the term that was put in, and not fitted; colours scatter by more than 0.1 mag."""
    *photometry, colour, is_long = coloured
    found = derive(*photometry)
    long = found.bands[1]
    (warning,) = [w for w in long.warnings if "colour x module" in w]
    assert "the offsets hold at the median colour only" in warning
    (test,) = [test for test in long.score_tests if test.name == "colour x module"]
    assert abs(test.effect - TERM) < 4 * test.effect_error
    assert long.colour.other == "F200W"
    selected = np.asarray(found.measurements["selected"]) & is_long
    assert long.colour.median == pytest.approx(np.nanmedian(colour[selected]), abs=0.05)
    assert describe_derivation(found)["bands"][1]["colour"]["band"] == "F444W - F200W"


def test_derivation_fits_the_term_and_states_the_colour(coloured):
    photometry, headers, epochs, colour, is_long = coloured
    # Sources that F200W does not see differ by much more: they have no colour, and must not be used.
    table = photometry.measurements.copy()
    table["mag"][is_long & (table["module"] == "A") & ~np.isfinite(colour)] += 0.2
    photometry = dataclasses.replace(photometry, measurements=table)
    found = derive(photometry, headers, epochs, colour_term=True)
    band, table = found.bands[1], found.measurements
    selected = np.asarray(table["selected"]) & is_long
    value, error = band.solution.value("colour")
    assert error < 0.003
    assert abs(value - TERM) < 4 * error
    median = np.median(colour[selected & np.isfinite(colour)])
    assert band.colour.median == pytest.approx(median, abs=0.03)
    row = found.table.row("long", "F444W", "CLEAR")
    assert abs(row.offset - (-0.0165 + TERM * band.colour.median)) < 4 * row.offset_error
    assert not any("colour x module" in warning for warning in band.warnings)
    unknown = selected & ~np.isfinite(colour)
    assert unknown.any()
    assert set(table["reason"][unknown]) == {"no colour"}
    assert not np.asarray(table["used"])[unknown].any()
    record = describe_derivation(found)["bands"][1]
    assert dict(zip(record["terms"], record["units"], strict=True))["colour"] == "mag/mag"
    stated = f"F444W - F200W = {band.colour.median:.2f} mag"
    words = f"offsets hold at the median colour {stated}; colour term A - B: +"
    assert record["colour"]["words"].startswith(words)
    assert record["colour"]["words"].endswith("mmag per mag")


def test_one_filter_has_no_colours(coloured):
    photometry, headers, epochs, _, is_long = coloured
    exposures, table = photometry.exposures, photometry.measurements
    mine = np.asarray(exposures["filter"] == "F444W")
    headers = [header for header, m in zip(headers, mine, strict=True) if m]
    alone = dataclasses.replace(photometry, measurements=table[is_long], exposures=exposures[mine])
    with pytest.raises(NoSolutionError, match="F444W: colour_term needs 20 sources that are selected in a second filt"):
        derive(alone, headers, epochs, colour_term=True)
    assert derive(alone, headers, epochs).table.row("long", "F444W", "CLEAR")
