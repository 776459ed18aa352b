"""Members of an association in, the corrected association out."""

import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jwst.associations import load_asn

from jwst_modfix.errors import AssociationError
from jwst_modfix.files import written_whole

__all__ = ["Association", "is_science", "plain_copy", "read_association", "write_association"]


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
        """
        Find a member's file.

        Parameters
        ----------
        member : dict
            A member of the association.

        Returns
        -------
        pathlib.Path
            Its absolute path.
        """
        return Path(os.path.abspath(self.folder / member["expname"]))  # noqa: PTH100 - keeps links


def is_science(member):
    """
    Tell a science member from a background, a catalogue and the like.

    Parameters
    ----------
    member : dict
        A member of an association.

    Returns
    -------
    bool
        Whether its exposure type is science.
    """
    return str(member.get("exptype", "")).lower() == "science"


def read_association(source):
    """
    Read an association.

    Parameters
    ----------
    source : str, pathlib.Path or Mapping
        Its file, or its content with members' names relative to the working directory.

    Returns
    -------
    Association
        The association.

    Raises
    ------
    AssociationError
        It cannot be read, is none, or has no science member.
    """
    if isinstance(source, Mapping):
        content, folder = plain_copy(source), Path.cwd()
        name = content.get("table_name") or "association"
    else:
        content, folder, name = _load(Path(source)), Path(source).parent, str(source)
    stem = Path(name).stem.removesuffix("_asn")
    _check(content, name)
    if isinstance(source, Mapping) and "table_name" not in content:
        stem = Path(content["products"][0]["name"]).name
    return Association(content, Path(os.path.abspath(folder)), stem)  # noqa: PTH100 - keeps links


def write_association(association, renamed, path):
    """
    Write the association of corrected exposures, with every member's path right for its new place.

    Parameters
    ----------
    association : Association
        The association of the inputs.
    renamed : dict
        Input path to output path of each science member.
    path : pathlib.Path
        The file to write.

    Returns
    -------
    Association
        The association that stands in the file.
    """
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
    """
    Copy an association.

    Parameters
    ----------
    content : Mapping
        The association; its parts may be any mappings.

    Returns
    -------
    dict
        A copy of plain dicts and lists.
    """
    return json.loads(json.dumps(content, default=dict))


def _load(path):
    if path.suffix.lower() not in (".json", ".yaml", ".yml"):
        raise AssociationError(f"{path}: is neither an exposure (.fits, .asdf) nor an association (.json)")
    try:
        with path.open() as file, warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Input association file contains path information")
            return dict(load_asn(file))
    except FileNotFoundError:
        raise AssociationError(f"{path}: no such file") from None
    except Exception as error:  # the loader lets anything through that its rules and parsers raise
        raise AssociationError(f"{path}: is not an association: {error}") from error


def _check(content, name):
    """Hold the structure that every later line relies on."""
    products = content.get("products")
    if not isinstance(products, list) or not products:
        raise AssociationError(f"{name}: must have a list of products, got {products!r}")
    for product in products:
        members = product.get("members") if isinstance(product, dict) else None
        if not isinstance(members, list) or not isinstance(product.get("name"), str):
            raise AssociationError(f"{name}: each product must have a name and a list of members, got {product!r}")
        for member in members:
            if not isinstance(member, dict) or not isinstance(member.get("expname"), str):
                raise AssociationError(f"{name}: each member must have an expname, got {member!r}")
    if not any(is_science(member) for product in products for member in product["members"]):
        raise AssociationError(f"{name}: has no member of exptype science")
