"""The correction of one exposure, of a model in place or from file to file."""

from jwst_modfix.apply.decide import Correction
from jwst_modfix.steps.fits_exposure import open_fits
from jwst_modfix.steps.model_exposure import ModelExposure
from jwst_modfix.table.model import choose_reference

TABLE = choose_reference()


def correct(model, **options):
    decision = Correction(**{"table": TABLE, **options}).run(ModelExposure(model))
    return model, decision


def correct_file(path, target, **options):
    with open_fits(path) as opened:
        decision = Correction(**{"table": TABLE, **options}).run(opened)
        opened.save(target)
    return decision
