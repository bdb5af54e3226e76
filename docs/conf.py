"""Sphinx: Markdown pages with mathematics, and the API from docstrings."""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import claim_pages

project = "multires"
copyright = "2026, the multires authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "mathematics"]
html_math_renderer = "mathml"
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "record"]
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


def lead_to_claims(app, name, source):
    """In the theory each claim's heading is followed by the way to its page."""
    if name == "theory":
        source[0] = re.sub(r"^### (\w\d+)\n", r"### \1\n\n[Figure, code and tests](claims/\1.md)\n", source[0], flags=re.MULTILINE)


def setup(app):
    app.connect("builder-inited", lambda app: claim_pages.write())
    app.connect("source-read", lead_to_claims)
    app.connect("autodoc-process-docstring", dollars_to_roles)
