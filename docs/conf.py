"""Configuration of the documentation site, which `./dev docs` builds with Sphinx."""

import sys
from pathlib import Path

import numpydoc.xref

import fastdimse

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project = "fastdimse"
author = "the fastdimse authors"
version = release = fastdimse.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_parser",
    "command_reference",
    "public_names",
]
exclude_patterns = ["_extensions", "_templates"]
templates_path = ["_templates"]
html_static_path = ["_static"]
html_css_files = ["site.css"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
highlight_language = "python"

# `#heading` in a link is resolved as GitHub resolves it.
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]

autosummary_generate = True
autosummary_ignore_module_all = False
autodoc_typehints = "none"
# The modules of these engines are documented without them.
autodoc_mock_imports = ["daft", "dask", "datafusion", "distributed", "pyspark", "ray"]
# The class docstrings list the attributes; the members are documented below them.
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
# Types of parameters and results are links if they are public classes. numpydoc's own aliases need
# the inventory of Python's documentation.
numpydoc.xref.DEFAULT_LINKS.clear()
numpydoc_xref_param_type = True
numpydoc_xref_ignore = "all"
numpydoc_xref_aliases = {
    name: f"fastdimse.{name}"
    for name in fastdimse.__all__
    if isinstance(getattr(fastdimse, name), type)
}
toc_object_entries_show_parents = "hide"

# Inventories of other sites are not downloaded, so that the build needs no network. Names of the
# standard library and of other packages are shown without a link.
nitpick_ignore_regex = [(r"py:.*", r"(?!fastdimse).*")]

# Section 1 is for commands.
man_pages = [
    ("reference/command_line", "fastdimse", "encode, decode, send and receive DICOM events", [], 1)
]
man_show_urls = False

html_theme = "pydata_sphinx_theme"
html_title = f"fastdimse {release}"
html_sidebars = {"index": [], "get_started": []}
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "navbar_align": "left",
    "navbar_end": ["theme-switcher"],
    "show_toc_level": 2,
    "show_prev_next": True,
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
copyright = "the fastdimse authors, MIT licence"
