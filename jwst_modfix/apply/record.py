"""What was applied to an exposure: all that a reader, and the undo, need to know."""

import hashlib
from dataclasses import dataclass

__all__ = ["JOB_KEYWORD", "STATUS_KEYWORD", "AppliedOffset", "all_keywords", "job_card"]


STATUS_KEYWORD = "S_MODOFF"
JOB_KEYWORD = "MODFJOB"  # of files only: what a run that is to be resumed knows its finished outputs by

# Field, FITS keyword, comment of the card.
_CARDS = (
    ("table", "R_MODOFF", "Module offset reference file name"),
    ("digest", "MODFHASH", "Hash of the module offset table"),
    ("date", "MODFDATE", "UTC when the module offset was applied"),
    ("version", "MODFVER", "Version of jwst_modfix"),
    ("zero_point", "MODFOFF", "[mag] Zero-point error z taken out"),
    ("slope", "MODFSLP", "[mag/arcmin] Gradient g taken out"),
    ("frame", "MODFFRAM", "Frame of the gradient"),
    ("direction", "MODFDIR", "[deg] Direction of the gradient"),
    ("origin_1", "MODFORG1", "First coordinate of the gradient's origin"),
    ("origin_2", "MODFORG2", "Second coordinate of the gradient's origin"),
)


@dataclass(frozen=True, kw_only=True)
class AppliedOffset:
    """
    The zero-point error m_sys = z + g u that was taken out of an exposure.

    Parameters
    ----------
    table, digest : str
        Name and content hash of the table.
    date : str
        When, ISO 8601, UTC.
    version : str
        Version of jwst_modfix.
    zero_point : float
        z [mag].
    slope : float
        g [mag/arcmin]; where it is 0 there is no frame, direction or origin.
    frame : {'focal_plane', 'detector', 'sky'}, optional
        Frame of the gradient.
    direction : float, optional
        Direction of the gradient [deg].
    origin_1, origin_2 : float, optional
        Where u = 0, in the units of the frame.
    """

    table: str
    digest: str
    date: str
    version: str
    zero_point: float
    slope: float = 0.0
    frame: str | None = None
    direction: float | None = None
    origin_1: float | None = None
    origin_2: float | None = None

    @property
    def origin(self):
        """Where u = 0, in the units of the frame."""
        return (self.origin_1, self.origin_2)

    def cards(self):
        """Write the record as FITS cards."""
        cards = [(keyword, getattr(self, field), comment) for field, keyword, comment in _CARDS]
        return [card for card in cards if card[1] is not None]

    @classmethod
    def from_cards(cls, values):
        """Read the record back."""
        optional = {"slope", "frame", "direction", "origin_1", "origin_2"}
        return cls(**{field: values[key] for field, key, _ in _CARDS if field not in optional or key in values})


def all_keywords():
    """Name every FITS keyword of a correction."""
    return (STATUS_KEYWORD, JOB_KEYWORD, *(keyword for _, keyword, _ in _CARDS))


def job_card(job, header):
    """Sign an output, so that a later run knows it as its own: its job, its date and the whole record.

    The first word of a job identifies the correction and stays readable, for those who know it alone.
    """
    keys = [key for key in ("DATE", *all_keywords()) if key != JOB_KEYWORD and key in header]
    text = "\n".join([job, *(str(header.cards[key]).rstrip() for key in keys)])
    signature = hashlib.sha256(text.encode()).hexdigest()[:16]
    return (JOB_KEYWORD, f"{job.partition(' ')[0]}-{signature}", "Hash of table, input, record and DATE")
