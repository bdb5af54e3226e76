"""Sphinx: Markdown pages with mathematics, and the API from docstrings."""

import re

project = "multires"
copyright = "2026, the multires authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.mathjax"]
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "multires"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True}
nitpicky = False


def dollars_to_roles(app, what, name, obj, options, lines):
    """Docstrings write mathematics between dollars; reStructuredText wants a role."""
    text = "\n".join(lines).replace("*spatial", r"\*spatial")
    text = re.sub(r"\$\$([^$]+)\$\$", lambda match: f"\n\n.. math:: {' '.join(match[1].split())}\n\n", text)
    text = re.sub(r"\$([^$]+)\$", lambda match: f":math:`{' '.join(match[1].split())}`", text)
    text = re.sub(r"(?<![`\w])`([\w.]+)`(?![`_])", r"``\1``", text)
    lines[:] = text.split("\n")


def setup(app):
    app.connect("autodoc-process-docstring", dollars_to_roles)
