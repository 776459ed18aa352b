"""Members of an association in, the corrected association out."""

import contextlib
import copy
import json
import os
import warnings
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jwst.associations import AssociationRegistry
from jwst.datamodels import ModelLibrary

from jwst_modfix.errors import AssociationError
from jwst_modfix.files import part_folder, remove_leftovers, written_whole
from jwst_modfix.text import has_hidden

__all__ = [
    "Association",
    "AssociationLibrary",
    "copy_library",
    "is_science",
    "plain_copy",
    "read_association",
    "write_association",
]


_MAX_BYTES = 64 * 1024**2  # an association of 10,000 members takes 2 MB
_MAX_DEPTH = 32  # products, members and their fields are six levels deep; deeper text only exhausts the writer
_OF_MEMBER = ("expname", "exptype")
_MAX_NAME = 200  # characters, as names of products become names of files


@dataclass(frozen=True)
class Association:
    """
    An association, and where its members are.

    Parameters
    ----------
    content : dict
        The association as it is in its file.
    folder : pathlib.Path
        The folder that its members' names are relative to.
    stem : str
        Its name without ``.json`` and ``_asn``.
    """

    content: dict
    folder: Path
    stem: str

    @property
    def members(self):
        """Members of every product, in order: list of dict."""
        return [member for product in self.content["products"] for member in product["members"]]

    @property
    def science(self):
        """Paths of the science members, each once: list of pathlib.Path."""
        return list(dict.fromkeys(self.path(member) for member in self.members if is_science(member)))

    @property
    def others(self):
        """Paths of the members that are not science members, each once: list of pathlib.Path."""
        return list(dict.fromkeys(self.path(member) for member in self.members if not is_science(member)))

    def path(self, member):
        """Find a member's file."""
        return Path(os.path.abspath(self.folder / member["expname"]))  # noqa: PTH100 - keeps links


def is_science(member):
    """Tell a science member from a background, a catalogue and the like."""
    return str(member.get("exptype", "")).lower() == "science"


def read_association(source):
    """Read an association."""
    if isinstance(source, Mapping):
        content, folder = _plain_mapping(source), Path.cwd()
        name = content.get("table_name") or "association"
        _check_name(name, "association", "table_name")
    else:
        content, folder, name = _load(Path(source)), Path(source).parent, str(source)
    stem = Path(name).stem.removesuffix("_asn")
    _check(content, name)
    if isinstance(source, Mapping) and "table_name" not in content:
        stem = Path(content["products"][0]["name"]).name
    return Association(content, Path(os.path.abspath(folder)), stem)  # noqa: PTH100 - keeps links


def write_association(association, renamed, path):
    """Write the association of corrected exposures, with every member's path right for its new place."""
    content = plain_copy(association.content)
    for product in content["products"]:
        for member in product["members"]:
            source = association.path(member)
            target = renamed[source] if is_science(member) else source
            member["expname"] = os.path.relpath(target, path.parent)
    text = json.dumps(content, indent=4) + "\n"
    if not _holds(path, text):  # a run that resumes and finds all done touches nothing
        with written_whole(path) as partial:
            partial.write_text(text, encoding="utf-8")
    return Association(content, path.parent, path.stem.removesuffix("_asn"))


def _holds(path, text):
    try:
        return path.read_bytes() == text.encode()
    except OSError:
        return False


def plain_copy(content):
    """Copy an association."""
    return json.loads(json.dumps(content, default=dict))


def _plain_mapping(source):
    try:
        return plain_copy(source)
    except (TypeError, ValueError, RecursionError) as error:
        raise AssociationError(f"association: must hold text, numbers, lists and mappings only: {error}") from error


def _load(path):
    if path.suffix.lower() != ".json":
        raise AssociationError(f"{path}: is neither an exposure (.fits, .asdf) nor an association (.json)")
    text = _read(path)
    try:
        json.loads(text, object_pairs_hook=_unique, parse_constant=_no_number)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Input association file contains path information")
            return dict(AssociationRegistry().load(text, fmt="json"))
    except Exception as error:  # the rules and their parsers let through anything that they raise
        raise AssociationError(f"{path}: is not an association: {error}") from error


def _read(path):
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        raise AssociationError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise AssociationError(f"{path}: cannot be read: {error}") from error
    if len(content) > _MAX_BYTES:
        raise AssociationError(f"{path}: is larger than {_MAX_BYTES} bytes, too large for an association")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise AssociationError(f"{path}: is not UTF-8 text: {error}") from error


def _unique(pairs):
    """Refuse what JSON leaves open: a key that stands twice."""
    keys = [key for key, _ in pairs]
    for key in set(keys):
        if keys.count(key) > 1:
            raise ValueError(f"key {key!r} stands twice")
    return dict(pairs)


def _no_number(constant):
    raise ValueError(f"{constant} is no number of JSON")


def _check_name(name, where, what):
    """Refuse names that are no names of files, before they become such."""
    if not isinstance(name, str) or not Path(name).name.strip(". ") or len(name) > _MAX_NAME or has_hidden(name):
        raise AssociationError(
            f"{where}: {what} must be text of 1 to {_MAX_NAME} characters to name files by, got {str(name)[:60]!r}"
        )


def _check_depth(content, name):
    level = [content]
    for _ in range(_MAX_DEPTH):
        level = [v for part in level if isinstance(part, dict | list) for v in _values(part)]
    if level:
        raise AssociationError(f"{name}: is nested more than {_MAX_DEPTH} levels deep")


def _values(part):
    return part.values() if isinstance(part, dict) else part


def _check(content, name):
    """Hold the structure that every later line relies on."""
    _check_depth(content, name)
    products = content.get("products")
    if not isinstance(products, list) or not products:
        raise AssociationError(f"{name}: must have a list of products, got {products!r}")
    for product in products:
        members = product.get("members") if isinstance(product, dict) else None
        if not isinstance(members, list) or not isinstance(product.get("name"), str):
            raise AssociationError(f"{name}: each product must have a name and a list of members, got {product!r}")
        _check_name(product["name"], name, "name of a product")
        for member in members:
            if not isinstance(member, dict) or not all(isinstance(member.get(key), str) for key in _OF_MEMBER):
                raise AssociationError(f"{name}: each member must have an expname and an exptype, got {member!r}")
    if not any(is_science(member) for product in products for member in product["members"]):
        raise AssociationError(f"{name}: has no member of exptype science")


class AssociationLibrary(ModelLibrary):
    """Library of the science members of all products of an association.

    Other members, which may be catalogues, are never opened, and are not in the library.
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
        """Record the step in each member, where that has not been done on writing."""
        if not self.is_final:
            super().finalize_result(step, reference_files_used)


def copy_library(library):
    """Copy a library, so that the caller's is left alone."""
    if not library.on_disk:
        return copy.deepcopy(library)
    remove_leftovers([Path.cwd()])
    stack = contextlib.ExitStack()
    folder = stack.enter_context(part_folder(Path.cwd()))
    content = plain_copy(library.asn)
    with library:
        for index, member in enumerate(content["products"][0]["members"]):
            model = library.borrow(index)
            place = folder / f"{index}"
            place.mkdir()
            member["expname"] = str((place / Path(model.meta.filename or "model.fits").name).resolve())
            model.save(member["expname"])
            library.shelve(model, index, modify=False)
    duplicate = ModelLibrary(content, on_disk=True)
    weakref.finalize(duplicate, stack.close)
    return duplicate
