"""The members of a derivation, from any input that names files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jwst_modfix.errors import AssociationError
from jwst_modfix.steps.associations import Association, is_science, read_association

__all__ = ["Members", "find_members"]


@dataclass(frozen=True)
class Members:
    """
    The files to derive from.

    Parameters
    ----------
    paths : tuple of pathlib.Path
        The files.
    epochs : tuple
        The epoch that the association gives each; None where it gives none.
    product : str
        Name of the product.
    where : str
        What the files are members of, for messages.
    """

    paths: tuple
    epochs: tuple
    product: str
    where: str


def find_members(given, locate=Path):
    """Find the files that an input names."""
    if isinstance(given, str | Path):
        given = Path(locate(str(given)))
        if given.suffix.lower() != ".fits":
            return _of_association(read_association(given), str(given))
        given = [given]
    if isinstance(given, Mapping):
        given = read_association(given)
    if isinstance(given, Association):
        return _of_association(given, given.stem)
    if not isinstance(given, Sequence) or not given or not all(isinstance(item, str | Path) for item in given):
        raise AssociationError(
            f"input must be an association, or files of calibrated exposures; got {type(given).__name__}"
        )
    paths = tuple(dict.fromkeys(Path(locate(str(item))) for item in given))
    return Members(paths, (None,) * len(paths), "derived", "list of files")


def _of_association(association, where):
    epochs = {association.path(member): member.get("epoch") for member in association.members if is_science(member)}
    product = Path(association.content["products"][0]["name"]).name
    return Members(tuple(epochs), tuple(epochs.values()), product, where)
