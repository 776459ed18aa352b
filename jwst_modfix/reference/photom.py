"""A table's offsets in a photom reference file, for which the stock photom step is enough."""

from pathlib import PurePath

from astropy.io import fits
from stdatamodels.jwst.datamodels import NrcImgPhotomModel

from jwst_modfix.errors import ReferenceTableError
from jwst_modfix.files import written_whole
from jwst_modfix.reference.table_file import refuse_overwriting
from jwst_modfix.reference.validity import Exposure

__all__ = ["export_photom"]

_MARK = "jwst_modfix"


def export_photom(table, photom, output, *, drop_slope=False):
    """
    Write a copy of a photom reference file of one detector whose PHOTMJSR carry the offsets.

    PHOTMJSR and its uncertainty are multiplied by 10**(0.4 z), as the correction multiplies the pixels.

    Parameters
    ----------
    table : OffsetTable
        The table.
    photom : str or pathlib.Path
        A ``jwst_nircam_photom`` file of an imaging mode.
    output : str or pathlib.Path
        The file to write.
    drop_slope : bool
        Leave slopes out, which such a file cannot carry, rather than refuse them.

    Returns
    -------
    changed : list of tuple
        ``(filter, pupil, z)`` [mag] of each row that was changed.
    dropped : list of OffsetRow
        Rows whose slope was left out.

    Raises
    ------
    ReferenceTableError
        The file is no photom file of a NIRCam detector, carries offsets already, is not what the table is valid for
        or has no row in common; a slope would be lost; or ``output`` is there already.
    """
    refuse_overwriting(output)
    try:
        model = NrcImgPhotomModel(str(photom))
    except Exception as error:  # whatever the data models raise
        raise ReferenceTableError(f"{photom}: cannot be read as a photom file of NIRCam imaging: {error}") from error
    with model:
        rows = _find_rows(model, table, photom)
        dropped = list(dict.fromkeys(row for _, row in rows if row.slope))
        if dropped and not drop_slope:
            labels = ", ".join(row.label for row in dropped)
            raise ReferenceTableError(
                f"{table.name}: a photom file cannot carry the slope of {labels}: drop it to export the offset alone"
            )
        changed = _scale(model, table, rows)
        with written_whole(output) as partial:
            model.save(str(partial))
            _record(partial, table, photom, dropped)
    return changed, dropped


def _find_rows(model, table, photom):
    """Find the place of each row of the photom file that the table has an offset for."""
    detector = model.meta.instrument.detector
    array = Exposure(name=str(photom), detector=detector).array
    if array is None or model.phot_table is None:
        raise ReferenceTableError(
            f"{photom}: is not the photom file of one NIRCam detector; its DETECTOR is {detector}"
        )
    if _MARK in str(fits.getheader(photom).get("HISTORY", "")):
        raise ReferenceTableError(f"{photom}: carries module offsets already, as its HISTORY says")
    allowed = [PurePath(name).name for name in table.valid_for.photom]
    if allowed and PurePath(photom).name not in allowed:
        raise ReferenceTableError(f"{photom}: {table.name} is valid for {', '.join(allowed)}")
    keys = [(array, str(row["filter"]).strip(), str(row["pupil"]).strip()) for row in model.phot_table]
    found = [(place, table.row(*key)) for place, key in enumerate(keys)]
    found = [(place, row) for place, row in found if row is not None]
    if not found:
        raise ReferenceTableError(f"{photom}: {table.name} has no row for {detector} in any filter of this file")
    return found


def _scale(model, table, rows):
    phot_table, changed = model.phot_table.copy(), []
    for place, row in rows:
        z = table.zero_point(row, model.meta.instrument.detector[3])
        for column in ("photmjsr", "uncertainty"):
            phot_table[column][place] *= 10 ** (0.4 * z)
        changed.append((row.filter, row.pupil, z))
    model.phot_table = phot_table
    return changed


def _record(path, table, photom, dropped):
    """Say in the file's HISTORY what was done; the data models' own way to do so differs between their versions."""
    with fits.open(path, mode="update") as hdulist:
        history = hdulist[0].header.add_history
        history(f"{_MARK}: PHOTMJSR of {PurePath(photom).name} times 10**(0.4 z),")
        history(f"z of {table.name} (hash {table.digest})")
        for row in dropped:
            history(f"{_MARK}: the slope was left out of {row.label}")
