"""Members of an association in, the corrected association out."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jwst_modfix.errors import AssociationError, OutputError
from jwst_modfix.exposure import JOB_KEYWORD, read_primary_header
from jwst_modfix.files import identify, locate, write_text
from jwst_modfix.text import has_hidden, is_url, log

_MAX_BYTES = 64 * 1024**2  # an association of 10,000 members takes 2 MB
_MAX_DEPTH = 32  # products, members and their fields are six levels deep; deeper text only exhausts the writer
_MAX_NAME = 200  # characters, as names of products become names of files
_PATHS = ("expname", "tweakreg_catalog")  # fields of a member that name files, whether these exist or not
_TEXTS = ("exptype", "epoch", "group_id", "asn_candidate")  # and fields that never do


@dataclass(frozen=True)
class Association:
    """An association, and where its members are."""

    content: dict[str, Any]  # as in its file
    folder: Path  # the names of members are relative to it
    stem: str  # its name without .json and _asn
    source: Path | None = None  # its file

    @property
    def members(self) -> list[dict[str, Any]]:
        """Members of every product, in order."""
        return [member for product in self.content["products"] for member in product["members"]]

    @property
    def science(self) -> list[Path]:
        """Paths of the science members, each once."""
        return list(dict.fromkeys(self.path(member["expname"]) for member in self.members if is_science(member)))

    @property
    def files(self) -> list[Path]:
        """Paths of every file that the association names, and its own."""
        found = [] if self.source is None else [self.source]
        for member in self.members:
            self.move(member, lambda path, _: found.append(path))
        return found

    def path(self, name: str) -> Path:
        """Find the absolute path of a file that a member names."""
        return locate(self.folder / name)

    def move(self, value: Any, change: Callable[[Path, bool], Any], key: str = "", is_exposure: bool = False) -> Any:
        """Copy members; replace names of files by ``change(path, is_science_exposure)``."""
        if isinstance(value, dict):
            return {name: self.move(item, change, name, is_science(value)) for name, item in value.items()}
        if isinstance(value, list):
            return [self.move(item, change, key) for item in value]
        is_name = isinstance(value, str) and value.strip() and not is_url(value) and key not in _TEXTS
        if is_name and (key in _PATHS or os.path.isfile(self.folder / value)):  # noqa: PTH113 - the same
            return change(self.path(value), is_exposure and key == "expname")
        return value

    def warn_of_missing(self) -> None:
        """Warn of members that are not there and that the correction does not need."""
        for member in self.members:
            path = self.path(member["expname"])
            if not is_science(member) and not os.path.isfile(path):  # noqa: PTH113 - no error for an impossible name
                log.warning("%s: no such file; it is not a science member, and the correction does not need it", path)

    def corrected(
        self, suffix: str, path: Path | None = None, renamed: Mapping[Path | None, Path] | None = None
    ) -> Association:
        """Describe the corrected association; its paths are relative to its file."""

        def place(source: Path, is_exposure: bool) -> str:
            target = renamed.get(source, source) if renamed and is_exposure else source
            return os.path.relpath(target, path.parent) if path else str(target)

        content = plain_copy(self.content)
        for product in content["products"]:  # of another name, so that its mosaic does not replace an uncorrected one
            product["name"] = rename_product(product["name"], suffix)
            product["members"] = self.move(product["members"], place)
            for member in filter(is_science, product["members"]):
                member["exptype"] = "science"  # as stock steps expect it
        folder, stem = (path.parent, path.stem.removesuffix("_asn")) if path else (self.folder, self.stem)
        return Association(content, folder, stem, path)


def is_science(member: Any) -> bool:
    """Test whether a member, or the exptype of one, is of type science."""
    exptype = member.get("exptype") if isinstance(member, Mapping) else member
    return str(exptype).strip().lower() == "science"


def rename_product(name: str, suffix: str) -> str:
    """Name the product of corrected exposures, once for however many corrections."""
    return f"{re.sub('_(?:un)?modfix$', '', name)}_{suffix}"


def read_association(source: Any) -> Association:
    """Read an association: a JSON file, or a mapping such as the pipeline's object."""
    if isinstance(source, Mapping):
        path, folder = None, Path.cwd()
        try:
            content = plain_copy(source)
        except (TypeError, ValueError, RecursionError) as error:
            raise AssociationError(f"association: must hold text, numbers, lists and mappings only: {error}") from error
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


def refuse_mixture(path: Path, folder: Path, names: Collection[str], correction: str) -> None:
    """Refuse to mix outputs of two corrections in an association of their folder."""
    try:
        association = read_association(path)
    except AssociationError:
        return
    members = [member for member in association.science if identify(member.parent) == identify(folder)]
    shared = sorted({member.name for member in members}.intersection(names))
    others = [
        member.name
        for member in members
        if identify(member) and str(read_primary_header(member).get(JOB_KEYWORD)).partition("-")[0] != correction
    ]
    if shared and others:
        others.sort(key=shared.__contains__)  # name one that stays, where there is one
        raise OutputError(
            f"{path}: names {', '.join(shared)}, to be written now, and {others[0]} of another table, parameters "
            f"or version: set output_dir, or remove {path.name}"
        )


def write_association(association: Association) -> None:
    """Write an association to its place."""
    text = json.dumps(association.content, indent=4) + "\n"
    with contextlib.suppress(OSError, ValueError):
        if Path(str(association.source)).read_text(encoding="utf-8") == text:
            return  # a run that resumes and finds all done touches nothing
    write_text(association.source, text)


def plain_copy(content: Any) -> Any:
    """Copy an association as plain values; other mappings become dicts."""
    return json.loads(json.dumps(content, default=dict))


def _load(path: Path) -> Any:
    if path.suffix.lower() != ".json":
        raise AssociationError(f"{path}: is neither an exposure (.fits, .asdf) nor an association (.json)")
    if not os.path.isfile(path) and os.path.exists(path):  # noqa: PTH110, PTH113 - no error for an impossible name
        raise AssociationError(f"{path}: is not a regular file")
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
        return json.loads(content.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise AssociationError(f"{path}: is not UTF-8 text: {error}") from error
    except (ValueError, RecursionError) as error:
        raise AssociationError(f"{path}: is not an association: {error}") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse duplicate keys, which JSON allows."""
    content: dict[str, Any] = {}
    for key, value in pairs:
        if key in content:
            raise ValueError(f"duplicate key {key!r}")
        content[key] = value
    return content


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not a number of JSON")


def _check_name(name: Any, where: str, what: str) -> None:
    """Refuse names that cannot be names of files."""
    if not isinstance(name, str) or not Path(name).name.strip(". ") or len(name) > _MAX_NAME or has_hidden(name):
        raise AssociationError(
            f"{where}: {what} must be text of 1 to {_MAX_NAME} characters to name files by, got {str(name)[:60]!r}"
        )


def _check(content: Any, name: str) -> None:
    """Check the structure that every later line relies on."""
    level = [content]
    for _ in range(_MAX_DEPTH):
        parts = [part.values() if isinstance(part, dict) else part for part in level if isinstance(part, dict | list)]
        level = list(itertools.chain.from_iterable(parts))
    if level:
        raise AssociationError(f"{name}: is nested more than {_MAX_DEPTH} levels deep")
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
    if not isinstance(member, dict) or not all(isinstance(member.get(key), str) for key in ("expname", "exptype")):
        raise AssociationError(f"{name}: each member must have an expname and an exptype, got {member!r}")
    if any("\0" in value for value in member.values() if isinstance(value, str)):
        raise AssociationError(f"{name}: a member has a null character in {member!r}")
    if is_url(member["expname"]):
        raise AssociationError(f"{name}: {member['expname']} is a URL; download the file and name the copy")
    group = member.get("group_id")
    if not isinstance(group, str | int | None) or isinstance(group, bool):
        raise AssociationError(f"{name}: group_id of {member['expname']} must be text or a whole number, got {group!r}")
