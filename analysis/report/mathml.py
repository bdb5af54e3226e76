"""LaTeX to MathML, which browsers draw and screen readers speak without a script or a network."""

import re
from typing import Literal
from xml.etree import ElementTree

from latex2mathml.converter import convert
from markupsafe import Markup

ELEMENT = re.compile(
    r"\{http://www\.w3\.org/1998/Math/MathML\}"
    "(math|mrow|mi|mn|mo|mtext|mspace|mfrac|msqrt|msup|msub|msubsup|munder|mover|munderover|mstyle)"
)
ATTRIBUTE = re.compile(
    "display|displaystyle|scriptlevel|stretchy|fence|form|accent|minsize|maxsize|movablelimits|width|mathvariant"
)


def block(latex: str) -> Markup:
    """A displayed formula; its LaTeX as code where it holds what is no formula, or what the converter does not know."""
    formula = _converted(latex, "block")
    if formula is None:
        return Markup("<p><code>{}</code></p>").format(latex)
    return Markup('<div class="wide formula" tabindex="0" role="group" aria-label="formula">{}</div>').format(formula)


def inline(latex: str) -> Markup:
    """A formula within a line, or its LaTeX as code."""
    formula = _converted(latex, "inline")
    return Markup("<code>{}</code>").format(latex) if formula is None else formula


def _converted(latex: str, display: Literal["block", "inline"]) -> Markup | None:
    try:
        found = convert(latex, display=display)
        parts = list(ElementTree.fromstring(found).iter())
    except Exception:  # whatever a record holds, the page has to be written
        return None
    known = all(ELEMENT.fullmatch(part.tag) and all(map(ATTRIBUTE.fullmatch, part.attrib)) for part in parts)
    if not known or "\\" in found:  # it leaves commands that it does not know as they are, and markup in texts
        return None
    return Markup(found.replace("<math ", Markup('<math alttext="{}" ').format(latex), 1))
