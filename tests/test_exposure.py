"""One description of an exposure and one way to open one, whether it is a file, a packed file or a data model."""

import bz2
import gzip
import io
import lzma
import os
import re
import shutil
import zipfile

import asdf
import numpy as np
import pytest
from astropy.io import fits
from astropy.modeling.models import Identity, Shift
from stdatamodels.jwst import datamodels

from jwst_modfix import exposure
from jwst_modfix.errors import ExposureError
from jwst_modfix.exposure import open_exposure


@pytest.fixture
def model(small_exposure):
    return small_exposure("NRCALONG", "F444W")


@pytest.fixture(scope="module")
def saved(small_exposure, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "jw_cal.fits"
    small_exposure("NRCALONG", "F444W").save(str(path))
    return path


@pytest.fixture
def path(saved, tmp_path):
    return shutil.copy(saved, tmp_path / "jw_cal.fits")


def describe(source):
    with open_exposure(source) as opened:
        return opened.exposure_with_wcs


def edit(path, change):
    """Change the HDUs of a file; what is not changed is kept as it is stored."""
    with fits.open(path, do_not_scale_image_data=True, memmap=False) as hdulist:
        change(hdulist)
        hdulist.writeto(path, overwrite=True)


def pack(path):
    packed = path.with_name(f"{path.name}.gz")
    packed.write_bytes(gzip.compress(path.read_bytes(), compresslevel=1))
    return packed


def by_each_route(path):
    """The same exposure as a file, packed, and as a data model."""
    with datamodels.open(path) as model:
        yield from (path, pack(path), model)


def test_a_file_a_packed_file_and_a_model_are_described_alike(path):
    """Truth: the numbers that the simulation was asked for, and the SIAF's pixel of a 64 x 48 subarray."""
    for source in by_each_route(path):
        found = describe(source)
        assert (found.detector, found.module, found.array) == ("NRCALONG", "A", "long")
        assert (found.filter, found.pupil, found.unit, found.exp_type) == ("F444W", "CLEAR", "MJy/sr", "NRC_IMAGE")
        assert (found.shape, found.xstart, found.ystart, found.xsize, found.ysize) == ((48, 64), 701, 401, 64, 48)
        assert found.wcs_box == ((-0.5, 63.5), (-0.5, 47.5))
        assert found.frames[:2] == ("detector", "v2v3")
        assert found.context == "jwst_1130.pmap"
        assert found.pixar_sr == pytest.approx(0.063**2 / 206265**2, rel=0.01)
        assert found.start < found.middle < found.start + 1
        assert found.pa_v3 == pytest.approx(161, abs=1)
        assert found.group["visit_number"] == "001"
        assert (found.status, found.digest) == (None, None)


KEYWORDS = {"PHOTMJSR": "photmjsr", "FILTER": "filter", "BUNIT": "unit", "CRDS_CTX": "context", "SUBSIZE1": "xsize",
            "EXP_TYPE": "exp_type", "R_PHOTOM": "photom", "PA_V3": "pa_v3"}  # fmt: skip


@pytest.mark.parametrize("keyword", KEYWORDS)
def test_a_card_that_is_absent_is_read_from_the_tree_by_each_route(path, keyword):
    truth = getattr(describe(path), KEYWORDS[keyword])
    edit(path, lambda hdulist: [hdu.header.remove(keyword, ignore_missing=True) for hdu in hdulist[:2]])
    for source in by_each_route(path):
        assert getattr(describe(source), KEYWORDS[keyword]) == truth


@pytest.mark.parametrize(("keyword", "value"), [("PHOTMJSR", 0.5), ("FILTER", "F356W"), ("CRDS_CTX", "jwst_1200.pmap")])
def test_a_card_has_precedence_over_the_tree_by_each_route(path, keyword, value):
    edit(path, lambda hdulist: hdulist[keyword == "PHOTMJSR"].header.set(keyword, value))
    for source in by_each_route(path):
        assert getattr(describe(source), KEYWORDS[keyword]) == value


@pytest.mark.parametrize(
    ("keyword", "value", "words"),
    [
        ("PHOTMJSR", "much", "PHOTMJSR must be a finite number, got 'much'"),
        ("PHOTMJSR", True, "PHOTMJSR must be a finite number, got True"),
        ("SUBSTRT1", 1.5, "SUBSTRT1 must be a whole number, got 1.5"),
        ("FILTER", 444, "FILTER must be text, got 444"),
        ("TSOVISIT", "no", "TSOVISIT must be true or false, got 'no'"),
    ],
)
def test_a_value_of_another_kind_is_named(path, keyword, value, words):
    edit(path, lambda hdulist: hdulist[keyword == "PHOTMJSR"].header.set(keyword, value))
    with pytest.raises(ExposureError, match=f"jw_cal.fits: {words}"):
        describe(path)


def test_a_whole_number_larger_than_any_float_is_no_number(small_exposure):
    model = small_exposure()
    model.instance["meta"]["photometry"]["conversion_megajanskys"] = 10**400
    with pytest.raises(ExposureError, match="PHOTMJSR must be a finite number, got 10000"):
        describe(model)


def arrays(path):
    with fits.open(path) as hdulist:
        return {hdu.name: hdu.data for hdu in hdulist[1:] if hdu.is_image}


def double_science(source, target):
    """Save an exposure with SCI and PHOTMJSR doubled."""
    with open_exposure(source) as opened:
        opened.change(lambda arrays: np.multiply(arrays["data"], 2, out=arrays["data"]), 2.0)
        opened.mark("COMPLETE", [("MODFOFF", 0.1, "")])
        opened.save(target)


def test_what_is_not_changed_is_copied_byte_for_byte(path, tmp_path):
    double_science(path, tmp_path / "out.fits")
    with fits.open(path) as before, fits.open(tmp_path / "out.fits") as after:
        assert [hdu.name for hdu in before] == [hdu.name for hdu in after]
        for one, other in zip(before, after, strict=True):
            if one.name not in ("PRIMARY", "SCI", "ASDF"):
                content = [raw(p, hdu) for p, hdu in ((path, one), (tmp_path / "out.fits", other))]
                assert content[0] == content[1], one.name
            cards = [[tuple(card) for card in hdu.header.cards if card.keyword not in CHANGED] for hdu in (one, other)]
            if one.name == "ASDF":  # a new table: astropy 6.1 puts its columns before EXTNAME
                cards = [sorted(each, key=str) for each in cards]
            assert cards[0] == cards[1]
    np.testing.assert_array_equal(arrays(tmp_path / "out.fits")["SCI"], 2 * arrays(path)["SCI"])
    assert fits.getval(tmp_path / "out.fits", "FILENAME") == "out.fits"


CHANGED = ("DATE", "FILENAME", "PHOTMJSR", "PHOTUJA2", "NAXIS1", "TFORM1", "S_MODOFF", "MODFOFF")


def raw(path, hdu):
    place = hdu.fileinfo()
    return path.read_bytes()[place["hdrLoc"] : place["datLoc"] + place["datSpan"]]


def test_cards_and_tree_say_the_same_afterwards(path, tmp_path):
    """The asdf library reads the tree alone: status, PHOTMJSR, name and date are those of the cards."""
    double_science(path, tmp_path / "out.fits")
    header, science = (fits.getheader(tmp_path / "out.fits", extension) for extension in (0, "SCI"))
    content = fits.getdata(tmp_path / "out.fits", "ASDF")["ASDF_METADATA"].tobytes()
    with asdf.open(io.BytesIO(content)) as file:
        meta = file["meta"]
        assert meta["cal_step"]["module_offset"] == header["S_MODOFF"] == "COMPLETE"
        assert meta["photometry"]["conversion_megajanskys"] == science["PHOTMJSR"]
        assert science["PHOTMJSR"] == 2 * fits.getval(path, "PHOTMJSR", "SCI")
        assert (meta["filename"], meta["date"]) == (header["FILENAME"], header["DATE"])


def test_checksums_stay_true_and_the_input_is_left_alone(path, tmp_path):
    with fits.open(path, do_not_scale_image_data=True) as hdulist:
        hdulist.writeto(tmp_path / "sums_cal.fits", checksum=True)
    before = (tmp_path / "sums_cal.fits").read_bytes()
    double_science(tmp_path / "sums_cal.fits", tmp_path / "out.fits")
    assert (tmp_path / "sums_cal.fits").read_bytes() == before
    with fits.open(tmp_path / "out.fits", checksum=True) as hdulist:  # a wrong sum warns, and a warning is an error
        assert "CHECKSUM" in hdulist["SCI"].header
        for hdu in hdulist:
            assert hdu.verify_checksum() == 1, hdu.name


def test_pixels_in_64_bits_become_32_as_in_the_data_model(path, tmp_path):
    truth = arrays(path)["SCI"].astype(float)
    edit(path, lambda hdulist: setattr(hdulist["SCI"], "data", truth))
    double_science(path, tmp_path / "out.fits")
    assert fits.getval(tmp_path / "out.fits", "BITPIX", "SCI") == -32
    for number, source in enumerate(by_each_route(path)):
        with open_exposure(source) as opened:
            opened.change(lambda arrays: None, 1.0)
            opened.to_model().save(str(tmp_path / f"{number}.fits"))
        assert fits.getval(tmp_path / f"{number}.fits", "BITPIX", "SCI") == -32
        np.testing.assert_array_equal(arrays(tmp_path / f"{number}.fits")["SCI"], truth.astype("f4"))


def test_the_first_version_of_an_hdu_counts_wherever_it_is(path, tmp_path):
    """SCI,2 of zeros before SCI,1: it is SCI,1 that is doubled, by file and in the data model."""
    truth = arrays(path)["SCI"]
    edit(path, lambda hdulist: hdulist.insert(1, fits.ImageHDU(np.zeros((48, 64), "f4"), name="SCI", ver=2)))
    double_science(path, tmp_path / "out.fits")
    with fits.open(tmp_path / "out.fits") as hdulist:
        np.testing.assert_array_equal(hdulist["SCI", 1].data, 2 * truth)
        assert not hdulist["SCI", 2].data.any()
    with datamodels.open(tmp_path / "out.fits") as model:  # takes the first one, which it is now
        np.testing.assert_array_equal(model.data, 2 * truth)
    with open_exposure(path) as opened:
        np.testing.assert_array_equal(opened.to_model().data, truth)


@pytest.mark.parametrize("name", ["DATA", "data"])
def test_an_hdu_of_the_name_of_an_attribute_is_none(path, tmp_path, name):
    """SCI is doubled, and not an image of the user's that is named DATA."""
    truth = arrays(path)["SCI"]
    edit(path, lambda hdulist: hdulist.insert(3, fits.ImageHDU(np.ones((48, 64), "f4"), name=name)))
    double_science(path, tmp_path / "out.fits")
    np.testing.assert_array_equal(arrays(tmp_path / "out.fits")["SCI"], 2 * truth)
    assert (arrays(tmp_path / "out.fits")["DATA"] == 1).all()


@pytest.mark.parametrize(
    ("name", "value"), [("err", [[1.0]]), ("var_flat", 0.1), ("data", [[1.0]]), ("var_rnoise", {"a": 1})]
)
def test_what_is_no_array_is_not_left_out(model, name, value):
    model.instance[name] = value
    with pytest.raises(ExposureError, match=f"_cal.fits: {name} must be an array, got a "):
        describe(model)


def test_a_mask_of_another_shape_is_refused(path):
    edit(path, lambda hdulist: setattr(hdulist["DQ"], "data", np.zeros((47, 64), "i4")))
    with pytest.raises(ExposureError, match=r"jw_cal.fits: dq has shape \(47, 64\), and the data have \(48, 64\)"):
        describe(path)


@pytest.mark.parametrize(("kind", "axes"), [("CubeModel", 2), ("RampModel", 2), ("ImageModel", 3), ("ImageModel", 1)])
def test_a_kind_of_model_that_the_pixels_do_not_fit_is_refused(path, kind, axes):
    """Data models would fail on the output, when it is written."""

    def change(hdulist):
        hdulist[0].header["DATAMODL"] = kind
        for hdu in hdulist[1:-1]:
            hdu.data = np.ones((2, 48, 64)[-axes:], "i4" if hdu.name == "DQ" else "f4")

    edit(path, change)
    with pytest.raises(ExposureError, match=f"jw_cal.fits: DATAMODL is {kind}, but SCI has shape"):
        describe(path)


@pytest.mark.parametrize(
    ("name", "card"),
    [("PRIMARY", ("FILTER", "F356W")), ("PRIMARY", ("DETECTOR", "NRCBLONG")), ("SCI", ("PHOTMJSR", 9.0))],
)
@pytest.mark.parametrize("is_first", [False, True])
@pytest.mark.filterwarnings("ignore:.*keyword already exists")
def test_a_card_that_occurs_twice_and_differs_is_refused(path, name, card, is_first):
    truth = fits.getval(path, card[0], name)
    edit(path, lambda hdulist: hdulist[name].header.insert(card[0], card, after=not is_first))
    with pytest.raises(ExposureError, match=f"jw_cal.fits: the cards {card[0]} of {name} are .*; keep the right one"):
        describe(path)
    edit(path, lambda hdulist: [hdulist[name].header.__setitem__((card[0], number), truth) for number in (0, 1)])
    assert describe(path).filter == "F444W"


def test_arrays_come_in_the_byte_order_of_the_machine(path):
    with open_exposure(path) as opened:
        assert opened.array("data").dtype == np.dtype("=f4")
        assert opened.array("dq").dtype == np.dtype("=u4")
        assert opened.array("area").shape == (48, 64)
        assert opened.array("zeropoint") is None
        assert opened.array("err").dtype.isnative


def boundaries(content):
    with fits.open(io.BytesIO(content)) as hdulist:
        return {hdu.name: hdu.fileinfo()["hdrLoc"] for hdu in hdulist[1:]}


@pytest.mark.parametrize("name", ["ERR", "DQ", "AREA", "VAR_POISSON", "VAR_RNOISE", "VAR_FLAT", "ASDF"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_tail_of_zeros_and_a_cut_between_hdus_are_refused(path, name, packed):
    content = path.read_bytes()
    start = boundaries(content)[name]
    for damaged in (content[:start] + bytes(len(content) - start), content[:start]):
        path.write_bytes(damaged)
        with pytest.raises(ExposureError, match=r"copy it again"):
            describe(pack(path) if packed else path)


def test_an_array_that_the_tree_names_must_be_there(path):
    edit(path, lambda hdulist: hdulist.__delitem__("ERR"))
    with pytest.raises(ExposureError, match="its ASDF tree names the HDU ERR,1, not in the file"):
        describe(path)


def test_bytes_after_the_last_hdu_and_missing_bytes_are_refused(path):
    content = path.read_bytes()
    for damaged in (content + bytes(2880), content[:-2880], content[:-1]):
        path.write_bytes(damaged)
        with pytest.raises(
            ExposureError, match=f"has {len(damaged)} bytes, but its headers describe {len(content)}.*copy it again"
        ):
            describe(path)


@pytest.mark.parametrize("name", ["SCI", "ERR", "VAR_POISSON", "VAR_FLAT"])
@pytest.mark.parametrize("card", [("BZERO", 0.5), ("BSCALE", 2.0)])
def test_floating_arrays_that_are_stored_scaled_are_refused(path, name, card):
    edit(path, lambda hdulist: hdulist[name].header.set(*card))
    with pytest.raises(ExposureError, match=f"jw_cal.fits: {name} is stored with BSCALE, BZERO = "):
        describe(path)


@pytest.mark.parametrize("card", [("BZERO", 0.0), ("BSCALE", 1.0)])
def test_a_scaling_that_changes_nothing_is_none(path, card, tmp_path):
    truth = arrays(path)["SCI"]
    edit(path, lambda hdulist: hdulist["SCI"].header.set(*card))
    double_science(path, tmp_path / "out.fits")
    np.testing.assert_array_equal(arrays(tmp_path / "out.fits")["SCI"], 2 * truth)


def zipped(content):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("jw_cal.fits", content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (zipped, "it is a ZIP archive"),
        (lambda content: gzip.compress(content, 0), "it is gzip; a compressed FITS file is named .fits.gz"),
        (bz2.compress, "it is bzip2"),
        (lambda content: lzma.compress(content, preset=0), "it is xz"),
        (lambda content: b"\x89HDF\r\n\x1a\n" + content, "it is HDF5"),
        (lambda content: HEAD, "it is ASDF; such a file is named .asdf"),
        (lambda content: b"\n" + content, r"it begins with b'\\n?SIMPLE"),
        (lambda content: b"", "it is empty"),
        (lambda content: b"this is no FITS file", "it begins with b'this is n'"),
    ],
    ids=["zip", "gzip", "bzip2", "xz", "hdf5", "asdf", "shifted", "empty", "text"],
)
def test_what_is_no_fits_file_is_refused_by_what_it_is(path, make, words):
    path.write_bytes(make(path.read_bytes()))
    with pytest.raises(ExposureError, match=f"jw_cal.fits: is not a FITS file, which begins with 'SIMPLE  =': {words}"):
        describe(path)


def test_a_packed_file_must_be_packed(path):
    path.rename(path.with_name("jw_cal.fits.gz"))
    with pytest.raises(ExposureError, match="jw_cal.fits.gz: cannot be read as gzip"):
        describe(path.with_name("jw_cal.fits.gz"))


def test_tile_compression_is_refused_by_what_it_is(path):
    def compress(hdulist):
        hdulist["SCI"] = fits.CompImageHDU(hdulist["SCI"].data, hdulist["SCI"].header, name="SCI")

    edit(path, compress)
    for name in ("jw_cal.fits", "jw_cal.fits.fz"):
        path = path.rename(path.with_name(name))
        with pytest.raises(ExposureError, match=f"{name}: SCI is tile-compressed; unpack it with funpack"):
            describe(path)


def test_only_regular_files_of_a_sensible_size_are_opened(path, tmp_path):
    os.mkfifo(tmp_path / "pipe_cal.fits")
    (tmp_path / "folder_cal.fits").mkdir()
    (tmp_path / "zero_cal.fits").symlink_to("/dev/zero")
    for name in ("pipe", "folder", "zero"):
        with pytest.raises(ExposureError, match=f"{name}_cal.fits: is (not a regular file|a folder, not a file)$"):
            describe(tmp_path / f"{name}_cal.fits")
    os.truncate(path, 2**40)
    with pytest.raises(ExposureError, match="jw_cal.fits: has 1099511627776 bytes; an exposure has at most 4294967296"):
        describe(path)
    for name, words in (
        ("gone_cal.fits", "no such file"),
        (f"{'x' * 300}_cal.fits", "cannot be read: File name too long"),
    ):
        with pytest.raises(ExposureError, match=f"{name}: {words}"):
            describe(tmp_path / name)


def with_text(path, text):
    """Put another ASDF text into the exposure, in place of the one with its WCS."""
    data = np.frombuffer(text, "u1")[None]
    column = fits.Column("ASDF_METADATA", f"{data.size}B", array=data)
    edit(path, lambda hdulist: hdulist.__setitem__("ASDF", fits.BinTableHDU.from_columns([column], name="ASDF")))


HEAD = b"#ASDF 1.0.0\n#ASDF_STANDARD 1.5.0\n%YAML 1.1\n%TAG ! tag:stsci.edu:asdf/\n--- !core/asdf-1.1.0\n"
ELSEWHERE = (
    HEAD + b"meta: {x: !core/ndarray-1.0.0 {source: 'URI', datatype: int64, byteorder: little, shape: [5]}}\n...\n"
)


@pytest.mark.parametrize("uri", [b"file:///etc/other.asdf", b"http://localhost:1/other.asdf", b"other.asdf"])
def test_arrays_in_other_files_are_refused_everywhere(path, uri, tmp_path):
    text = ELSEWHERE.replace(b"URI", uri)
    with_text(path, text)
    (tmp_path / "jw_cal.asdf").write_bytes(text)
    for source in (path, pack(path), tmp_path / "jw_cal.asdf"):
        with pytest.raises(ExposureError, match=f"it asks for an array in another file: {uri.decode()}"):
            describe(source)


@pytest.mark.parametrize("number", [0, 1])
def test_compressed_blocks_may_not_become_larger_than_memory(path, tmp_path, number):
    tree = {"meta": {}, "x": np.zeros(100_000), "y": np.ones(50_000)}
    asdf.AsdfFile(tree).write_to(tmp_path / "x.asdf", all_array_compression="zlib")
    content = (tmp_path / "x.asdf").read_bytes()
    starts = [found.start() for found in re.finditer(b"\xd3BLK", content)]
    at = starts[number] + 6 + 4 + 4 + 16  # the size of the block when it is unpacked
    with_text(path, content)
    describe(path)
    with_text(path, content[:at] + (1024**4).to_bytes(8, "big") + content[at + 8 :])
    with pytest.raises(ExposureError, match="it asks for 1099511627776 bytes of memory for one array"):
        describe(path)


def test_a_missing_and_an_unknown_wcs_have_reasons_of_their_own(model, path):
    assert "v2v3" in describe(model).frames
    model.meta.wcs = None
    assert describe(model).frames == ()
    with_text(path, HEAD + b"meta: {wcs: not a WCS}\n...\n")
    with pytest.raises(ExposureError, match="its WCS is of an unknown kind, str; run assign_wcs again"):
        describe(path)


WCS_CHANGES = {
    "as it is": lambda wcs: None,
    "pointing": lambda wcs: wcs.insert_transform("world", Shift(0.01) & Identity(1)),
    "distortion": lambda wcs: wcs.insert_transform("detector", Shift(1e-5) & Identity(1), after=True),
    "bounding box": lambda wcs: setattr(wcs, "bounding_box", ((0, 10), (5, 20))),
    "no bounding box": lambda wcs: setattr(wcs, "bounding_box", None),
}


def test_exposures_of_one_detector_have_each_their_own_wcs(model, tmp_path):
    """Truth: the WCS that was saved, though files share what they have in common."""
    pixels, found = np.array([[3.0, 40.0], [7.0, 30.0]]), {}
    for name, change in WCS_CHANGES.items():
        mine = model.copy()
        change(mine.meta.wcs)
        mine.save(str(tmp_path / f"{name}_cal.fits"))
        found[name] = mine.meta.wcs
    for name, wcs in found.items():
        with open_exposure(tmp_path / f"{name}_cal.fits") as opened:
            read, mine = opened.wcs, opened.to_model()
        mine.meta.wcs.bounding_box = ((0, 3), (0, 4))  # of a model, which is the caller's, and of no other file
        assert read.available_frames == wcs.available_frames
        for to in ("v2v3", "world"):
            transforms = (one.get_transform("detector", to) for one in (read, wcs))
            np.testing.assert_array_equal(*(transform(*pixels) for transform in transforms))
        np.testing.assert_array_equal(read.invert(*read(*pixels)), wcs.invert(*wcs(*pixels)))
        boxes = [one.bounding_box and one.bounding_box.bounding_box() for one in (read, wcs)]
        assert boxes[0] == boxes[1]


TRACES = [
    ("PRIMARY", [("S_MODOFF", "COMPLETE")]),
    ("PRIMARY", [("S_MODOFF", "SKIPPED"), ("MODFOFF", 0.1)]),
    ("PRIMARY", [("S_MODOFF", "SKIPPED"), ("S_MODOFF", "COMPLETE")]),
    ("PRIMARY", [("S_MODOFF", "")]),
    ("PRIMARY", [("S_MODOFF", "T")]),
    ("PRIMARY", [("S_MODOFF", True)]),
    ("PRIMARY", [("S_MODOFF", "FAILED")]),
    ("PRIMARY", [("R_MODOFF", "table.asdf")]),
    ("PRIMARY", [("MODFOFF", 0.1)]),
    ("PRIMARY", [("MODFHASH", "0123")]),
    ("SCI", [("S_MODOFF", "COMPLETE")]),  # as another tool puts it there
    ("ERR", [("MODFOFF", 0.1)]),
    ("VAR_FLAT", [("R_MODOFF", "table.asdf")]),
]
NO_TRACES = [([], None), ([("S_MODOFF", "SKIPPED")], "SKIPPED"), ([("MODFJOB", "0123")], None)]


@pytest.mark.parametrize(
    ("name", "cards", "status"),
    [(*trace, "COMPLETE") for trace in TRACES] + [("PRIMARY", *cards) for cards in NO_TRACES],
    ids=str,
)
def test_any_trace_of_a_correction_counts_and_a_skipped_exposure_or_one_that_was_undone_has_none(
    path, name, cards, status
):
    edit(path, lambda hdulist: [hdulist[name].header.append(card) for card in cards])
    for source in by_each_route(path):
        found = describe(source)
        assert (found.status, found.failed) == (status, ()), "and no earlier step has failed"


def test_a_status_of_our_own_in_the_tree_of_a_model_is_a_trace_and_no_earlier_step(model):
    model.instance["meta"]["cal_step"] |= {"module_offset": "FAILED", "jump": "FAILED"}
    found = describe(model)
    assert (found.status, found.failed) == ("COMPLETE", ("jump",))


@pytest.mark.parametrize(
    ("extra", "status"),
    [
        (None, None),
        ({"PRIMARY": None}, None),
        ({"PRIMARY": {"header": None}}, None),
        ({"PRIMARY": {"header": [[], ["OTHER"], None]}}, None),
        ({"PRIMARY": {"header": [["MODFOFF"]]}}, "COMPLETE"),
        ({"PRIMARY": {"header": (("MODFOFF", 0.1),)}}, "COMPLETE"),
        ({"PRIMARY": {"header": [["s_modoff", "COMPLETE"]]}}, "COMPLETE"),
    ],
)
def test_cards_of_a_model_that_are_no_cards_are_no_error(model, extra, status):
    model.instance["extra_fits"] = extra
    assert describe(model).status == status
    with open_exposure(model) as opened:
        opened.mark("COMPLETE", [("MODFOFF", 0.1, "")])
    with open_exposure(model) as opened:
        assert opened.cards == [("S_MODOFF", "COMPLETE"), ("MODFOFF", 0.1)]


def test_the_tree_alone_is_a_trace(path):
    with datamodels.open(path) as model:
        model.meta.cal_step.module_offset = "COMPLETE"
        model.save(str(path))
    for source in by_each_route(path):
        assert describe(source).status == "COMPLETE"


def failing(error):
    def fail(*_, **__):
        raise error

    return fail


def test_an_error_of_reading_names_the_file_and_what_the_system_said(tmp_path):
    (tmp_path / "jw_cal.fits").symlink_to("/proc/self/mem")  # a regular file, of which the first byte cannot be read
    with pytest.raises(ExposureError, match="jw_cal.fits: cannot be read: Input/output error"):
        describe(tmp_path / "jw_cal.fits")


@pytest.mark.parametrize("name", ["SCI", "ERR", "DQ", "VAR_FLAT"])
@pytest.mark.parametrize("is_changed", [False, True], ids=["copied", "changed"])
def test_an_input_that_is_cut_while_it_is_read_is_named(path, tmp_path, name, is_changed):
    start = boundaries(path.read_bytes())[name]
    with open_exposure(path) as opened:
        os.truncate(path, start + 2880 * 3)
        with pytest.raises(ExposureError, match="jw_cal.fits: is damaged, or was cut short while it was read"):  # noqa: PT012
            if is_changed:
                opened.change(lambda arrays: None, 1.0)
            opened.save(tmp_path / "out.fits")


@pytest.mark.parametrize("module", [exposure.fits, asdf], ids=["file", "WCS"])
def test_too_little_memory_is_not_the_fault_of_the_file(path, monkeypatch, module):
    monkeypatch.setattr(module, "open", failing(MemoryError()))
    with pytest.raises(ExposureError, match="jw_cal.fits: there is not enough memory to read it$"):
        describe(path)


def test_a_file_is_saved_as_asdf_if_its_name_says_so(path, tmp_path):
    """Truth: the pixels of the input, read by the data models."""
    with open_exposure(path) as opened:
        opened.save(tmp_path / "out.asdf")
    with datamodels.open(tmp_path / "out.asdf") as saved, datamodels.open(path) as original:
        assert np.array_equal(saved.data, original.data, equal_nan=True)
        assert saved.meta.filename == "out.asdf"
