"""The correction of one exposure, of a model in place or from file to file."""

from jwst_modfix import OffsetTable
from jwst_modfix.apply import decide
from jwst_modfix.apply.decide import Correction
from jwst_modfix.exposure import open_exposure

TABLE = OffsetTable.read()


def correct(model, **options):
    with open_exposure(model) as opened:
        return model, Correction(**{"table": TABLE, **options}).run(opened)


def correct_file(path, target, **options):
    return decide.correct_file(path, target, Correction(**{"table": TABLE, **options}))[0]
