"""
Damaged exposures: corrected, skipped or refused by a ModuleOffsetError, nothing else, in bounded time.

The truth of a corrected file is its own record: the pixels are those of the input times 10**(0.4 MODFOFF).
"""

import contextlib
import io
import warnings

import numpy as np
import pytest
from astropy.io import fits
from fuzzing import VALUES, damage_bytes, pick, time_limit

from jwst_modfix import OffsetTable
from jwst_modfix.apply.decide import Correction, correct_file, refuse_together
from jwst_modfix.errors import ModuleOffsetError
from jwst_modfix.photometry.frames import read_frame, read_header
from jwst_modfix.text import has_hidden

LIMIT = 20  # s; a case takes 0.1 s
BLOCK = 2880
KEYWORDS = (
    "SIMPLE", "BITPIX", "NAXIS1", "NAXIS2", "EXTEND", "EXTNAME", "XTENSION", "PCOUNT", "GCOUNT", "TFIELDS",
    "TFORM1", "TTYPE1", "BUNIT", "INSTRUME", "DETECTOR", "MODULE", "EXP_TYPE", "FILTER", "PUPIL", "CRDS_CTX",
    "R_PHOTOM", "R_FLAT", "TSOVISIT", "PHOTMJSR", "PIXAR_SR", "SUBSTRT1", "SUBSTRT2", "SUBSIZE1", "SUBSIZE2",
    "S_MODOFF", "DATAMODL", "PA_V3", "ROLL_REF", "EXPMID", "S_REGION", "BSCALE", "BZERO",
)  # fmt: skip
CARDS = (
    "'x'", "''", "5", "-1", "0", "1E308", "1E999", "T", "F", "", "99999999999999999999", "NAN", "'unclosed", "(1,2)",
    "'NIRCAM'", "'NRCB2'", "'F444W'", "64", "-64", "16", "2", "3", "1000000000", "'IMAGE'", "'BINTABLE'", "'SCI'",
)  # fmt: skip


@pytest.fixture(scope="module")
def correction():
    return Correction(table=OffsetTable.read())


@pytest.fixture
def content(small_exposure, request):
    """The bytes of an exposure: of NRCA2, which has an offset, or of NRCALONG, which has a gradient, too."""
    model = small_exposure(*request.param)
    buffer = io.BytesIO()
    model.to_fits(buffer)
    return buffer.getvalue()


def headers_of(content):
    """First and last byte of each header."""
    with fits.open(io.BytesIO(content)) as hdulist:
        return [(hdu.fileinfo()["hdrLoc"], hdu.fileinfo()["datLoc"]) for hdu in hdulist]


def damage_header(rng, content, headers):
    """Overwrite the value of one to three cards, or any bytes of a header."""
    content = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        start, stop = headers[pick(rng, (0, 0, 1, 1, rng.integers(len(headers))))]
        cards = [at for at in range(start, stop, 80) if content[at : at + 8].decode("latin1").strip() in KEYWORDS]
        if cards and rng.random() < 0.8:
            at = pick(rng, cards) + 10
            content[at : at + 70] = pick(rng, CARDS).ljust(70).encode()
        else:
            at = int(rng.integers(start, stop))
            content[at : at + 3] = rng.integers(0, 256, 3, dtype="u1").tobytes()
    return bytes(content)


@contextlib.contextmanager
def quiet():
    """A user's warnings are no errors, as they are in our tests."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def attempt(function, *arguments):
    """The result, or None where a ModuleOffsetError says why there is none."""
    with time_limit(LIMIT), quiet():
        try:
            return function(*arguments)
        except ModuleOffsetError as error:
            message = str(error)
    assert not has_hidden(message)
    assert "_cal.fits" in message
    return None


def correct(path, correction):
    """Correct a file as the step does: look at it, then write another."""
    refuse_together([path], correction)
    output = path.with_name("out_modfix.fits")
    return correct_file(path, output, correction)[0]


def measure(path):
    """Read a file as the derivation does."""
    return read_frame(read_header(path))


def check(path, correction):
    """Take a file through both steps; tell whether it was corrected."""
    decision = attempt(correct, path, correction)
    frame = attempt(measure, path)
    assert frame is None or frame.data.shape == frame.geometry.shape
    output = path.with_name("out_modfix.fits")
    if decision is not None and decision.action == "apply":
        with quiet(), fits.open(output) as after, fits.open(path) as before:
            assert after[0].header["S_MODOFF"] == "COMPLETE"
            if after[0].header["MODFGRAD"] == 0:
                factor = 10 ** (0.4 * after[0].header["MODFOFF"])
                np.testing.assert_allclose(after["SCI"].data, before["SCI"].data * factor, rtol=3e-7)
    output.unlink(missing_ok=True)
    return decision is not None and decision.action == "apply"


@pytest.mark.parametrize("content", [("NRCA2", "F200W"), ("NRCALONG", "F444W")], indirect=True, ids="-".join)
def test_damaged_headers(content, correction, tmp_path):
    """150 cases a band: cards of the keywords that matter, overwritten; any bytes of any header, overwritten."""
    rng, headers, path = np.random.default_rng(31), headers_of(content), tmp_path / "jw_cal.fits"
    done = 0
    for _ in range(150):
        path.write_bytes(damage_header(rng, content, headers))
        done += check(path, correction)
    assert 0 < done < 120


@pytest.mark.parametrize("content", [("NRCALONG", "F444W")], indirect=True, ids="-".join)
def test_files_cut_short(content, correction, tmp_path):
    """120 cases, at blocks and between: none is corrected, none is measured, unless only padding is gone."""
    rng, path = np.random.default_rng(37), tmp_path / "jw_cal.fits"
    for _ in range(120):
        size = int(rng.integers(len(content) - BLOCK))
        path.write_bytes(content[: size - size % BLOCK if rng.random() < 0.5 else size])
        assert not check(path, correction)
        assert attempt(measure, path) is None


@pytest.mark.parametrize("content", [("NRCALONG", "F444W")], indirect=True, ids="-".join)
def test_damaged_asdf_extensions(content, correction, tmp_path):
    """60 cases: the text that holds the WCS, with bytes replaced, deleted, doubled."""
    rng, path = np.random.default_rng(41), tmp_path / "jw_cal.fits"
    with fits.open(io.BytesIO(content)) as hdulist:
        whole = hdulist["ASDF"].data["ASDF_METADATA"].tobytes()
        for _ in range(60):
            damaged = np.frombuffer(damage_bytes(rng, whole), "u1")[None]
            column = fits.Column("ASDF_METADATA", f"{damaged.size}B", array=damaged)
            hdulist["ASDF"] = fits.BinTableHDU.from_columns([column], name="ASDF")
            hdulist.writeto(path, overwrite=True)
            check(path, correction)


@pytest.mark.parametrize("content", [("NRCA2", "F200W")], indirect=True, ids="-".join)
def test_values_of_another_kind(content, correction, tmp_path):
    """Each keyword that matters, with values that a FITS header can hold: 80 cases."""
    rng, path = np.random.default_rng(43), tmp_path / "jw_cal.fits"
    values = [v for v in VALUES if isinstance(v, bool | int | str) and not (isinstance(v, int) and abs(v) > 2**64)]
    for _ in range(80):
        with fits.open(io.BytesIO(content)) as hdulist:
            for _ in range(rng.integers(1, 3)):
                keyword = pick(rng, KEYWORDS[13:-2])
                header = hdulist[0 if keyword in hdulist[0].header else 1].header
                with contextlib.suppress(ValueError), quiet():  # no control characters in FITS
                    header[keyword] = pick(rng, values)
            with quiet():
                hdulist.writeto(path, overwrite=True)
        check(path, correction)
