"""Level-3 associations of simulated exposures, for calwebb_image3 and for the derivation of offsets."""

import json
from pathlib import Path

__all__ = ["write_associations"]


def write_associations(output_dir, field, exposures):
    """
    Write the associations of a data set: per epoch and filter, per filter, and of everything.

    Parameters
    ----------
    output_dir : path-like
        Where the exposures are.
    field : str
        Name of the field, for the names of files and products.
    exposures : sequence of Exposure
        The exposures.

    Returns
    -------
    list of pathlib.Path
        ``<field>_<epoch>_<filter>_image3_asn.json``, ``<field>_<filter>_image3_asn.json`` and
        ``<field>_image3_asn.json``, whose members carry their epoch.
    """
    epochs = dict.fromkeys(exposure.epoch.name for exposure in exposures)
    bands = dict.fromkeys(exposure.band.name for exposure in exposures)
    taken = {(exposure.epoch.name, exposure.band.name) for exposure in exposures}
    choices = [(epoch, band) for band in bands for epoch in epochs if (epoch, band) in taken]
    choices += [(None, band) for band in bands] + [(None, None)]
    return [_write(Path(output_dir), field, exposures, epoch, band) for epoch, band in choices]


def _write(output_dir, field, exposures, epoch, band):
    members = [
        exposure
        for exposure in exposures
        if epoch in (None, exposure.epoch.name) and band in (None, exposure.band.name)
    ]
    product = "_".join(part for part in (field, epoch, band and band.lower()) if part)
    path = output_dir / f"{'_'.join(part for part in (field, epoch, band) if part)}_image3_asn.json"
    path.write_text(json.dumps(_association(product, members, path.name), indent=2) + "\n")
    return path


def _association(product, exposures, name):
    return {
        "asn_type": "image3",
        "asn_rule": "Asn_Lv3Image",
        "asn_id": "a3001",
        "asn_pool": name.replace("_image3_asn.json", "_pool.csv"),
        "program": f"{exposures[0].program:05d}",
        "target": "t001",
        "version_id": None,
        "code_version": "jwst_modfix.simulate",
        "degraded_status": "No known degraded exposures in association.",
        "constraints": "No constraints",
        "products": [{"name": product, "members": [_member(exposure) for exposure in exposures]}],
    }


def _member(exposure):
    return {
        "expname": exposure.filename,
        "exptype": "science",
        "exposerr": "null",
        "epoch": exposure.epoch.name,
    }
