"""Configuration of the documentation: ``make docs``."""

import importlib.metadata
import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE / "figures")]
os.environ["STPIPE_DISABLE_CRDS_STEPPARS"] = "true"  # the tutorials run without network
os.environ["OMP_NUM_THREADS"] = "1"

project = "jwst_modfix"
author = "The jwst_modfix developers"
project_copyright = author
release = importlib.metadata.version("jwst-modfix")
version = release.split("+")[0]

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "numpydoc",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    "sphinx-mathjax-offline",
    "schema_fields",
]
exclude_patterns = ["_build"]
html_theme = "pydata_sphinx_theme"
html_title = project
html_copy_source = False
html_theme_options = {
    "navbar_align": "left",
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
}
html_sidebars = {"*": [], "tutorials/*": [], "development/*": []}  # they have no pages below them
html_static_path = ["_static"]
html_css_files = ["modfix.css"]
html_context = {"default_mode": "light"}
copybutton_prompt_text = ">>> "

sphinx_gallery_conf = {
    "examples_dirs": "../examples/tutorials",
    "gallery_dirs": "tutorials",
    "within_subsection_order": "FileNameSortKey",
    "filename_pattern": r"plot_",
    "abort_on_example_error": True,
    "remove_config_comments": True,
    "show_memory": False,
    "capture_repr": (),  # what a tutorial has to show it prints
    "download_all_examples": False,
}

default_role = "code"
autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
# The build needs no network, hence no inventories: names of other packages in signatures have no page to point to.
# Neither have classes that are not published, which appear as types of attributes.
nitpick_ignore_regex = [
    ("py:.*", r"(?!jwst_modfix\.).*"),
    ("py:class", r"jwst_modfix\.(photometry|derivation\.bands|fitting\.pairs)\..*"),
]


def setup(app):
    """Draw the figures that are made of the code and of the data in the documentation."""
    import architecture
    import photmjsr_change

    architecture.draw(HERE / "images" / "architecture.svg")
    photmjsr_change.draw(HERE / "images" / "photmjsr_change.svg")
