"""A data model, open for correction in memory."""

import functools

from jwst_modfix.apply.factor import apply_factor
from jwst_modfix.steps.keywords import FIELDS, SCALED, SUBARRAY
from jwst_modfix.steps.open_exposure import ARRAYS_BY_POWER, OpenExposure
from jwst_modfix.table.validity import Exposure

__all__ = ["ModelExposure"]


class ModelExposure(OpenExposure):
    """A data model, open for correction in place."""

    def __init__(self, model):
        self.model = model

    def describe(self, *, headers_only=False):  # noqa: D102 - inherited
        wcs = self.read_wcs()
        return Exposure(
            name=self.model.meta.filename or "in-memory model",
            shape=self.model.shape,
            frames=() if wcs is None else tuple(wcs.available_frames),
            **{field: self._meta(path) for field, path, _, _ in FIELDS},
            **{field: tuple(self._meta(path) for path, _ in pair) for field, pair in SUBARRAY.items()},
        )

    def scale_pixels(self, factor_map, *, undo=False):  # noqa: D102 - inherited
        apply_factor(factor_map, *self._arrays(), undo=undo)

    def check(self):  # noqa: D102 - inherited
        self._arrays()

    def _arrays(self):
        """Arrays that take the factor, and those that take its square."""
        present = self.model.instance
        return tuple(
            [self._array(name) for name in names if present.get(name) is not None] for names in ARRAYS_BY_POWER
        )

    def scale_photometry(self, factor):  # noqa: D102 - inherited
        for path, _, _ in SCALED:
            value = self._meta(path)
            if value is not None:
                node, name = path.rsplit(".", 1)
                setattr(self._meta(node), name, value * factor)

    def read_wcs(self, last=None):  # noqa: D102 - inherited
        return self._meta("wcs")

    def cards(self):  # noqa: D102 - inherited
        return {card[0]: card[1] for card in self._primary_cards()}

    def replace_cards(self, cards):  # noqa: D102 - inherited
        kept = [card for card in self._primary_cards() if not self.is_ours(card[0])]
        extra = self.model.instance.setdefault("extra_fits", {}).setdefault("PRIMARY", {})
        extra["header"] = [*kept, *(list(card) for card in cards)]

    def read_node(self):  # noqa: D102 - inherited
        return self.model.meta.instance.get("module_offset", {})

    def read_status_node(self):  # noqa: D102 - inherited
        return self._meta("cal_step.module_offset")

    def write_node(self, status, node):  # noqa: D102 - inherited
        meta = self.model.meta.instance
        steps = meta.setdefault("cal_step", {})
        for parent, name, value in ((steps, "module_offset", status), (meta, "module_offset", node)):
            if value:
                parent[name] = value
            else:
                parent.pop(name, None)

    def _primary_cards(self):
        """Cards of the primary header that no schema knows: ``[keyword, value, comment]`` each."""
        return self.model.instance.get("extra_fits", {}).get("PRIMARY", {}).get("header", [])

    def _array(self, name):
        return self.check_array(getattr(self.model, name), name, self.model.shape, self.model.meta.filename)

    def _meta(self, path):
        """Look up ``meta.<path>``; None where a part of it is missing."""
        return functools.reduce(lambda node, name: getattr(node, name, None), path.split("."), self.model.meta)
