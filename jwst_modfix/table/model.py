"""The reference file as a data model: validated on opening and on saving, text without binary blocks."""

from __future__ import annotations

import os
from pathlib import Path, PurePath
from typing import Any

from asdf.tags.core import AsdfObject
from stdatamodels.jwst.datamodels import ReferenceFileModel

from jwst_modfix.files import written_whole
from jwst_modfix.table.file import (
    ENVIRONMENT_VARIABLE,
    PACKAGED_TABLE,
    SCHEMA_URI,
    check_name,
    locate_table,
    plain_tree,
    read_table,
    read_tree,
    table_from_tree,
    tree_from_table,
    write_tree,
)
from jwst_modfix.table.table import OffsetTable

__all__ = [
    "ENVIRONMENT_VARIABLE",
    "PACKAGED_TABLE",
    "REFTYPE",
    "ModuleOffsetModel",
    "choose_reference",
    "explain_choice",
]


REFTYPE = "moduleoffset"

_OF_ASDF = ("asdf_library", "history")  # written by the asdf library; no part of the table


class ModuleOffsetModel(ReferenceFileModel):
    """
    Reference file of module A/B flux offsets and gradients (``reftype: moduleoffset``).

    The file is plain YAML in an ASDF file, to be read and edited in a text editor. It is checked when it is opened
    and when it is saved.

    Parameters
    ----------
    init : str, pathlib.Path, dict, OffsetTable, ModuleOffsetModel or None
        An ASDF file or the word ``packaged``, the tree of a file, a table, another model, or None for an empty model
        to be filled.
    **kwargs : dict
        Passed to `~stdatamodels.jwst.datamodels.ReferenceFileModel`.

    Raises
    ------
    ReferenceTableError
        The file cannot be read, or breaks a rule; names the file, the row (array, filter, pupil) and the field.
    """

    schema_url = SCHEMA_URI

    def __init__(self, init: Any = None, **kwargs: Any) -> None:
        name = None
        if isinstance(init, str | PurePath):
            path = locate_table(init)
            name, init = path.name, read_tree(path)
            table_from_tree(init, str(path))
        elif isinstance(init, OffsetTable):
            name, init = init.name, tree_from_table(init)
        if isinstance(init, dict):
            init = AsdfObject(_plain(init))
            table_from_tree(init, name or "table")
        super().__init__(init, **kwargs)
        if name is not None:
            self.meta.filename = name

    @classmethod
    def from_table(cls, table: OffsetTable, **meta: Any) -> ModuleOffsetModel:
        """
        Make a reference file of a table.

        Parameters
        ----------
        table : OffsetTable
            The table.
        **meta : dict
            Fields of the block ``meta``, in place of the table's own: ``description``, ``author``, ``pedigree``,
            ``useafter``, ``history`` (list of str), ``derivation`` (dict). Only a description is needed.

        Returns
        -------
        ModuleOffsetModel
            The model, checked.

        Raises
        ------
        ReferenceTableError
            The description is missing, or a value breaks a rule.
        """
        tree = tree_from_table(table, **meta)
        model = cls(tree)
        model.meta.filename = table.name
        return model

    @property
    def table(self) -> OffsetTable:
        """
        The table in memory.

        Returns
        -------
        OffsetTable
            The checked table, named after the file.
        """
        table: OffsetTable = table_from_tree(self._plain_tree(), self._name)
        return table

    @property
    def override_handle(self) -> str:
        """
        Name of the table, where stpipe and our headers would show a file's.

        Returns
        -------
        str
            The file's name.
        """
        return self._name

    def validate(self) -> None:
        """
        Check the model against the rules of a table.

        Raises
        ------
        ReferenceTableError
            A rule is broken; the message lists every place.
        """
        if "offsets" in self._instance:
            table_from_tree(self._plain_tree(), self._name)

    def to_asdf(self, init: Any, *args: Any, **kwargs: Any) -> None:
        """
        Write the file as text, with the keys in the order in which a person reads them.

        Parameters
        ----------
        init : str
            Path of the file.
        *args, **kwargs
            Accepted as the base class does; not used.
        """
        self.on_save(init)
        self.validate()
        write_tree(self._plain_tree(), Path(init))

    def save(self, path: Any, dir_path: Any = None, *args: Any, **kwargs: Any) -> str:
        """
        Write the file, whole or not at all.

        Parameters
        ----------
        path : str or pathlib.Path
            Name of the file, ending in ``.asdf``.
        dir_path : str, optional
            Folder, in place of the one in ``path``.
        *args, **kwargs
            Passed to `to_asdf`.

        Returns
        -------
        str
            The path written.

        Raises
        ------
        ReferenceTableError
            The name does not end in ``.asdf``, or the table breaks a rule.
        """
        target = Path(dir_path or Path(path).parent) / Path(path).name
        check_name(target)
        table_from_tree(self._plain_tree(), target.name)
        with written_whole(target) as partial:
            super().save(str(partial), None, *args, **kwargs)
        return str(target)

    def _plain_tree(self) -> dict[str, Any]:
        return _plain(self._instance)

    @property
    def _name(self) -> str:
        return str(self.meta.filename or "table")


def _plain(tree: Any) -> dict[str, Any]:
    """Copy the tree of a table, without what is empty and what the asdf library adds."""
    plain: dict[str, Any] = plain_tree({key: value for key, value in tree.items() if key not in _OF_ASDF})
    return plain


def choose_reference(override: Any = None) -> OffsetTable:
    """
    Choose the table: the user's own, else the environment's, else the packaged one.

    Parameters
    ----------
    override : str, pathlib.Path, OffsetTable, ModuleOffsetModel or None
        The step parameter ``override_moduleoffset``.

    Returns
    -------
    OffsetTable
        The table, checked.

    Raises
    ------
    ReferenceTableError
        The chosen file cannot be read or breaks a rule.
    """
    if isinstance(override, OffsetTable):
        return override
    if isinstance(override, ModuleOffsetModel):
        return override.table
    # Not by way of the model, which loads every extension of asdf: half a second.
    table: OffsetTable = read_table(override or os.environ.get(ENVIRONMENT_VARIABLE) or PACKAGED_TABLE)
    return table


def explain_choice(override: Any = None) -> str:
    """
    Say where the chosen table is from.

    Parameters
    ----------
    override : str, pathlib.Path, OffsetTable, ModuleOffsetModel or None
        As for `choose_reference`.

    Returns
    -------
    str
        The place, in words.
    """
    if isinstance(override, OffsetTable | ModuleOffsetModel):
        return "given as a model"
    if override:
        return f"from {override}"
    chosen = os.environ.get(ENVIRONMENT_VARIABLE)
    return f"from {chosen}, set by ${ENVIRONMENT_VARIABLE}" if chosen else f"from the package, {PACKAGED_TABLE}"
