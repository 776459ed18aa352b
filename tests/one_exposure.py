"""One exposure as it is planned, for the tests of the simulator."""

from jwst_modfix.simulate import JWIDF_EPOCHS, plan_exposures


def one_exposure(detector="NRCALONG", filter="F444W", epoch=0, **options):
    options = {"dithers": [(0, 0)], **options}
    return plan_exposures([JWIDF_EPOCHS[epoch]], filters=[filter], detectors=[detector], **options)[0]
