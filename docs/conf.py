"""Configuration of the documentation: ``make docs``."""

import importlib.metadata
import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE / "figures")]
os.environ["STPIPE_DISABLE_CRDS_STEPPARS"] = "true"  # the tutorials run without network
os.environ["OMP_NUM_THREADS"] = "1"
REPORT = HERE / "modfix_demo" / "report"  # which the notebook writes: the example of a report
REPORT.mkdir(parents=True, exist_ok=True)

project = "jwst_modfix"
author = "The jwst_modfix developers"
project_copyright = author
release = importlib.metadata.version("jwst-modfix")
version = release.split("+")[0]

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "myst_nb",
    "numpydoc",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    "sphinx-mathjax-offline",
    "schema_fields",
    "step_parameters",
]
exclude_patterns = ["_build", "modfix_demo", "gallery/*.ipynb", "tutorials/*.ipynb"]  # those of sphinx-gallery
html_theme = "pydata_sphinx_theme"
html_title = project
html_theme_options = {
    "navbar_center": [],  # the sidebar has all pages
    "navbar_align": "left",
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "secondary_sidebar_items": {"**": ["page-toc"], "own_data": ["page-toc", "download_notebook"]},
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
}
html_sidebars = {"**": ["page_groups"]}
templates_path = ["_templates"]
html_extra_path = [str(REPORT.relative_to(HERE))]
html_static_path = ["_static"]
html_css_files = ["modfix.css"]
html_context = {"default_mode": "light"}
copybutton_prompt_text = ">>> "

nb_execution_timeout = 600  # seconds, of a cell
nb_execution_raise_on_error = True
nb_merge_streams = True

sphinx_gallery_conf = {
    "examples_dirs": ["../examples/tutorials", "../examples/gallery"],
    "gallery_dirs": ["tutorials", "gallery"],
    "within_subsection_order": "FileNameSortKey",
    "filename_pattern": r"plot_",
    "abort_on_example_error": True,
    "remove_config_comments": True,
    "show_memory": False,
    "write_computation_times": False,
    "capture_repr": (),  # what a tutorial has to show it prints
    "download_all_examples": False,
}

default_role = "code"
autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
# The build needs no network, and so no inventories: names of other packages in signatures have no page to point to.
# Neither have classes that are not published, which appear as types of attributes.
nitpick_ignore_regex = [
    ("py:.*", r"(?!jwst_modfix\.).*"),
    ("py:class", r"jwst_modfix\.(photometry|derivation\.bands|fitting\.(pairs|linear|separability|design|fields))\..*"),
]


def setup(app):
    """Draw the figures that are made of the code and of the data in the documentation."""
    import architecture
    import pages
    import photmjsr_change

    architecture.draw(HERE / "images" / "architecture.svg")
    pages.draw(HERE / "images")
    photmjsr_change.draw(HERE / "images" / "photmjsr_change.svg")
