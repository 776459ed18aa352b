"""The reference file as a data model: validated on opening and on saving, text without binary blocks."""

import os
from pathlib import Path, PurePath

from asdf.tags.core import AsdfObject
from stdatamodels.jwst.datamodels import ReferenceFileModel

from jwst_modfix.files import written_whole
from jwst_modfix.table.file import (
    ENVIRONMENT_VARIABLE,
    PACKAGED_TABLE,
    check_name,
    read_table_file,
    read_tree,
    table_from_tree,
    tree_from_table,
    without_empty,
    write_tree,
)
from jwst_modfix.table.rules import SCHEMA_URI, SCHEMA_VERSION

__all__ = [
    "ENVIRONMENT_VARIABLE",
    "PACKAGED_TABLE",
    "REFTYPE",
    "ModuleOffsetModel",
    "choose_reference",
    "explain_choice",
]


REFTYPE = "moduleoffset"

_OF_ASDF = ("asdf_library", "history")  # written by the asdf library, none of the table's


class ModuleOffsetModel(ReferenceFileModel):
    """
    Reference file of module A/B flux offsets and gradients (``reftype: moduleoffset``).

    The file is plain YAML in an ASDF file, to be read and edited in a text editor. It is checked when it is opened
    and when it is saved.

    Parameters
    ----------
    init : str, pathlib.Path, dict, ModuleOffsetModel or None
        An ASDF file, its tree, another model, or None for an empty model to be filled.
    **kwargs : dict
        Passed to `~stdatamodels.jwst.datamodels.ReferenceFileModel`.

    Raises
    ------
    ReferenceTableError
        The file cannot be read, or breaks a rule; names the file, the row (array, filter, pupil) and the field.
    """

    schema_url = SCHEMA_URI

    def __init__(self, init=None, **kwargs):
        path = init if isinstance(init, str | PurePath) else None
        if path is not None:
            init = read_tree(path)
        if isinstance(init, dict):
            init = AsdfObject(_plain(init))
            table_from_tree(init, str(path or "table"))
        super().__init__(init, **kwargs)
        if path is not None:
            self.meta.filename = PurePath(path).name

    @classmethod
    def from_table(cls, table, **meta):
        """
        Make a reference file of a table.

        Parameters
        ----------
        table : OffsetTable
            The table.
        **meta : dict
            ``description``, ``author``, ``pedigree``, ``useafter``, and optionally ``history`` (list of str) and
            ``derivation`` (dict).

        Returns
        -------
        ModuleOffsetModel
            The model, checked.

        Raises
        ------
        ReferenceTableError
            A field of ``meta`` is missing, or a value of the table breaks a rule.
        """
        fixed = {"reftype": REFTYPE, "schema_version": SCHEMA_VERSION, "telescope": "JWST"}
        model = cls({"meta": {**fixed, "instrument": {"name": "NIRCAM"}, **meta}, **tree_from_table(table)})
        model.meta.filename = table.name
        return model

    @property
    def table(self):
        """
        The table in memory.

        Returns
        -------
        OffsetTable
            The checked table, named after the file.
        """
        return table_from_tree(self._plain_tree(), self._name)

    @property
    def override_handle(self):
        """
        Name of the table, where stpipe and our headers would show a file's.

        Returns
        -------
        str
            The file's name.
        """
        return self._name

    def validate(self):
        """
        Check the model against the schema.

        Raises
        ------
        ReferenceTableError
            A rule is broken; the message lists every place.
        """
        if "offsets" in self._instance:
            table_from_tree(self._plain_tree(), self._name)

    def to_asdf(self, init, *args, **kwargs):
        """
        Write the file as text, with the keys in the order in which a person reads them.

        Parameters
        ----------
        init : str
            Path of the file.
        *args, **kwargs
            Accepted as the base class does; there is nothing to choose.
        """
        self.on_save(init)
        self.validate()
        write_tree(self._plain_tree(), init)

    def save(self, path, dir_path=None, *args, **kwargs):
        """
        Write the file, whole or not at all.

        Parameters
        ----------
        path : str or pathlib.Path
            Name of the file, ending in ``.asdf``.
        dir_path : str, optional
            Folder, over the one in ``path``.
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

    def _plain_tree(self):
        return _plain(self._instance)

    @property
    def _name(self):
        return self.meta.filename or "table"


def _plain(tree):
    """Copy the tree of a table, without what is empty and what the asdf library adds."""
    return without_empty({key: value for key, value in tree.items() if key not in _OF_ASDF})


def choose_reference(override=None):
    """
    Choose the table: the user's own, else the environment's, else the packaged one.

    Parameters
    ----------
    override : str, pathlib.Path, ModuleOffsetModel or None
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
    if isinstance(override, ModuleOffsetModel):
        return override.table
    path = override or os.environ.get(ENVIRONMENT_VARIABLE) or PACKAGED_TABLE
    return read_table_file(path).table  # not by way of the model, which loads every extension of asdf, half a second


def explain_choice(override=None):
    """
    Say where the chosen table is from.

    Parameters
    ----------
    override : str, pathlib.Path, ModuleOffsetModel or None
        As for `choose_reference`.

    Returns
    -------
    str
        The place, in words.
    """
    if isinstance(override, ModuleOffsetModel):
        return "given as a model"
    if override:
        return f"from {override}"
    chosen = os.environ.get(ENVIRONMENT_VARIABLE)
    return f"from {chosen}, as ${ENVIRONMENT_VARIABLE} says" if chosen else f"from the package, {PACKAGED_TABLE}"
