"""Configuration of the documentation: ``sphinx-build -W -n docs docs/_build``."""

import importlib.metadata
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

project = "jwst_modfix"
author = "The jwst_modfix developers"
project_copyright = author
release = importlib.metadata.version("jwst-modfix")
version = release.split("+")[0]

extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.mathjax", "numpydoc", "schema_fields"]
exclude_patterns = ["_build"]
html_theme = "alabaster"
html_theme_options = {"description": "One flux scale for NIRCam's two modules", "page_width": "1000px"}

default_role = "code"
autosummary_generate = True
autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
# Names in signatures and in numpydoc's type lines that no inventory is fetched for: the build needs no network.
nitpick_ignore_regex = [("py:.*", r"(?!jwst_modfix\.(steps|reference|correction)\.\w+$).*")]
