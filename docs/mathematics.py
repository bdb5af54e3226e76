"""Sphinx: formulas as MathML, by the converter that the report uses, so that the site needs no network and no script."""

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging

from analysis.report import mathml

LOGGER = logging.getLogger(__name__)


def _inline(translator, node: nodes.Element) -> None:
    translator.body.append(_converted(mathml.inline, node))
    raise nodes.SkipNode


def _block(translator, node: nodes.Element) -> None:
    translator.body.append(_converted(mathml.block, node))
    raise nodes.SkipNode


def _converted(convert, node: nodes.Element) -> str:
    found = str(convert(node.astext()))
    if "<math" not in found:
        LOGGER.warning("no formula: %s", node.astext(), location=node)
    return found


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True}
