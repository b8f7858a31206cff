"""How Sphinx builds the documentation: `make site`, offline, warnings as errors."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

project = "fine-tuning"
project_copyright = "the authors of fine-tuning, MIT licence"
version = release = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
    "version"
]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
nitpicky = False

# Anchors of headings, as GitHub makes them, so that one link works on both.
myst_heading_anchors = 4
myst_enable_extensions = ["deflist"]

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = "fine-tuning"
html_favicon = "_static/icon.svg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
# Everything comes from this machine: system fonts, no images or scripts of other hosts.
html_theme_options = {
    "light_css_variables": {"font-stack": "system-ui, sans-serif"},
    "footer_icons": [],
}
