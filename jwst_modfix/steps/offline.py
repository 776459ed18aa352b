"""A step that starts, and logs, with no network."""

from jwst.stpipe import Step as JwstStep
from stpipe import config_parser

__all__ = ["OfflineStep"]


class OfflineStep(JwstStep):
    """A step of ours: it asks CRDS nothing, and its log lines are shown."""

    @classmethod
    def get_config_from_reference(cls, *_args, **_kwargs):
        """
        Take no parameters from CRDS, which has none for this step, so that it starts with no network.

        Returns
        -------
        stpipe.config_parser.ConfigObj
            An empty configuration.
        """
        return config_parser.ConfigObj()

    @classmethod
    def _get_crds_parameters(cls, _dataset):
        """Open no input only to ask CRDS about it."""
        return {}, "jwst"

    @staticmethod
    def get_stpipe_loggers():
        """
        Name the loggers that stpipe sets up and records.

        Returns
        -------
        tuple of str
            The jwst loggers and ours.
        """
        return (*JwstStep.get_stpipe_loggers(), "jwst_modfix")
