"""Where the facts of an exposure stand: attribute of the data model's meta, FITS keyword, HDU."""

__all__ = ["EXPOSURE_SUFFIXES", "FIELDS", "SCALED", "SUBARRAY"]

EXPOSURE_SUFFIXES = (".fits", ".fits.gz", ".asdf")
"""Ends of the names of exposures; other files are associations."""

FIELDS = (
    ("instrument", "instrument.name", "INSTRUME", "PRIMARY"),
    ("detector", "instrument.detector", "DETECTOR", "PRIMARY"),
    ("module", "instrument.module", "MODULE", "PRIMARY"),
    ("exp_type", "exposure.type", "EXP_TYPE", "PRIMARY"),
    ("filter", "instrument.filter", "FILTER", "PRIMARY"),
    ("pupil", "instrument.pupil", "PUPIL", "PRIMARY"),
    ("unit", "bunit_data", "BUNIT", "SCI"),
    ("context", "ref_file.crds.context_used", "CRDS_CTX", "PRIMARY"),
    ("photom", "ref_file.photom.name", "R_PHOTOM", "PRIMARY"),
    ("flat", "ref_file.flat.name", "R_FLAT", "PRIMARY"),
    ("is_tso", "visit.tsovisit", "TSOVISIT", "PRIMARY"),
    ("photmjsr", "photometry.conversion_megajanskys", "PHOTMJSR", "SCI"),
)
"""Field of `~jwst_modfix.table.validity.Exposure`, attribute, keyword, HDU."""

SUBARRAY = {
    "subarray_start": (("subarray.xstart", "SUBSTRT1"), ("subarray.ystart", "SUBSTRT2")),
    "subarray_size": (("subarray.xsize", "SUBSIZE1"), ("subarray.ysize", "SUBSIZE2")),
}
"""Field of `~jwst_modfix.table.validity.Exposure`: attribute and keyword along x and y."""

SCALED = (
    ("photometry.conversion_megajanskys", "PHOTMJSR", "SCI"),
    ("photometry.conversion_microjanskys", "PHOTUJA2", "SCI"),
    ("background.level", "BKGLEVEL", "PRIMARY"),
)
"""Attribute, keyword and HDU of the numbers in units of the data, or of the data per DN/s, that follow them."""
