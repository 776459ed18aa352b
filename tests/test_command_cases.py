"""What commands make of their options, and the counts and signs that they print. Truth: values written by hand."""

import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from one_correction import correct

from jwst_modfix import Field, Gradient, OffsetRow, OffsetTable, ZeroPointRow, simulate
from jwst_modfix.derivation import forecast
from jwst_modfix.photometry.frames import Epochs
from jwst_modfix.steps import grouping
from jwst_modfix.table.file import read_table


@pytest.fixture
def called(monkeypatch):
    """Replace a function: ``called(module, name, result)`` returns the list of its calls."""

    def replace(module, name, result=None):
        calls = []

        def record(*args, **kwargs):
            calls.append((args, kwargs))
            return result

        monkeypatch.setattr(module, name, record)
        return calls

    return replace


# ---- modfix check ----


def test_check_counts_what_is_applied_skipped_and_refused(modfix, small_exposure, tmp_path):
    """One is right, two are of another context, three were corrected before; a file is one by every path."""
    right, older = small_exposure("NRCA2", "F200W"), small_exposure("NRCA2", "F200W")
    older.meta.ref_file.crds.context_used = "jwst_0995.pmap"
    done, _ = correct(small_exposure("NRCB2", "F200W"))
    for name, model in (("right", right), ("older", older), ("done", done)):
        model.save(str(tmp_path / f"{name}_cal.fits"))
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    for name, copies in (("older", 1), ("done", 2)):
        for number in range(copies):
            shutil.copy(tmp_path / f"{name}_cal.fits", tmp_path / f"{name}{number}_cal.fits")
    files = sorted(path.name for path in tmp_path.glob("*_cal.fits"))
    output = modfix("check", "packaged", *files, "link/right_cal.fits", "./older_cal.fits", status=1)
    assert "\n6 exposures: 1 apply, 2 skip, 3 refuse\n" in output
    assert "Error: the step would refuse 3 of 6, and write none of them" in output
    found = [line.split()[:4] for line in output.splitlines() if "_cal.fits" in line]
    detectors = {"right": "NRCA2", "older": "NRCA2", "done": "NRCB2"}
    actions = {"right": "apply", "older": "skip", "done": "refuse"}
    kinds = [re.match("[a-z]+", name)[0] for name in files]
    assert found == [[actions[kind], name, detectors[kind], "F200W"] for kind, name in zip(kinds, files, strict=True)]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "zero-point error -16.54 mmag, gradient +2.165 mmag/arcmin"),
        (["--no-slope"], "zero-point error -16.54 mmag"),
        (["--no-offset"], "zero-point error +0.00 mmag, gradient +2.165 mmag/arcmin"),
    ],
)
def test_check_leaves_out_what_the_step_would(modfix, small_exposure, tmp_path, words, expected):
    small_exposure("NRCALONG", "F444W").save(str(tmp_path / "a_cal.fits"))
    assert f"(1) {expected}\n" in modfix("check", "packaged", "a_cal.fits", *words)


# ---- modfix group ----


def test_group_passes_its_limits_on_and_describes_the_epochs(modfix, called, tmp_path):
    """Truth: rolls by number, not as text; modules and filters of each epoch."""
    made = [(0, 5.0, "B", "CLEAR"), (0, 20.0, "A", "F405N"), (0, 100.0, "A", "CLEAR"), (1, 300.04, "B", "CLEAR")]
    headers = tuple(
        SimpleNamespace(roll=roll, module=module, filter="F444W", pupil=pupil) for _, roll, module, pupil in made
    )
    epochs = Epochs(np.array([number for number, *_ in made]), ("first", "second"))
    grouped = called(grouping, "group_exposures", grouping.Grouping(headers, epochs, ("a", "b")))
    written = called(grouping, "write_groups", ["one", "two"])
    output = modfix("group", "data", "--gap-days", 7, "--roll-tolerance", 2, "-o", "x_asn.json", "--by-filter")
    assert grouped == [((("data",),), {"gap_days": 7.0, "roll_tolerance": 2.0})]
    assert written[0][0][1:] == ("x_asn.json",)
    assert written[0][1] == {"by_filter": True}
    rows = [line.split() for line in output.splitlines()]
    assert ["first", "3", "5.0", "to", "100.0", "A", "B", "F444W", "F444W+F405N"] in rows
    assert ["second", "1", "300.0", "B", "F444W"] in rows
    for line in ("note: a", "note: b", "wrote one", "wrote two"):
        assert line in output.splitlines()


# ---- modfix plan ----


def test_plan_passes_its_options_on(modfix, called):
    """Truth: errors in mag, the sources of the seed, the words of the model."""
    from jwst_modfix.simulate import magnitudes

    laid_out, planned = called(magnitudes, "plan_pointings", "pointings"), called(forecast, "plan_bands", [])
    words = (
        "--roll 10 --roll 95 --dithers 4 --filter F444W --filter F200W --filter F444W --density 7 --scatter 2 --seed 5"
    )
    words += " --scale detectors --field-order 1 --baseline NRCB1 --exposure-terms zero --fit-slope all"
    assert "Error: these exposures determine no zero point" in modfix("plan", *words.split(), status=1)
    assert laid_out == [(((10.0, 95.0),), {"dithers": 4, "filters": ["F444W", "F200W"]})]
    ((pointings, rng), options) = planned[0]
    found = pointings, options["density"], options["scatter"], options["baseline"]
    assert found == ("pointings", 7.0, 0.002, "NRCB1")
    assert rng.random() == np.random.default_rng(5).random()
    choice = options["choice"]
    found = choice.scale, str(choice.field_order), choice.exposure_terms, choice.fit_slope
    assert found == ("detectors", "1", "zero", "all")


def test_plan_lists_what_reaches_an_error(modfix, called):
    plans = [
        SimpleNamespace(filter="F200W", largest_error=lambda: 0.00123),
        SimpleNamespace(filter="F444W", largest_error=lambda: 0.0009),
    ]
    reached = called(forecast, "reach_error", [((161.0, 341.5), 3, plans), ((0.0,), 6, plans[:1])])
    output = modfix("plan", "--reach", 1.5, "--roll", 161, "--seed", 4, "--scatter", 2)
    ((_, seed, error), options) = reached[0]
    assert (seed, error, tuple(options["rolls"]), options["scatter"]) == (4, 0.0015, (161.0,), 0.002)
    head, *rows = (line.split() for line in output.splitlines())
    assert " ".join(head) == "exposures rolls [deg] dithers largest error [mmag]"
    assert rows == [["6", "161", "341.5", "3", "F200W", "1.23,", "F444W", "0.90"], ["6", "0", "6", "F200W", "1.23"]]
    called(forecast, "reach_error", [])
    assert "no set of up to 3 rolls and 12 dithers reaches 2 mmag" in modfix("plan", "--reach", 2, status=1)


# ---- modfix simulate ----


@pytest.mark.parametrize(
    ("words", "rms"), [([], {"A": 60.0, "B": 80.0}), (["--wavefront", 70, 90], {"A": 70.0, "B": 90.0})]
)
def test_simulate_draws_the_wavefronts_of_the_modules(modfix, called, words, rms):
    drawn = called(simulate.Wavefronts, "draw")
    named = SimpleNamespace(name="x")
    data = SimpleNamespace(exposures=[], associations=[], truth=named, sources=named)
    made = called(simulate, "simulate_dataset", data)
    modfix("simulate", "out", "--psf", "diffraction", *words)
    assert drawn[0][0][1] == rms
    exposures = made[0][0][1]
    epochs = {exposure.epoch.name: (exposure.epoch.date, exposure.epoch.roll) for exposure in exposures}
    assert epochs == {"ep1": ("2022-07-08", 161.0), "ep2": ("2023-01-06", 341.0), "ep3": ("2023-07-07", 161.0)}
    assert len(exposures) == 3 * 6 * (2 * 8 + 2 * 2), "epochs, dithers, filters, detectors"


def test_simulate_passes_its_numbers_on(modfix, called):
    named = SimpleNamespace(name="x")
    data = SimpleNamespace(exposures=[], associations=[], truth=named, sources=named)
    made = called(simulate, "simulate_dataset", data)
    words = "--exposure-time 100 --ra 10 --dec -5 --seed 7 --density 3 --faintest 24 --star-fraction 0.5 --no-sky"
    words += " --variable-fraction 0.1 --variable-amplitude 0.4 --no-saturation --cosmic-rays 2 --no-noise"
    modfix("simulate", "out", *words.split())
    (_, exposures, seed), given = made[0]
    assert {(e.duration, e.epoch.ra, e.epoch.dec) for e in exposures} == {(100.0, 10.0, -5.0)}
    fractions = {"star_fraction": 0.5, "variable_fraction": 0.1, "variable_amplitude": 0.4}
    assert (seed, given["population"]) == (7, simulate.Population(density=3.0, faintest=24.0, **fractions))
    assert given["effects"] == simulate.Effects(noise=False, sky=False, saturation=False, cosmic_rays=2)


# ---- modfix set, diff, merge, convert, init ----


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [("--offset 0", "offset", 0.0), ("--slope 0 --slope-error 0", "slope", 0.0), ("--direction 0", "direction", 0.0),
     ("--offset -0.5", "offset", -0.5), ("--slope -0.004", "slope", -0.004)],
)  # fmt: skip
def test_set_takes_0_and_negative_values(modfix, words, name, value):
    modfix("set", "packaged", "--array", "long", "--filter", "f444w", *words.split(), "-o", "a.asdf")
    table, packaged = read_table("a.asdf"), OffsetTable.read()
    assert getattr(table.row("long", "F444W"), name) == value
    others = [row for row in packaged.rows if row.key != ("long", "F444W", "CLEAR")]
    assert [row for row in table.rows if row.key != ("long", "F444W", "CLEAR")] == others


@pytest.mark.parametrize("words", ["--array 1 --detector NRCA1 --offset 0.1", "--offset 0.1", "--array 1",
                                   "--array 1 --zero-point 0.1", "--detector NRCA1 --direction 10",
                                   "--detector NRCA1 --zero-point 0.1 --slope 0.1"])  # fmt: skip
def test_set_refuses_values_of_the_other_kind(modfix, words):
    modfix("set", "packaged", "--filter", "F200W", *words.split(), "-o", "a.asdf", status=2)


def test_diff_prints_second_minus_first_with_sign_unit_and_side(modfix):
    """Truth: 4 and 3 are 5 in quadrature; -2 / 5 = -0.4; P_1 has a mean square of 1/3."""
    meta = {"description": "x"}
    gradient = Gradient(frame="focal_plane", direction=90.0, origin=(0.0, 0.0), exposure_share=0.5)

    def long(offset, error, slope, filter="F444W"):
        return OffsetRow(array="long", filter=filter, offset=offset, offset_error=error, slope=slope, slope_error=error)

    def point(z, error, c):
        field = Field(1, ((0.0, c), (0.0,)))
        return ZeroPointRow(
            detector="NRCB1", filter="F200W", subarray="SUB160", zero_point=z, zero_point_error=error, field=field
        )

    only = OffsetRow(array="1", filter="F150W", offset=0.03, offset_error=0.001)
    tables = {
        "one": (long(0.012, 0.003, 0.001), point(0.01, 0.003, 0.0), only),
        "two": (long(0.01, 0.004, 0.003), point(0.02, 0.004, 0.0173205), long(0.02, 0.001, 0.001, "F356W")),
    }
    for name, rows in tables.items():
        OffsetTable(rows=rows, gradient=gradient, baseline="B", meta=meta).write(f"{name}.asdf")
    rows = [" ".join(line.split()) for line in modfix("diff", "one.asdf", "two.asdf").splitlines()]
    for line in (
        "offset [mmag]", "long F444W +12.00 ± 3.00 +10.00 ± 4.00 -2.00 ± 5.00 -0.4",
        "slope [mmag/arcmin]", "long F444W +1.00 ± 3.00 +3.00 ± 4.00 +2.00 ± 5.00 +0.4",
        "zero point [mmag]", "NRCB1 F200W SUB160 +10.00 ± 3.00 +20.00 ± 4.00 +10.00 ± 5.00 +2.0",
        "field, T2 - T1 [mmag rms over the detector]", "NRCB1 F200W SUB160 10.00",
    ):  # fmt: skip
        assert line in rows
    for side, line in (("T1", "1 F150W +30.00 ± 1.00"), ("T2", "long F356W +20.00 ± 1.00")):
        assert rows[rows.index(f"only in {side}, offset [mmag]") + 1] == line


@pytest.mark.parametrize("validity", ["intersection", "union"])
def test_merge_says_what_a_union_means(modfix, validity):
    for array in "12":
        row = OffsetRow(array=array, filter="F200W", offset=0.01, offset_error=0.001)
        OffsetTable(rows=(row,), meta={"description": "x"}).write(f"{array}.asdf")
    output = modfix("merge", "1.asdf", "2.asdf", "-o", "x.asdf", "--valid-for", validity)
    assert "wrote x.asdf: 2 rows" in output
    assert ("check that this is meant" in output) == (validity == "union")
    assert "give at least two tables" in modfix("merge", "1.asdf", "-o", "y.asdf", status=2)


@pytest.mark.parametrize(("z", "verb"), [((0.01, -0.05), "dimmed"), ((0.05, -0.01), "brightened")])
def test_convert_shows_the_largest_zero_point_of_a_list_as_an_example(modfix, tmp_path, z, verb):
    """Truth: 10**(0.4 z); PHOTMJSR takes the factor."""
    lines = [f"NRCB{n},F200W,CLEAR,{value},2.0" for n, value in enumerate(z, 1)]
    (tmp_path / "a.CSV").write_text("\n".join(["detector,filter,pupil,zero_point,photmjsr", *lines]) + "\n")
    output = " ".join(modfix("convert", "a.CSV", "b.asdf").split())
    largest = max(z, key=abs)
    factor = 10 ** (0.4 * largest)
    assert f"{1e3 * largest:+.2f} mmag, its pixels are {verb} by a factor of {factor:.5g}" in output
    assert f"from PHOTMJSR 2 of the data to {2 * factor:.5g}" in output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("packaged a.ecsv --context jwst_1.pmap", "--context: has no effect"),
        ("packaged a.ecsv --drop-slope", "--drop-slope: has no effect"),
        ("a.csv b.asdf --drop-slope", "--drop-slope: has no effect"),
        ("a.csv b.asdf --wcs w.fits", "--wcs: has no effect"),
        ("packaged a.fits --photom p.fits --wcs w.fits", "--wcs: has no effect"),
        ("packaged a.fits --flat p.fits --drop-slope", "--drop-slope: has no effect"),
        ("a.yml b.asdf --recipe-gradient", "--recipe-gradient: has no effect"),
        ("packaged a.fits --photom p.fits --flat f.fits", "give one of --photom, --flat at a time"),
        ("a.csv b.ecsv", "IN and OUT must be an ASDF file and an ECSV or YAML file"),
    ],
)
def test_convert_refuses_options_without_effect(modfix, words, message):
    assert message in modfix("convert", *words.split(), status=2)


@pytest.mark.parametrize("folder", [".", "sub"])
def test_init_writes_the_absolute_path_of_the_table(modfix, tmp_path, folder):
    modfix("init", folder)
    place = tmp_path / folder
    for name in ("modfix.cfg", "modfix.asdf", "calwebb_image3_modfix.cfg", "calwebb_image3_modfix.asdf"):
        assert f'"{(place / "my_moduleoffset.asdf").resolve()}"' in (place / name).read_text()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "modfix.asdf").write_text("mine")
    assert "modfix.asdf: exists already" in modfix("init", "other", status=1)
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["modfix.asdf"]


def test_names_of_files_keep_their_case(modfix, tmp_path):
    for name, array in (("Mine", "1"), ("Other", "2")):
        row = OffsetRow(array=array, filter="F200W", offset=0.01, offset_error=0.001)
        OffsetTable(rows=(row,), meta={"description": f"The table {name}"}).write(tmp_path / f"{name}.asdf")
    assert modfix("show", "Mine.asdf").startswith("The table Mine")
    assert "Mine.asdf is valid" in " ".join(modfix("check", "Mine.asdf").split())
    modfix("merge", "Mine.asdf", "Other.asdf", "-o", "Both.asdf")
    assert "Both.asdf" in [path.name for path in tmp_path.iterdir()]


def test_rebase_prints_before_after_and_change(modfix, tmp_path):
    """Truth: -2.5 log10(1.05) = -52.97 mmag in A2, and 0 in B2; 50 mmag of error make a row that is not needed."""
    rows = (OffsetRow(array="2", filter="F200W", offset=0.03, offset_error=0.05),
            OffsetRow(array="1", filter="F200W", pupil="F212N", offset=-0.2, offset_error=0.002))  # fmt: skip
    OffsetTable(rows=rows, meta={"description": "x"}).write(tmp_path / "old.asdf")
    lines = ["NRCA2,F200W,CLEAR,2.0,2.1", "NRCB2,F200W,CLEAR,2.0,2.0", "NRCA1,F200W,F212N,1,1", "NRCB1,F200W,F212N,1,1"]
    (tmp_path / "v.csv").write_text("\n".join(["detector,filter,pupil,from,to", *lines]) + "\n")
    output = modfix("rebase", "old.asdf", "--photmjsr", "v.csv", "-o", "new.asdf", "--context", "jwst_1300.pmap")
    found = [" ".join(line.split()) for line in output.splitlines()]
    assert "2 F200W +30.00 ± 50.00 -22.97 ± 50.00 -52.97 within its error of 0: no longer needed" in found
    assert "1 F200W+F212N -200.00 ± 2.00 -200.00 ± 2.00 +0.00" in found
    assert "valid for CRDS context jwst_1300.pmap" in output
    assert "give either --from-photom and --to-photom, or --photmjsr" in modfix(
        "rebase", "old.asdf", "-o", "x.asdf", status=2
    )
