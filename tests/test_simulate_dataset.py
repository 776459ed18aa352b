"""Data sets on disk: the truth is what was asked for, read back from the files."""

import json

import numpy as np
import pytest
import yaml
from astropy.table import Table
from jwst.associations import load_asn
from stdatamodels.jwst.datamodels import ImageModel

from jwst_modfix.simulate import (
    JWIDF_EPOCHS,
    CalibrationTruth,
    Effects,
    Population,
    Subarray,
    dither_pattern,
    plan_exposures,
    random_stream,
    simulate_dataset,
)

CORNER = Subarray(xstart=1, ystart=1, xsize=64, ysize=64)
DARK = {"effects": Effects(bad_pixels=False), "population": Population(density=1e-3)}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    exposures = plan_exposures(
        JWIDF_EPOCHS[:2], filters=["F356W", "F444W"], detectors=["NRCALONG"], dithers=dither_pattern(1)
    )
    return simulate_dataset(
        tmp_path_factory.mktemp("data"),
        exposures,
        1,
        field="deep",
        population=Population(density=2, faintest=23),
        truth=CalibrationTruth(epoch_terms={"ep2": 0.01}),
        subarray=CORNER,
    )


def test_an_epoch_without_a_filter_has_no_association_of_it(tmp_path):
    """Truth: two epochs in F444W, one in F356W."""
    one, two = (plan_exposures(JWIDF_EPOCHS[:n], filters=[name], dithers=1) for n, name in ((1, "F356W"), (2, "F444W")))
    planned = [exposure for exposure in one + two if exposure.geometry.module == "A"]
    dataset = simulate_dataset(tmp_path, planned, 1, population=Population(density=1), subarray=CORNER)
    kinds = ("F356W_", "F444W_", "ep1_F356W_", "ep1_F444W_", "ep2_F444W_", "")
    assert sorted(path.name for path in dataset.associations) == [f"field_{kind}image3_asn.json" for kind in kinds]


def test_associations_are_per_epoch_and_filter_per_filter_and_of_everything(dataset):
    members = {}
    for path in dataset.associations:
        association = load_asn(path.read_text())
        assert association["asn_type"] == "image3"
        members[path.name] = len(association["products"][0]["members"])
    counts = {"ep1_F356W_": 1, "ep2_F356W_": 1, "ep1_F444W_": 1, "ep2_F444W_": 1, "F356W_": 2, "F444W_": 2, "": 4}
    assert members == {f"deep_{kind}image3_asn.json": count for kind, count in counts.items()}


def test_exposures_are_named_as_in_the_archive_and_members_carry_their_epoch(dataset):
    names = [f"jw0273800{n}001_0210{band}_00001_nrcalong_cal.fits" for n in (1, 2) for band in (1, 2)]
    assert [path.name for path in dataset.exposures] == names
    (product,) = json.loads(dataset.associations[-1].read_text())["products"]
    found = [(member["expname"], member["epoch"]) for member in product["members"]]
    assert found == list(zip(names, ("ep1", "ep1", "ep2", "ep2"), strict=True))
    assert all((dataset.associations[-1].parent / name).is_file() for name in names)


def test_truth_holds_table_epoch_terms_and_pointings(dataset):
    truth = yaml.safe_load(dataset.truth.read_text())
    rows = {(row["array"], row["filter"]): row["offset"] for row in truth["table"]["rows"]}
    assert rows["long", "F444W"] == -0.01654
    assert truth["table"]["gradient"]["frame"] == "focal_plane"
    terms = {(term["epoch"], term["filter"]): term["term"] for term in truth["epoch_terms"]}
    assert terms == {("ep1", "F356W"): 0, ("ep1", "F444W"): 0, ("ep2", "F356W"): 0.01, ("ep2", "F444W"): 0.01}
    assert [exposure["filename"] for exposure in truth["exposures"]] == [p.name for p in dataset.exposures]
    assert truth["epochs"][1]["roll"] == 341.0
    starts = [exposure["start"] for exposure in truth["exposures"]]
    assert starts == pytest.approx([59768, 59768 + 646.1 / 86400, 59950, 59950 + 646.1 / 86400])


def write(folder, seed=3, field="field", dithers=1, **options):
    """Simulate a small part of one detector, one exposure for each dither."""
    options = {"population": Population(density=30, faintest=24), "subarray": CORNER, **options}
    exposures = plan_exposures(JWIDF_EPOCHS[:1], filters=["F444W"], detectors=["NRCBLONG"], dithers=dithers)
    return simulate_dataset(folder, exposures, seed, field=field, **options)


def pixels(dataset, number=0):
    with ImageModel(dataset.exposures[number]) as model:
        return np.array(model.data)


def are_uncorrelated(one, other):
    """Whether noise is uncorrelated within 4 / sqrt(number of pixels)."""
    return abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 4 / np.sqrt(one.size)


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """The data set that others differ from in one thing."""
    return write(tmp_path_factory.mktemp("first"))


@pytest.fixture(scope="module")
def dark(tmp_path_factory):
    """The same trial with noise and hardly any source."""
    return write(tmp_path_factory.mktemp("dark"), **DARK)


def test_same_seed_and_field_same_files(tmp_path, first):
    np.testing.assert_array_equal(pixels(write(tmp_path)), pixels(first))


@pytest.mark.parametrize("other", [{"seed": 4}, {"field": "trial 2"}])
def test_two_trials_share_neither_sky_nor_noise(tmp_path, first, dark, other):
    """Skies have no source in common."""
    assert are_uncorrelated(pixels(dark), pixels(write(tmp_path / "dark", **DARK, **other)))
    skies = [Table.read(data.sources) for data in (first, write(tmp_path / "sky", **other))]
    assert not set(skies[0]["ra"]) & set(skies[1]["ra"])


def test_exposures_of_one_trial_share_the_sky_and_not_the_noise(tmp_path):
    dataset = write(tmp_path, dithers=[(0.0, 0.0), (0.0, 0.0)], **DARK)
    assert are_uncorrelated(pixels(dataset, 0), pixels(dataset, 1))


def test_noise_of_an_exposure_does_not_depend_on_what_else_is_simulated(tmp_path, first):
    """With children of one sequence taken by index it would."""
    scene = Table.read(first.sources)
    one, two = (write(tmp_path / str(n), dithers=[(0.0, 0.0)] * n, scene=scene) for n in (1, 2))
    np.testing.assert_array_equal(pixels(one), pixels(two))


def test_streams_of_other_seeds_and_names_are_others():
    streams = [(1, "ab", "c"), (1, "a", "bc"), (2, "ab", "c"), (1, "c", "ab"), (1, "ab", "c")]
    drawn = [random_stream(seed, *names).integers(2**60) for seed, *names in streams]
    assert len(set(drawn)) == 4
    assert drawn[0] == drawn[-1]
