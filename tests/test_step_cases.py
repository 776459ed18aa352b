"""Exposures, corrections and runs: the other side of each rule, the last item, the other name. Truth: as stated."""

import json
import logging
import math
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits
from one_correction import TABLE, correct, correct_file
from pair_of_exposures import FACTOR, names
from stdatamodels.jwst.datamodels import ImageModel
from stdatamodels.schema import walk_schema

from jwst_modfix import ModuleOffsetStep, applied, files
from jwst_modfix.apply.decide import Correction, refuse_together
from jwst_modfix.errors import AlreadyCorrectedError, AssociationError, ExposureError, ModuleOffsetError
from jwst_modfix.exposure import _FACTS, Exposure, open_exposure
from jwst_modfix.files import check_targets, find_existing, remove_leftovers
from jwst_modfix.photometry.frames import Epochs
from jwst_modfix.steps.associations import read_association, rename_product
from jwst_modfix.steps.grouping import Grouping, write_groups
from jwst_modfix.steps.module_offset_derive import find_members
from jwst_modfix.steps.runs import PACKED, find_exposures, shorten, suffix_of
from jwst_modfix.text import count_nouns, has_hidden, is_url, plain_text, show_progress

# ---- exposures ----


@pytest.mark.parametrize("name", _FACTS)
def test_a_fact_of_another_kind_is_refused(name):
    """Each number is finite, each whole number whole, each text a text, and true or false no number."""
    kind = _FACTS[name]["kind"].__name__
    wrong = {
        "Real": [math.nan, -math.inf, np.float32(math.inf), "1", True],
        "Integral": [1.5, "1", True],
        "str": [1, True],
        "bool": [1, "T"],
    }
    right = {"Real": [0, -1.5, np.float32(2)], "Integral": [0, np.int64(3)], "str": [""], "bool": [True, False]}
    for value in wrong[kind]:
        with pytest.raises(ExposureError, match=r"^x: .* must be "):
            Exposure(name="x", **{name: value})
    for value in (*right[kind], None):
        assert getattr(Exposure(name="x", **{name: value}), name) == value


def test_a_group_is_known_by_its_identifier_or_by_all_keywords():
    keywords = ("program_number", "observation_number", "visit_number", "visit_group", "sequence_id", "activity_id",
                "exposure_number")  # fmt: skip
    values = dict(zip(keywords, "1234567", strict=True))
    assert Exposure(name="x", **values).group == values
    assert Exposure(name="x", group_id="mine", **values).group == "mine"
    for name in keywords:
        assert Exposure(name="x", **values | {name: None}).group is None


@pytest.mark.parametrize(("detector", "array"), [("NRCA1", "1"), ("NRCB4", "4"), ("NRCALONG", "long"),
                                                 ("NRCBLONG", "long"), ("NRCA5", None), (None, None)])  # fmt: skip
def test_the_array_of_a_detector(detector, array):
    assert Exposure(name="x", detector=detector).array == array


# ---- corrections ----


@pytest.mark.parametrize("order", [1, -1])
def test_only_where_all_were_corrected_before_an_undo_is_advised(small_exposure, order):
    """One is corrected, the other has no row."""
    done, _ = correct(small_exposure("NRCA2", "F200W"))
    other = small_exposure("NRCB2", "F200W")
    other.meta.instrument.filter = "F277W"
    strict = Correction(table=TABLE, on_missing="error")
    with pytest.raises(ExposureError, match="2 of 2 exposures refused") as caught:
        refuse_together([done, other][::order], strict)
    assert not isinstance(caught.value, AlreadyCorrectedError)
    assert "--inverse" not in str(caught.value)
    with pytest.raises(AlreadyCorrectedError, match="to undo the first, run the step with --inverse=true"):
        refuse_together([done, done], strict)


@pytest.mark.parametrize(("on_invalid", "on_missing"), [("error", "skip"), ("skip", "error")])
def test_what_is_invalid_and_what_is_missing_are_asked_about_apart(small_exposure, on_invalid, on_missing):
    other, older = small_exposure("NRCA2", "F200W"), small_exposure("NRCA2", "F200W")
    other.meta.instrument.filter = "F277W"
    older.meta.ref_file.crds.context_used = "jwst_0995.pmap"
    correction = Correction(table=TABLE, on_invalid=on_invalid, on_missing=on_missing)
    for model, option in ((other, on_missing), (older, on_invalid)):
        if option == "error":
            with pytest.raises(ExposureError):
                refuse_together([model], correction)
        else:
            refuse_together([model], correction)


@pytest.mark.parametrize("detector", ["NRCA2", "NRCALONG"])
def test_a_stored_factor_is_refused_where_the_gradient_is_not_of_the_sky(small_exposure, detector):
    model, _ = correct(small_exposure(detector, "F200W" if detector == "NRCA2" else "F444W"))
    model.instance["meta"]["module_offset"] = {"factor": [[1.0]], "shape": [48, 64]}
    with pytest.raises(ExposureError, match="has the factor of a sky gradient, but MODFFRAM is not sky"):
        applied(model)


# ---- runs of the step ----


def test_the_inverse_needs_no_table_and_no_part_of_a_correction(pair, monkeypatch):
    """Truth: the exposure before the correction."""
    corrected = ModuleOffsetStep.call(pair[0])
    with pytest.raises(ModuleOffsetError, match="both False: there is nothing to apply"):
        ModuleOffsetStep.call(pair[0], apply_offset=False, apply_slope=False)
    monkeypatch.setenv("JWST_MODFIX_REFERENCE", "gone.asdf")
    undone = ModuleOffsetStep.call(corrected, inverse=True, apply_offset=False, apply_slope=False)
    np.testing.assert_allclose(undone.data, pair[0].data, rtol=3e-7)


def test_a_copy_of_an_output_under_another_name_is_not_that_output(pair_folder, pair):
    """Truth: FILENAME in the file that is written again."""
    root, options = names(pair)[0].removesuffix("_cal.fits"), {"save_results": True, "on_existing": "skip"}
    ModuleOffsetStep.call(f"data/{names(pair)[0]}", **options)
    shutil.copy(f"{root}_modfix.fits", f"{root}_again.fits")
    ModuleOffsetStep.call(f"data/{names(pair)[0]}", suffix="again", **options)
    assert fits.getval(f"{root}_again.fits", "FILENAME") == f"{root}_again.fits"
    signature = fits.getval(f"{root}_again.fits", "MODFJOB")
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{16}", signature), "long enough not to agree by chance"
    assert signature.partition("-")[0] == Correction(table=TABLE).identity


# ---- associations and folders ----


@pytest.mark.parametrize(("group", "is_right"), [("x", True), (5, True), (None, True), ("", True), (True, False),
                                                 (1.5, False), (["x"], False), ({"a": 1}, False)])  # fmt: skip
def test_a_group_is_text_or_a_whole_number(group, is_right):
    content = {"products": [{"name": "p", "members": [{"expname": "a.fits", "exptype": "science", "group_id": group}]}]}
    if is_right:
        read_association(content)
    else:
        with pytest.raises(AssociationError, match="group_id of a.fits must be text or a whole number"):
            read_association(content)


def test_a_url_that_a_member_names_stays():
    member = {"expname": "a.fits", "exptype": "science", "tweakreg_catalog": "https://archive.org/a_cat.ecsv"}
    found = read_association({"products": [{"name": "p", "members": [member]}]}).corrected(
        "modfix", Path("/b/p_asn.json")
    )
    assert found.members[0]["tweakreg_catalog"] == member["tweakreg_catalog"]


@pytest.mark.parametrize(
    ("name", "suffix", "renamed"),
    [("m", "modfix", "m_modfix"), ("m_modfix", "modfix", "m_modfix"), ("m_modfix", "unmodfix", "m_unmodfix"),
     ("m_unmodfix", "modfix", "m_modfix"), ("m_modfix_a", "modfix", "m_modfix_a_modfix"), ("modfix", "x", "modfix_x")],
)  # fmt: skip
def test_only_the_end_of_a_product_is_renamed(name, suffix, renamed):
    assert rename_product(name, suffix) == renamed


@pytest.mark.parametrize(
    ("name", "suffix"),
    [("a_cal.fits", "cal"), ("a_CAL.FITS", "cal"), ("a_cal.fits.gz", "cal"), ("a_unmodfix.fits", "unmodfix"),
     ("a_modfix.fits", "modfix"), ("a_crf.fits", "crf"), ("a_i2d.fits", None), (".a_cal.fits", None),
     ("_cal.fits", None), ("cal.fits", None), ("a_cal.fits.bak", None), ("a_cal.fit", None), ("a_calx.fits", None)],
)  # fmt: skip
def test_the_suffix_by_which_an_exposure_is_known(name, suffix):
    assert suffix_of(Path("data_cal.fits", name)) == suffix


def test_a_folder_gives_the_first_suffix_and_names_the_others(tmp_path, caplog):
    """Our own outputs, of a former run, need no word."""
    for name in ("a_jhat", "b_jhat", "a_crf", "a_modfix", "a_unmodfix"):
        (tmp_path / f"{name}.fits").write_text("not read")
    with caplog.at_level(logging.INFO):
        assert [path.name for path in find_exposures(tmp_path)] == ["a_jhat.fits", "b_jhat.fits"]
    (record,) = caplog.records
    assert record.getMessage().endswith(": 2 exposures named *_jhat; left out: a_crf.fits")
    assert record.levelno == logging.WARNING
    (tmp_path / "a_crf.fits").unlink()
    caplog.clear()
    find_exposures(tmp_path)
    assert (caplog.records[0].levelno, "left out" in caplog.text) == (logging.INFO, False)


@pytest.mark.parametrize(("name", "is_exposure"), [("a.fits", True), ("a.FITS.bz2", True), ("a.asdf", True),
                                                   ("a.json", False), ("fits", False)])  # fmt: skip
def test_packed_files_are_exposures_too(name, is_exposure):
    assert bool(PACKED.search(name)) == is_exposure


def test_a_path_is_short_below_the_working_directory_only(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path / "in")
    assert shorten(tmp_path / "in" / "b" / "a.fits") == "b/a.fits"
    assert shorten(tmp_path / "inner.fits") == str(tmp_path / "inner.fits")


@pytest.mark.parametrize("existing", [0, 1])
def test_no_association_is_written_where_one_of_them_exists(modfix, small_exposure, tmp_path, existing):
    for detector, band in (("NRCALONG", "F444W"), ("NRCB2", "F200W")):
        small_exposure(detector, band).save(str(tmp_path / f"{detector.lower()}_cal.fits"))
    paths = [tmp_path / f"f_{band}_asn.json" for band in ("f444w", "f200w")]
    paths[existing].write_text("mine")
    output = modfix("group", ".", "-o", "f_asn.json", "--by-filter", status=1)
    assert f"{paths[existing].name}: exists, and is not overwritten; nothing was written" in output
    assert paths[existing].read_text() == "mine"
    assert not paths[1 - existing].exists()


@pytest.mark.parametrize("host", ["node", "node1-", "node12", "node-1", "ode1", "Node1"])
def test_a_host_is_known_by_its_whole_name(tmp_path, monkeypatch, host):
    """Truth: this is node1, whose process 7 has ended; of other hosts nothing is known for a week."""
    monkeypatch.setattr(files.socket, "gethostname", lambda: "node1")
    monkeypatch.setattr(files, "_is_alive", lambda process: process != 7)
    for name in (f"{host}-7", "node1-7", "node1-8"):
        (tmp_path / f".modfix-part-{name}-abc").mkdir()
    assert [path.name for path in remove_leftovers([tmp_path])] == [".modfix-part-node1-7-abc"]


def test_all_outputs_that_exist_are_named(tmp_path):
    for name in "ab":
        (tmp_path / name).write_text("")
    (tmp_path / "c").symlink_to(tmp_path / "nowhere")
    targets = [tmp_path / name for name in "abcd"]
    assert find_existing(targets) == [str(path) for path in targets[:3]]
    with pytest.raises(ModuleOffsetError, match=r"/a, .*/b, .*/c: exist, and on_existing is 'error'"):
        check_targets(targets, [], allow_existing=False)
    with pytest.raises(ModuleOffsetError, match=r"/a: exists, and on_existing is 'error'"):
        check_targets(targets[:1], [], allow_existing=False)


# ---- words and numbers ----


@pytest.mark.parametrize(("name", "is_one"), [("http://x/a.fits", True), (Path("http://x/a"), True), ("s3://b", True),
                                              ("crds:/a", True), ("C:/data/a.fits", False), ("a:b.fits", False),
                                              ("/http:/a", False), ("1a:/b", False)])  # fmt: skip
def test_a_url_has_a_scheme_of_two_letters_or_more(name, is_one):
    assert is_url(name) == is_one


@pytest.mark.parametrize("hidden", ["\n", "\x1b", "\u202e", "\u200b", "\ud800", "\u2028", "\u2029"])
def test_characters_that_a_terminal_interprets_are_written_out(hidden):
    assert has_hidden(f"a{hidden}")
    assert plain_text(f"aé{hidden}b") == f"aé{ascii(hidden)[1:-1]}b"
    assert not has_hidden(hidden, allowed=hidden)


@pytest.mark.parametrize(("number", "words"), [(0, "0 epochs"), (1, "1 epoch"), (2, "2 epochs")])
def test_counts_agree_with_nouns(number, words):
    assert count_nouns(number, "epoch") == words


@pytest.mark.parametrize("total", [1, 9, 10, 11, 23, 100])
def test_progress_is_at_most_ten_lines_and_the_last_one_is_of_all(total, caplog):
    with caplog.at_level(logging.INFO):
        assert list(show_progress(range(total), "Reading")) == list(range(total))
    lines = caplog.messages
    assert min(total, 6) <= len(lines) <= 10
    assert lines[-1] == f"Reading: {total} of {count_nouns(total, 'exposure')}"


@pytest.fixture(scope="module")
def cards():
    """Keyword and HDU of each entry of an image's metadata. Truth: the schemas of stdatamodels."""
    found = {}

    def add(part, path, *_):
        if "fits_keyword" in part:
            found[".".join(path)] = (part["fits_keyword"], part.get("fits_hdu", "PRIMARY"))

    walk_schema(ImageModel().schema, add)
    return found


@pytest.mark.parametrize("name", [name for name, fact in _FACTS.items() if fact["keyword"]])
def test_a_fact_has_the_card_that_the_data_model_writes(cards, name):
    fact = _FACTS[name]
    assert cards[fact["path"]] == (fact["keyword"], fact["hdu"])


WHERE = {
    "photmjsr": "photometry.conversion_megajanskys", "photuja2": "photometry.conversion_microjanskys",
    "pixar_sr": "photometry.pixelarea_steradians", "background": "background.level", "start": "exposure.start_time",
    "middle": "exposure.mid_time", "exposure_time": "exposure.exposure_time", "pa_v3": "pointing.pa_v3",
    "roll_ref": "wcsinfo.roll_ref", "xstart": "subarray.xstart", "ystart": "subarray.ystart",
    "xsize": "subarray.xsize", "ysize": "subarray.ysize", "context": "ref_file.crds.context_used",
    "photom": "ref_file.photom.name", "flat": "ref_file.flat.name", "version": "calibration_software_version",
}  # fmt: skip


@pytest.mark.parametrize("kind", ["model", "file", "cards"])
def test_each_fact_is_read_from_its_own_place(small_exposure, tmp_path, kind):
    """Each has another value; with cards, those of the header are the values of the file."""
    model = small_exposure("NRCA2", "F200W")
    values = {}
    for number, (name, path) in enumerate(WHERE.items(), 1):
        values[name] = number if name[1:] in ("start", "size") else f"v{number}" if number > 13 else number + 0.5
        values["start"] = 5.5
        *parents, last = ("meta", *path.split("."))
        part = model.instance
        for parent in parents:
            part = part.setdefault(parent, {})
        if kind != "cards":
            part[last] = values[name]
    source = model
    if kind != "model":
        source = tmp_path / "a_cal.fits"
        model.save(str(source))
    if kind == "cards":
        with fits.open(source, mode="update") as hdulist:
            for name, value in values.items():
                hdulist[_FACTS[name]["hdu"]].header[_FACTS[name]["keyword"]] = value
    with open_exposure(source) as opened:
        assert {name: getattr(opened.exposure, name) for name in WHERE} == values


@pytest.mark.parametrize("kind", ["model", "file"])
def test_all_numbers_in_units_of_the_data_take_the_factor(small_exposure, tmp_path, kind):
    model = small_exposure("NRCA2", "F200W")
    model.meta.background.level = 0.25
    before = {name: 2.0 + number for number, name in enumerate(("photmjsr", "photuja2", "background"))}
    for name, value in before.items():
        part, last = WHERE[name].split(".")
        model.instance["meta"][part][last] = value
    if kind == "file":
        model.save(str(tmp_path / "a_cal.fits"))
        correct_file(tmp_path / "a_cal.fits", tmp_path / "b.fits")
    else:
        correct(model)
    with open_exposure(tmp_path / "b.fits" if kind == "file" else model) as opened:
        found = {name: getattr(opened.exposure, name) for name in before}
        assert found == pytest.approx({name: value * FACTOR for name, value in before.items()})
        pairs = {name: opened.tree.get(f"meta.{WHERE[name]}") for name in before}
        assert pairs == pytest.approx(found), "in the header and in the ASDF tree"


@pytest.mark.parametrize("kind", ["model", "file"])
def test_failed_steps_are_listed_by_name(small_exposure, tmp_path, kind):
    model, path = small_exposure("NRCA2", "F200W"), tmp_path / "a_cal.fits"
    model.meta.cal_step.instance["outlier_detection"] = "SKIPPED"
    names, keywords = ("assign_wcs", "flat_field", "photom"), ("S_FLAT", "S_PHOTOM", "S_WCS")
    model.save(str(path))
    for keyword in keywords[::-1]:
        fits.setval(path, keyword, value="FAILED")
    model.meta.cal_step.instance.update(dict.fromkeys(names[::-1], "FAILED"))
    with open_exposure(path if kind == "file" else model) as opened:
        assert opened.exposure.failed == (keywords if kind == "file" else names)


def test_members_keep_their_order_and_their_epochs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    epochs = {"c.fits": "late", "a.fits": "early", "b.fits": None}
    members = [{"expname": name, "exptype": "science"} | ({"epoch": e} if e else {}) for name, e in epochs.items()]
    found = find_members({"products": [{"name": "field_modfix", "members": [*members, members[0]]}]})
    assert [path.name for path in found.paths] == list(epochs)
    assert found.epochs == tuple(epochs.values())
    assert found.product == "field_corrected"
    found = find_members(["a_cal.fits", "b_cal.fits", "a_cal.fits"])
    assert ([path.name for path in found.paths], found.epochs) == (["a_cal.fits", "b_cal.fits"], (None, None))


def test_the_line_of_an_exposure_leaves_the_advice_to_the_summary(small_exposure):
    model = small_exposure("NRCA2", "F200W")
    model.meta.ref_file.crds.context_used = "jwst_0995.pmap"
    _, decision = correct(model)
    words = "CRDS_CTX is jwst_0995.pmap, and ma2023_table2.asdf is valid for jwst_1130.pmap"
    assert decision.reason.startswith(f"{words}: derive a table from these exposures")
    assert decision.line == f"{model.meta.filename}: SKIPPED: {words}"


def test_associations_by_filter_are_named_by_filter_and_pupil(tmp_path):
    """Each has the members of its band, with their epochs, by paths from its folder."""
    bands = [("F444W", "CLEAR"), ("F444W", "F405N"), ("F444W", "CLEAR")]
    headers = tuple(SimpleNamespace(path=tmp_path / "data" / f"{n}_cal.fits", filter=filter, pupil=pupil)
                    for n, (filter, pupil) in enumerate(bands))  # fmt: skip
    grouping = Grouping(headers, Epochs(np.array([1, 0, 0]), ("first", "second")), ())
    written = write_groups(grouping, tmp_path / "x_asn.json", by_filter=True)
    assert [path.name for path in written] == ["x_f444w_asn.json", "x_f444w-f405n_asn.json"]
    found = [json.loads(path.read_text())["products"][0] for path in written]
    assert [product["name"] for product in found] == ["x_f444w", "x_f444w-f405n"]
    members = [[(member["expname"], member["epoch"]) for member in product["members"]] for product in found]
    assert members == [[("data/0_cal.fits", "second"), ("data/2_cal.fits", "first")], [("data/1_cal.fits", "first")]]
    with pytest.raises(AssociationError, match=r"x.txt: the name of an association must end in '.json'"):
        write_groups(grouping, tmp_path / "x.txt")
