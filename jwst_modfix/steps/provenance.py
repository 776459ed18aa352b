"""The record of a correction in a data model: FITS cards that survive later saves, and the exact factor."""

import numpy as np

from jwst_modfix.correction.factor import FactorMap
from jwst_modfix.correction.record import STATUS_KEYWORD, AppliedOffset, all_keywords

__all__ = ["clear_record", "mark_skipped", "read_factor", "read_record", "read_status", "write_record"]

_SKIPPED_CARD = (STATUS_KEYWORD, "SKIPPED", "Module offset correction")
_COMPLETE_CARD = (STATUS_KEYWORD, "COMPLETE", "Module offset correction")


def write_record(model, record, factor_map):
    """
    Record a correction in the model that it was applied to.

    Parameters
    ----------
    model : stdatamodels.jwst.datamodels.JwstDataModel
        The corrected exposure, changed in place.
    record : AppliedOffset
        What was taken out.
    factor_map : FactorMap
        The factor that did it, for the undo.
    """
    _replace_cards(model, [_COMPLETE_CARD, *record.cards()])
    model.meta.cal_step.module_offset = "COMPLETE"
    # The cards are the record. The coefficients save the undo from a WCS that a later step has adjusted.
    model.meta.module_offset = {"factor": factor_map.coefficients.tolist(), "shape": list(factor_map.shape)}


def mark_skipped(model):
    """
    Record that a model was left as it was.

    Parameters
    ----------
    model : stdatamodels.jwst.datamodels.JwstDataModel
        The exposure, changed in place.
    """
    clear_record(model)
    _replace_cards(model, [_SKIPPED_CARD])
    model.meta.cal_step.module_offset = "SKIPPED"


def clear_record(model):
    """
    Take every trace of a correction out of a model's metadata.

    Parameters
    ----------
    model : stdatamodels.jwst.datamodels.JwstDataModel
        The exposure, changed in place.
    """
    _replace_cards(model, [])
    for node, name in ((model.meta.cal_step, "module_offset"), (model.meta, "module_offset")):
        node.instance.pop(name, None)


def read_status(model):
    """
    Say what we did to a model before.

    Parameters
    ----------
    model : stdatamodels.jwst.datamodels.JwstDataModel
        The exposure.

    Returns
    -------
    status : str or None
        ``"COMPLETE"``, ``"SKIPPED"`` or None.
    history : str
        By which table and when, in words.
    """
    cards = _cards(model)
    status = cards.get(STATUS_KEYWORD) or getattr(model.meta.cal_step, "module_offset", None)
    return status, f"by {cards.get('R_MODOFF')} on {cards.get('MODFDATE')}"


def read_record(model):
    """
    Read the record of a correction.

    Parameters
    ----------
    model : stdatamodels.jwst.datamodels.JwstDataModel
        A corrected exposure.

    Returns
    -------
    AppliedOffset
        What was taken out.

    Raises
    ------
    KeyError
        A card of the record is missing.
    """
    return AppliedOffset.from_cards(_cards(model))


def read_factor(model):
    """
    Read the exact factor of a correction.

    Parameters
    ----------
    model : stdatamodels.jwst.datamodels.JwstDataModel
        A corrected exposure.

    Returns
    -------
    FactorMap or None
        None where the model carries none, or one of another shape than its data.
    """
    record = model.meta.instance.get("module_offset", {})
    if tuple(record.get("shape", ())) != model.shape:
        return None
    return FactorMap(np.asarray(record["factor"], dtype=float), model.shape)


def _primary_cards(model):
    """Cards of the primary header that no schema knows: ``[keyword, value, comment]`` each."""
    return model.instance.get("extra_fits", {}).get("PRIMARY", {}).get("header", [])


def _cards(model):
    return {card[0]: card[1] for card in _primary_cards(model)}


def _replace_cards(model, cards):
    ours = all_keywords()
    kept = [card for card in _primary_cards(model) if card[0] not in ours]
    if kept or cards:
        extra = model.instance.setdefault("extra_fits", {}).setdefault("PRIMARY", {})
        extra["header"] = [*kept, *(list(card) for card in cards)]
    elif "extra_fits" in model.instance:
        model.instance["extra_fits"].get("PRIMARY", {}).pop("header", None)
