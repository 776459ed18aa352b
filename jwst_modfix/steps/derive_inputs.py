"""The members of a derivation, from any input that names files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jwst_modfix.derivation.members import Members
from jwst_modfix.errors import AssociationError
from jwst_modfix.steps.associations import Association, is_science, read_association

__all__ = ["find_members"]


def find_members(given: Any, locate: Callable[[str], str | Path] = Path) -> Members:
    """Find the files that an input names: an association, a file, or a list of files."""
    where = None
    if isinstance(given, str | Path):
        given = Path(locate(str(given)))
        where = str(given)
        given = [given] if given.suffix.lower() == ".fits" else read_association(given)
    elif isinstance(given, Mapping):
        given = read_association(given)
    if isinstance(given, Association):
        epochs = {given.path(member): member.get("epoch") for member in given.members if is_science(member)}
        product = Path(given.content["products"][0]["name"]).name
        return Members(tuple(epochs), tuple(epochs.values()), product, where or given.stem)
    if not isinstance(given, Sequence) or not given or not all(isinstance(item, str | Path) for item in given):
        raise AssociationError(
            f"input must be an association, or files of calibrated exposures; got {type(given).__name__}"
        )
    paths = tuple(dict.fromkeys(Path(locate(str(item))) for item in given))
    return Members(paths, (None,) * len(paths), "derived", "list of files")
