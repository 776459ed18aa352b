"""The reference file as a data model: text, validated when opened and saved."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Any

import yaml
from asdf.tags.core import AsdfObject
from stdatamodels.jwst.datamodels import ReferenceFileModel

from jwst_modfix.errors import ReferenceTableError
from jwst_modfix.table import file
from jwst_modfix.table.table import OffsetTable

__all__ = ["ModuleOffsetModel"]


class ModuleOffsetModel(ReferenceFileModel):
    """
    Reference file of flux offsets and gradients (``reftype: moduleoffset``).

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

    schema_url = file.SCHEMA_URI

    def __init__(self, init: Any = None, **kwargs: Any) -> None:
        name = None
        if isinstance(init, str | PurePath):
            path = file.expand(init, is_table=True)
            name, init = path.name, file.read_tree(path)
            file.read_table(path, tree=init)
        elif isinstance(init, OffsetTable):
            name, init = init.name, file.tree_from_table(init)
        elif not isinstance(init, dict | ModuleOffsetModel | None):
            raise ReferenceTableError(f"a table must be a path, a tree or a model, got {type(init).__name__}")
        elif isinstance(init, dict):
            init = file.own_tree(init)
            file.table_from_tree(init, "table")
        super().__init__(AsdfObject(init) if isinstance(init, dict) else init, **kwargs)
        if name is not None:
            self.meta.filename = name

    @property
    def table(self) -> OffsetTable:
        """The table in memory, checked and named after the file."""
        return self._check(self.override_handle)

    def _check(self, name: str) -> OffsetTable:
        table: OffsetTable = file.table_from_tree(file.own_tree(self._instance), name)
        return table

    @property
    def override_handle(self) -> str:
        """Name of the table, where stpipe and our headers would show a file's."""
        return str(self.meta.filename or "table")

    def validate(self) -> None:
        """Check the rules of a table; a `ReferenceTableError` lists all violations."""
        if {"offsets", "zero_points"} & set(self._instance):
            self._check(self.override_handle)

    def to_asdf(self, init: Any, *_: Any, **__: Any) -> None:  # numpydoc ignore=PR01
        """Write the file as text, whole or not at all, with keys in reading order."""
        self._check(Path(init).name)
        self.on_save(init)
        file.write_tree(file.own_tree(self._instance), Path(init))

    def save(self, path: Any, dir_path: Any = None, *args: Any, **kwargs: Any) -> str:  # numpydoc ignore=PR01,RT01
        """Write a valid table whole or not at all; the name must end in ``.asdf``."""
        file.check_name(path)
        return str(super().save(path, dir_path, *args, **kwargs))


# stpipe writes the parameters of a step into the log as YAML: a table is named there, and not written out.
yaml.add_representer(ModuleOffsetModel, lambda dumper, model: dumper.represent_str(model.override_handle))
