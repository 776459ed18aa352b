"""Members of an association in, the corrected association out."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import re
import weakref
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jwst.datamodels import ModelLibrary
from jwst.datamodels.utils import attrs_to_group_id

from jwst_modfix.errors import AssociationError
from jwst_modfix.files import explained, locate, part_folder, remove_leftovers, written_whole
from jwst_modfix.text import get_logger, has_hidden

log = get_logger(f"stpipe.{__name__}")

_MAX_BYTES = 64 * 1024**2  # an association of 10,000 members takes 2 MB
_MAX_DEPTH = 32  # products, members and their fields are six levels deep; deeper text only exhausts the writer
_MAX_NAME = 200  # characters, as names of products become names of files
_OF_MEMBER = ("expname", "exptype")
_PATHS = ("expname", "tweakreg_catalog")  # fields of a member that name files, whether these exist or not
_OURS = re.compile("_(?:un)?modfix$")


@dataclass(frozen=True)
class Association:
    """An association, and where its members are."""

    content: dict  # as in its file
    folder: Path  # the names of members are relative to it
    stem: str  # its name without .json and _asn
    source: Path | None = None  # its file

    @property
    def members(self) -> list[dict]:
        """Members of every product, in order."""
        return [member for product in self.content["products"] for member in product["members"]]

    @property
    def science(self) -> list[Path]:
        """Paths of the science members, each once."""
        return list(dict.fromkeys(self.path(member) for member in self.members if is_science(member)))

    @property
    def others(self) -> list[Path]:
        """Paths of the members that are not science members, each once."""
        return list(dict.fromkeys(self.path(member) for member in self.members if not is_science(member)))

    @property
    def files(self) -> list[Path]:
        """Paths of every file that the association names, and its own."""
        named = [self.path(member, key) for member in self.members for key in self.path_keys(member)]
        return [*dict.fromkeys(named), *([self.source] if self.source else [])]

    def path(self, member: Mapping[str, Any], key: str = "expname") -> Path:
        """Absolute path of a file that a member names."""
        return locate(self.folder / member[key])

    def path_keys(self, member: Mapping[str, Any]) -> list[str]:
        """Fields of a member that name files: those known to, and those whose text is the name of a file."""
        texts = [key for key, value in member.items() if isinstance(value, str) and value.strip()]
        return [key for key in texts if key in _PATHS or (key not in _OF_MEMBER and self._names_file(member[key]))]

    def _names_file(self, text: Any) -> bool:
        try:
            return (self.folder / text).is_file()
        except (OSError, ValueError):  # too long, or with a null character
            return False

    def warn_of_missing(self) -> None:
        """Warn of members that are not there and that the correction does not need."""
        for path in self.others:
            if not path.is_file():
                log.warning("%s: no such file; it is not a science member, and the correction does not need it", path)

    def corrected(
        self, suffix: str, path: Path | None = None, renamed: Mapping[Path, Path] | None = None
    ) -> Association:
        """Describe the corrected association.

        Its products have other names, so that a corrected mosaic does not replace an uncorrected one. Paths
        are relative to the place of its file, ``path``, or absolute where it has none.
        """
        content = _plain_copy(self.content)
        for product in content["products"]:
            product["name"] = f"{_OURS.sub('', product['name'])}_{suffix}"
            for member in product["members"]:
                if is_science(member):
                    member["exptype"] = "science"  # as stock steps expect it
                for key in self.path_keys(member):
                    target = source = self.path(member, key)
                    if renamed and key == "expname" and is_science(member):
                        target = renamed[source]
                    member[key] = os.path.relpath(target, os.path.realpath(path.parent)) if path else str(target)
        folder, stem = (path.parent, path.stem.removesuffix("_asn")) if path else (self.folder, self.stem)
        return Association(content, folder, stem, path)


def is_science(member: Any) -> bool:
    """Test whether a member, or the exptype of one, is of type science."""
    exptype = member.get("exptype") if isinstance(member, Mapping) else member
    return str(exptype).strip().lower() == "science"


def read_association(source: Any) -> Association:
    """Read an association: a JSON file, or a mapping such as an Association object of the pipeline."""
    if isinstance(source, Mapping):
        content, path, folder = _plain_mapping(source), None, Path.cwd()
        name = content.get("table_name") or "association"
        _check_name(name, "association", "table_name")
    else:
        path = locate(source)
        content, folder, name = _load(Path(source)), path.parent, str(source)
    stem = Path(name).stem.removesuffix("_asn")
    _check(content, name)
    if path is None and "table_name" not in content:
        stem = Path(content["products"][0]["name"]).name
    return Association(content, folder, stem, path)


def write_association(association: Association) -> None:
    """Write an association to its place."""
    text = json.dumps(association.content, indent=4) + "\n"
    if not _holds(association.source, text):  # a run that resumes and finds all done touches nothing
        with written_whole(association.source) as partial:
            partial.write_text(text, encoding="utf-8")


def _holds(path: Path, text: str) -> bool:
    try:
        return path.read_bytes() == text.encode()
    except OSError:
        return False


def _plain_copy(content: Any) -> Any:
    return json.loads(json.dumps(content, default=dict))


def _plain_mapping(source: Any) -> Any:
    try:
        return _plain_copy(source)
    except (TypeError, ValueError, RecursionError) as error:
        raise AssociationError(f"association: must hold text, numbers, lists and mappings only: {error}") from error


def _load(path: Path) -> Any:
    if path.suffix.lower() != ".json":
        raise AssociationError(f"{path}: is neither an exposure (.fits, .asdf) nor an association (.json)")
    text = _read(path)
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise AssociationError(f"{path}: is not an association: {error}") from error


def _read(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        raise AssociationError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise AssociationError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(content) > _MAX_BYTES:
        raise AssociationError(f"{path}: is larger than {_MAX_BYTES} bytes, too large for an association")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise AssociationError(f"{path}: is not UTF-8 text: {error}") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse duplicate keys, which JSON allows."""
    keys = [key for key, _ in pairs]
    for key in set(keys):
        if keys.count(key) > 1:
            raise ValueError(f"duplicate key {key!r}")
    return dict(pairs)


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not a number of JSON")


def _check_name(name: Any, where: str, what: str) -> None:
    """Refuse names that cannot be names of files."""
    if not isinstance(name, str) or not Path(name).name.strip(". ") or len(name) > _MAX_NAME or has_hidden(name):
        raise AssociationError(
            f"{where}: {what} must be text of 1 to {_MAX_NAME} characters to name files by, got {str(name)[:60]!r}"
        )


def _check_depth(content: Any, name: str) -> None:
    level = [content]
    for _ in range(_MAX_DEPTH):
        level = [v for part in level if isinstance(part, dict | list) for v in _values(part)]
    if level:
        raise AssociationError(f"{name}: is nested more than {_MAX_DEPTH} levels deep")


def _values(part: Any) -> Any:
    return part.values() if isinstance(part, dict) else part


def _check(content: Any, name: str) -> None:
    """Check the structure that every later line relies on."""
    _check_depth(content, name)
    products = content.get("products") if isinstance(content, dict) else None
    if not isinstance(products, list) or not products:
        raise AssociationError(f"{name}: is not an association: it must have a list of products, got {products!r}")
    for product in products:
        members = product.get("members") if isinstance(product, dict) else None
        if not isinstance(members, list) or not isinstance(product.get("name"), str):
            raise AssociationError(f"{name}: each product must have a name and a list of members, got {product!r}")
        _check_name(product["name"], name, "name of a product")
        for member in members:
            _check_member(member, name)
    if not any(is_science(member) for product in products for member in product["members"]):
        raise AssociationError(f"{name}: has no member of exptype science")


def _check_member(member: Any, name: str) -> None:
    if not isinstance(member, dict) or not all(isinstance(member.get(key), str) for key in _OF_MEMBER):
        raise AssociationError(f"{name}: each member must have an expname and an exptype, got {member!r}")
    if any("\0" in value for value in member.values() if isinstance(value, str)):
        raise AssociationError(f"{name}: a member has a null character in {member!r}")
    if "://" in member["expname"]:
        raise AssociationError(f"{name}: {member['expname']} is a URL; download the file and name the copy")
    if not isinstance(member.get("group_id", ""), str):
        raise AssociationError(f"{name}: group_id of {member['expname']} must be text, got {member['group_id']!r}")


class AssociationLibrary(ModelLibrary):
    """Library of the science members of all products of an association.

    Other members, which may be catalogues, are never opened, and are not in the library.
    """

    def __init__(self, association: Association, *, on_disk: bool, groups: Mapping[Path, Any] | None = None) -> None:
        content = _plain_copy(association.content)
        product = content["products"][0]
        product["members"] = [m for each in content["products"] for m in each["members"] if is_science(m)]
        content["products"] = [product]
        for member in product["members"]:
            path = association.path(member)
            if group := groups and groups.get(path):
                member.setdefault("group_id", attrs_to_group_id(group) if isinstance(group, dict) else group)
            member |= {key: str(association.path(member, key)) for key in association.path_keys(member)}
        super().__init__(content, on_disk=on_disk)
        self.is_final = groups is not None

    def finalize_result(self, step: Any, reference_files_used: list[tuple[str, str]]) -> None:
        """Record the step in each member, where that has not been done on writing."""
        if not self.is_final:
            super().finalize_result(step, reference_files_used)


def borrowed(library: ModelLibrary, indices: Iterable[int], *, modify: bool = True) -> Iterator[Any]:
    """Borrow one model after the other from an open library, and give each back."""
    for index in indices:
        model = library.borrow(index)
        try:
            yield model
        finally:
            library.shelve(model, index, modify=modify)


def copy_library(library: ModelLibrary) -> ModelLibrary:
    """Copy a library, so that the caller's is left alone."""
    if not library.on_disk:
        return copy.deepcopy(library)
    remove_leftovers([Path.cwd()])
    stack = contextlib.ExitStack()
    with explained(Path.cwd(), "cannot be written to"):
        folder = stack.enter_context(part_folder(Path.cwd()))
    original = Association(_plain_copy(library.asn), Path(library.asn_dir), "")
    with library:
        for index, member in enumerate(original.members):
            model = library.borrow(index)
            member |= {key: str(original.path(member, key)) for key in original.path_keys(member)}
            place = folder / f"{index}"
            place.mkdir()
            member["expname"] = str((place / Path(model.meta.filename or "model.fits").name).resolve())
            model.save(member["expname"])
            library.shelve(model, index, modify=False)
    duplicate = ModelLibrary(original.content, on_disk=True)
    weakref.finalize(duplicate, stack.close)
    return duplicate
