"""Defaults of functions and commands are those that the documentation states. Truth: numbers of docs and help pages."""

import inspect
import re
from dataclasses import fields

import numpy as np
import pytest

from jwst_modfix import ModuleOffsetDeriveStep, OffsetTable, derive, fit, simulate
from jwst_modfix.cli import main
from jwst_modfix.derivation.derive import Options
from jwst_modfix.derivation.forecast import plan_bands, reach_error
from jwst_modfix.derivation.joined import derive_from
from jwst_modfix.fitting.checks import bootstrap_sources, reserve_sources
from jwst_modfix.fitting.design import Choice
from jwst_modfix.fitting.measurements import Measurements, focal_plane_coordinate
from jwst_modfix.fitting.pairs import solve_pairs
from jwst_modfix.fitting.solution import Solution
from jwst_modfix.fitting.verdict import forecast_detectors, judge, table_of_results
from jwst_modfix.photometry.columns import select_measurements
from jwst_modfix.photometry.forced import systematic_error
from jwst_modfix.photometry.frames import group_epochs
from jwst_modfix.photometry.mosaics import measure_mosaics
from jwst_modfix.photometry.source_list import clip
from jwst_modfix.simulate.magnitudes import plan_pointings

# docs/deriving.rst and docs/limits.rst; Ma et al. (2023): gradients toward +V2 from midway between the modules
GRADIENT = {"direction": 90.0, "origin": (-1.74, -492.4)}
TERMS = {"scale": "modules", "fit_slope": "long", "time_term": "auto", "exposure_terms": "auto"}
FIELDS, DIAGNOSTICS = {"field_order": "0", "drift": "report"}, {"fit_direction": False, "per_module": False}
SELECTION = {"faintest": 22.0, "compactness": None}
EPOCHS = {"gap_days": 30.0, "roll_tolerance": 5.0}
JWIDF = {"ra": 265.035, "dec": 68.974}
DRAWN = {"density": 20.0, "faintest": 25.5, "star_fraction": 0.25, "variable_fraction": 0.03, "variable_amplitude": 0.2}
EFFECTS = {"noise": True, "sky": True, "bad_pixels": True, "saturation": True, "cosmic_rays": 0}
CONTEXT = "jwst_1130.pmap"  # of Table 2

STATED = [
    (fit, TERMS | FIELDS | DIAGNOSTICS | GRADIENT
        | {"colour_term": False, "robust": True, "scatter": True, "min_sources": 10, "rest": None}),
    (Choice, TERMS | DIAGNOSTICS | GRADIENT | {"field_order": 0, "drift": False, "colour": None, "min_sources": 10}),
    (Options, TERMS | FIELDS | SELECTION | {
        "photometry": "exposure", "catalogs": (), "method": "network", "fit_direction": False, "baseline": "B",
        "significance": 3.0, "epoch_gap_days": 30.0, "epoch_roll_tolerance": 5.0, "min_snr": 100.0, "isolation": None,
        "reserve_share": 0.2, "seed": 1, "bootstrap": 0, "aperture": "r", "colour_term": False, "allow_mixed": False,
        "compare": None}),
    (select_measurements, SELECTION | {"snr": 100.0, "isolation": 1.0, "growth": False}),
    (Measurements, dict.fromkeys(("x", "y", "RA", "Dec", "time", "colour", "reserved"))
        | {"filter": "unknown", "pupil": "CLEAR"}),
    (Measurements.from_table, {"filter": None, "pupil": None, "least_error": 0.0}),
    (Solution.zero_points, {"baseline": "B"}),
    (Solution.to_table, {"description": None, "baseline": "B"}),
    (focal_plane_coordinate, GRADIENT),
    (solve_pairs, {"fit_slope": "long", "time_term": "fit"}),
    (judge, {"significance": 3.0, "baseline": "B"}),
    (table_of_results, {"baseline": "B", "name": "solution"}),
    (forecast_detectors, {"baseline": "B"}),
    (reserve_sources, {"share": 0.2}),
    (bootstrap_sources, {"n_draws": 200}),
    (group_epochs, EPOCHS | {"names": None}),
    (systematic_error, {"near": 0.0, "far": 0.0}),
    (clip, {"sigma": 3.0, "rounds": 5}),
    (measure_mosaics, {"faintest": 23.0}),
    (plan_bands, {"density": 20.0, "scatter": 0.003, "choice": None, "reserve_share": 0.2, "baseline": "B"}),
    (reach_error, {"rolls": None}),
    (derive_from, {"baseline": "B", "allow_mixed": False, "name": "joined_moduleoffset.asdf"}),
    (simulate.Population, DRAWN | {"brightest": 16.0, "count_slope": 0.3}),
    (simulate.Effects, EFFECTS),
    (simulate.Epoch, JWIDF | {"offset": (0.0, 0.0)}),
    (simulate.Attitude, {"v2": -1.738131, "v3": -492.431332}),
    (simulate.Subarray, {"name": "GENERIC"}),
    (simulate.plan_exposures, {
        "epochs": simulate.JWIDF_EPOCHS, "filters": ("F150W", "F200W", "F356W", "F444W"), "detectors": None,
        "dithers": 6, "duration": 526.1, "program": 2738}),
    (plan_pointings, JWIDF | {"dithers": 6, "filters": ("F200W", "F444W")}),
    (simulate.simulate_exposure, dict.fromkeys(("truth", "effects", "subarray", "wavefronts")) | {"context": CONTEXT}),
    (simulate.simulate_dataset, {"field": "field", "context": CONTEXT}
        | dict.fromkeys(("scene", "population", "truth", "effects", "subarray", "wavefronts"))),
    (simulate.observe_sources, {"truth": None, "faintest": np.inf}),
    (simulate.draw_measurements, {"scatter": 0.003, "outlier_fraction": 0.0, "outlier_amplitude": 0.3}),
]  # fmt: skip

# Options of commands, by the names of their parameters; "modfix plan" asks for mmag.
COMMANDS = {
    "simulate": DRAWN | EFFECTS | JWIDF | {
        "field": "field", "seed": 1, "filters": ["F150W", "F200W", "F356W", "F444W"], "dithers": 6, "psf": "gaussian",
        "exposure_time": 526.1, "context": CONTEXT},
    "plan": EPOCHS | {
        "dithers": 6, "filters": ["F200W", "F444W"], "density": 20.0, "scatter": 3.0, "fit_slope": "long", "seed": 1,
        "scale": "modules", "exposure_terms": "auto", "baseline": "B", "field_order": 0},
    "derive-from": {
        "fit_slope": "long", "scale": "modules", "exposure_terms": "auto", "baseline": "B", "field_order": "0"},
    "group": EPOCHS | {"output": "modfix_asn.json"},
}  # fmt: skip


def defaults_of(function):
    parameters = inspect.signature(function).parameters.values()
    return {one.name: one.default for one in parameters if one.default is not one.empty}


@pytest.mark.parametrize(("function", "stated"), STATED, ids=lambda one: getattr(one, "__qualname__", ""))
def test_defaults_of_a_function(function, stated):
    found = defaults_of(function)
    assert {name: found[name] for name in stated} == stated
    unstated = {"progress", "workers", "cache", "table", "epoch_terms", *stated}
    assert not found.keys() - unstated, "state new defaults here, and in the documentation"


@pytest.mark.parametrize("command", COMMANDS)
def test_defaults_of_a_command(command):
    found = {one.name: one.default for one in main.get_command(None, command).params}
    assert {name: found[name] for name in COMMANDS[command]} == COMMANDS[command]


def test_a_derivation_in_python_has_the_defaults_of_the_step():
    step, options = ModuleOffsetDeriveStep(), Options()
    for one in fields(Options):
        assert (getattr(step, one.name) or ()) == (getattr(options, one.name) or ()), one.name


@pytest.mark.parametrize("function", [fit, Solution.zero_points, Solution.to_table, derive, OffsetTable.to_table])
def test_the_first_choice_of_a_docstring_is_the_default(function):
    """Truth: numpydoc, "parameter : {'default', 'other'}, optional"."""
    found = defaults_of(function)
    for name, choice in re.findall(r"^ *(\w+) : \{'(\w+)'.*optional$", inspect.getdoc(function), re.MULTILINE):
        assert found[name] == choice, name


def test_the_epochs_of_the_paper():
    """Truth: Ma et al. (2023, Sec. 2): the telescope turned by 180 degrees between epochs 1 and 2, and back."""
    epochs = [(epoch.name, epoch.date, epoch.roll) for epoch in simulate.JWIDF_EPOCHS]
    assert epochs == [("ep1", "2022-07-08", 161.0), ("ep2", "2023-01-06", 341.0), ("ep3", "2023-07-06", 161.0)]
