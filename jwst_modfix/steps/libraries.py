"""Libraries of exposures: made of an association, and copied."""

import copy
import weakref
from pathlib import Path

from jwst.datamodels import ModelLibrary

from jwst_modfix.files import HiddenFolder, remove_leftovers
from jwst_modfix.steps.associations import is_science, plain_copy

__all__ = ["AssociationLibrary", "copy_library"]


class AssociationLibrary(ModelLibrary):
    """
    Library of the science members of all products of an association.

    Other members, which may be catalogues, are never opened, and are not in the library.

    Parameters
    ----------
    association : Association
        The association.
    on_disk : bool
        Whether exposures live in files rather than in memory.
    group_ids : dict, optional
        Path of a science member to the identifier of its exposure, where known. Given only for members that are
        results on disk, with nothing left to record in them.
    """

    def __init__(self, association, *, on_disk, group_ids=None):
        content = plain_copy(association.content)
        product = content["products"][0]
        product["members"] = [m for each in content["products"] for m in each["members"] if is_science(m)]
        content["products"] = [product]
        for member in product["members"]:
            path = association.path(member)
            member["expname"] = str(path)
            if group_ids and group_ids.get(path):
                member.setdefault("group_id", group_ids[path])
        super().__init__(content, on_disk=on_disk)
        self.is_final = group_ids is not None

    def finalize_result(self, step, reference_files_used):
        """
        Record the step in each member, where that has not been done on writing.

        Parameters
        ----------
        step : stpipe.Step
            The step.
        reference_files_used : list of tuple
            Reference files by type.
        """
        if not self.is_final:
            super().finalize_result(step, reference_files_used)


def copy_library(library):
    """
    Copy a library, so that the caller's is left alone.

    Parameters
    ----------
    library : jwst.datamodels.ModelLibrary
        A library, in memory or on disk.

    Returns
    -------
    jwst.datamodels.ModelLibrary
        One of the same kind; on disk, its exposures are in a temporary folder that goes with it.
    """
    if not library.on_disk:
        return copy.deepcopy(library)
    beside = Path.cwd() / "library"
    remove_leftovers([beside])
    folder = HiddenFolder(beside)
    content = plain_copy(library.asn)
    with library:
        for index, member in enumerate(content["products"][0]["members"]):
            model = library.borrow(index)
            place = folder.path / f"{index}"
            place.mkdir()
            member["expname"] = str((place / Path(model.meta.filename or "model.fits").name).resolve())
            model.save(member["expname"])
            library.shelve(model, index, modify=False)
    duplicate = ModelLibrary(content, on_disk=True)
    weakref.finalize(duplicate, folder.remove)
    return duplicate
