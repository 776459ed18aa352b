"""Defaults of functions and commands are those that the documentation states. Truth: numbers of docs and help pages."""

import inspect
import re
from dataclasses import fields

import click
import numpy as np
import pytest

import jwst_modfix
from jwst_modfix import ModuleOffsetDeriveStep, OffsetTable, derive, fit, simulate
from jwst_modfix.apply.decide import Correction, Decision, Output
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
from jwst_modfix.jobs import Cache, Workers
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
ROW = {"pupil": "CLEAR", "subarray": None, "photmjsr": None, "photmjsr_date": None, "photom": None}
PLOT = {"measurements": None, "ax": None}
WHERE = {"apply_offset": True, "apply_slope": True, "inverse": False, "on_invalid": "skip", "on_missing": "skip",
         "on_nothing": "warn"}  # fmt: skip

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
    (jwst_modfix.OffsetRow, ROW | {"slope": None, "slope_error": None, "direction": None}),
    (jwst_modfix.ZeroPointRow, ROW | {"zero_point_error": None, "field": None, "field_error": None, "group": None}),
    (OffsetTable, {"rows": (), "baseline": "B", "gradient": None, "name": "table"}),
    (OffsetTable.read, {"path": "packaged"}),
    (OffsetTable.write, {"overwrite": False}),
    (OffsetTable.row, {"pupil": "CLEAR", "subarray": None}),
    (derive, {"workers": 1, "scheduler": None, "cache": None}),
    (jwst_modfix.plot_offsets, {"ax": None}),
    (jwst_modfix.plot_residual_map, {"corrected": True, "gridsize": 30, "ax": None}),
    (jwst_modfix.plot_module_differences, PLOT | {"corrected": False}),
    (jwst_modfix.plot_sky_map, PLOT | {"epochs": None}),
    (jwst_modfix.plot_patches, {"epoch_names": None, "ax": None}),
    (Workers, {"count": 1, "scheduler": None, "threads": 1}),
    (Cache, {"package": "jwst_modfix.photometry"}),
    (Correction, WHERE),
    (Decision, {"reason": "", "level": 20, "array": None, "filter": None, "name": "", "record": None, "warning": "",
                "is_changed": False, "line": ""}),
    (Output, {"source": None, "job": None, "is_finished": False}),
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
    "check": {"on_invalid": "skip", "on_missing": "skip"},
    "set": {"pupil": "CLEAR"},
    "merge": {"validity": "intersection"},
    **{name: {} for name in ("show", "init", "diff", "convert", "rebase")},
}  # fmt: skip
STEPS = {
    "ModuleOffsetStep": WHERE | {
        "override_moduleoffset": None, "on_existing": "overwrite", "workers": 1, "scheduler": None, "in_memory": True,
        "suffix": "modfix", "output_use_model": True,
    },
    "ModuleOffsetDeriveStep": {
        "photometry": "exposure", "catalogs": None, "method": "network", "scale": "modules", "field_order": "0",
        "exposure_terms": "auto", "drift": "report", "fit_slope": "long", "fit_direction": False, "time_term": "auto",
        "baseline": "B", "significance": 3.0, "epoch_gap_days": 30.0, "epoch_roll_tolerance": 5.0, "min_snr": 100.0,
        "faintest": 22.0, "isolation": None, "compactness": None, "reserve_share": 0.2, "seed": 1, "bootstrap": 0,
        "aperture": "r", "colour_term": False, "allow_mixed": False, "compare": None, "workers": 1, "scheduler": None,
        "cache": None, "report": True, "suffix": "moduleoffset", "output_ext": ".asdf",
    },
}  # fmt: skip


def defaults_of(function):
    parameters = inspect.signature(function).parameters.values()
    is_made = "<factory>"  # for each object anew
    return {
        one.name: one.default for one in parameters if one.default is not one.empty and repr(one.default) != is_made
    }


@pytest.mark.parametrize(("function", "stated"), STATED, ids=lambda one: getattr(one, "__qualname__", ""))
def test_defaults_of_a_function(function, stated):
    found = defaults_of(function)
    assert {name: found[name] for name in stated} == stated
    unstated = {"progress", "workers", "cache", "table", "epoch_terms", *stated}
    assert not found.keys() - unstated, "state new defaults here, and in the documentation"


@pytest.mark.parametrize("command", COMMANDS)
def test_defaults_of_a_command(command):
    """Of every option: flags are off, and what is not stated has no default."""
    context = click.Context(main.get_command(None, command))
    options = [one for one in context.command.params if isinstance(one, click.Option)]
    found = {one.name: one.get_default(context) for one in options}
    values = {name: value for name, value in found.items() if isinstance(value, str | int | float | list | tuple)}
    is_off = {name for name, value in values.items() if value in (False, ()) and name not in COMMANDS[command]}
    assert {name: value for name, value in values.items() if name not in is_off} == COMMANDS[command]


def test_each_command_is_stated():
    assert set(main.list_commands(None)) == set(COMMANDS)


@pytest.mark.parametrize("name", STEPS)
def test_defaults_of_a_step(name):
    step = getattr(jwst_modfix, name)()
    own = [line.split(" = ")[0].strip() for line in step.spec.strip().splitlines()]
    assert {parameter: getattr(step, parameter) for parameter in own} == STEPS[name]


def test_the_pipelines_leave_the_defaults_of_the_step():
    for pipeline in (jwst_modfix.ModuleOffsetImage2Pipeline(), jwst_modfix.ModuleOffsetImage3Pipeline()):
        step, stated = pipeline.module_offset, STEPS["ModuleOffsetStep"]
        assert {parameter: getattr(step, parameter) for parameter in stated} == stated


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
