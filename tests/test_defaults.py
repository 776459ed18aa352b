"""Defaults of parameters, options and arguments. Truth: the tables here, which a user's runs and papers rely on.

A default that changes changes results: change the table and the pages with it, and tell users in CHANGES.
"""

import inspect

import click
import pytest

import jwst_modfix
from jwst_modfix.apply.decide import Correction, Decision, Output
from jwst_modfix.cli import main
from jwst_modfix.jobs import Cache, Workers
from jwst_modfix.steps.grouping import group_exposures

STEPS = {
    "ModuleOffsetStep": {
        "override_moduleoffset": None, "apply_offset": True, "apply_slope": True, "inverse": False,
        "on_invalid": "skip", "on_missing": "skip", "on_nothing": "warn", "on_existing": "overwrite", "workers": 1,
        "scheduler": None, "in_memory": True, "suffix": "modfix", "output_use_model": True,
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
MODEL = {"fit_slope": "long", "scale": "modules", "exposure_terms": "auto", "baseline": "B"}
EPOCHS = {"gap_days": 30.0, "roll_tolerance": 5.0}
COMMANDS = {
    "show": {}, "init": {}, "diff": {}, "convert": {}, "rebase": {},
    "check": {"on_invalid": "skip", "on_missing": "skip"},
    "set": {"pupil": "CLEAR"},
    "merge": {"validity": "intersection"},  # --prefer and --baseline: refused where they are needed
    "group": {"output": "modfix_asn.json", **EPOCHS},
    "plan": {"dithers": 6, "filters": ["F200W", "F444W"], "density": 20.0, "scatter": 3.0, "field_order": 0, "seed": 1,
             **MODEL, **EPOCHS},
    "derive-from": {"field_order": "0", **MODEL},
    "simulate": {
        "field": "field", "seed": 1, "ra": 265.035, "dec": 68.974, "filters": ["F150W", "F200W", "F356W", "F444W"],
        "dithers": 6, "exposure_time": 526.1, "context": "jwst_1130.pmap", "density": 20.0, "faintest": 25.5,
        "star_fraction": 0.25, "variable_fraction": 0.03, "variable_amplitude": 0.2, "psf": "gaussian", "noise": True,
        "sky": True, "bad_pixels": True, "saturation": True, "cosmic_rays": 0,
    },
}  # fmt: skip
ROW = {"pupil": "CLEAR", "subarray": None, "photmjsr": None, "photmjsr_date": None, "photom": None}
PLOT = {"measurements": None, "ax": None}
FUNCTIONS = [
    (jwst_modfix.OffsetRow, ROW | {"slope": None, "slope_error": None, "direction": None}),
    (jwst_modfix.ZeroPointRow, ROW | {"zero_point_error": None, "field": None, "field_error": None, "group": None}),
    (jwst_modfix.OffsetTable, {"rows": (), "baseline": "B", "gradient": None, "name": "table"}),
    (jwst_modfix.OffsetTable.read, {"path": "packaged"}),
    (jwst_modfix.OffsetTable.write, {"overwrite": False}),
    (jwst_modfix.OffsetTable.row, {"pupil": "CLEAR", "subarray": None}),
    (jwst_modfix.derive, {"workers": 1, "scheduler": None, "cache": None}),
    (jwst_modfix.plot_offsets, {"ax": None}),
    (jwst_modfix.plot_residual_map, {"corrected": True, "gridsize": 30, "ax": None}),
    (jwst_modfix.plot_module_differences, {"corrected": False, **PLOT}),
    (jwst_modfix.plot_sky_map, {"epochs": None, **PLOT}),
    (jwst_modfix.plot_patches, {"epoch_names": None, "ax": None}),
    (group_exposures, EPOCHS),
    (Workers, {"count": 1, "scheduler": None, "threads": 1}),
    (Cache, {"package": "jwst_modfix.photometry"}),
    (Correction, {"apply_offset": True, "apply_slope": True, "inverse": False, "on_invalid": "skip",
                  "on_missing": "skip", "on_nothing": "warn"}),
    (Decision, {"reason": "", "level": 20, "array": None, "filter": None, "name": "", "record": None, "warning": "",
                "is_changed": False}),
    (Output, {"job": None, "is_finished": False}),
]  # fmt: skip


@pytest.mark.parametrize("name", STEPS)
def test_a_step_has_the_defaults_of_the_specification(name):
    step = getattr(jwst_modfix, name)()
    found = {parameter: getattr(step, parameter) for parameter in STEPS[name]}
    assert found == STEPS[name]
    own = [line.split(" = ")[0].strip() for line in step.spec.strip().splitlines()]
    assert own == list(STEPS[name])


def test_the_pipelines_leave_the_defaults_of_the_step():
    for pipeline in (jwst_modfix.ModuleOffsetImage2Pipeline(), jwst_modfix.ModuleOffsetImage3Pipeline()):
        step, spec = pipeline.module_offset, STEPS["ModuleOffsetStep"]
        assert {parameter: getattr(step, parameter) for parameter in spec} == spec


@pytest.mark.parametrize("name", COMMANDS)
def test_an_option_of_a_command_has_the_default_of_the_specification(name):
    command = main.get_command(click.Context(main), name)
    context = click.Context(command)
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    found = {option.name: option.get_default(context) for option in options}
    given = {name: value for name, value in found.items() if value not in (None, False, ()) and is_value(value)}
    falsy = {name: value for name, value in COMMANDS[name].items() if not value}
    assert given | falsy == COMMANDS[name]
    assert {name: found[name] for name in falsy} == falsy


def is_value(default):
    """Whether it is a value, and not the sign of click for none."""
    return isinstance(default, str | int | float | list | tuple)


def test_each_command_is_in_the_specification():
    assert set(main.list_commands(click.Context(main))) == set(COMMANDS)


@pytest.mark.parametrize(("function", "defaults"), FUNCTIONS, ids=lambda value: getattr(value, "__qualname__", ""))
def test_an_argument_has_the_default_of_the_specification(function, defaults):
    parameters = inspect.signature(function).parameters.values()
    found = {item.name: item.default for item in parameters if item.default is not inspect.Parameter.empty}
    made = {name: value for name, value in found.items() if not repr(value).startswith("<factory>")}
    assert made == defaults
