"""The page: the template filled with a run, what changed against another, models, studies and benchmarks."""

import base64
import hashlib
import os
import shlex
from collections import Counter
from collections.abc import Sequence
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from analysis import figures
from analysis.evidence import GROUPS, Result
from analysis.record import Run
from analysis.report import changes, mathml
from analysis.report.models import HEADINGS, Card
from analysis.report.tables import Table
from analysis.terminal import scientific
from multires import files

MARKS = {"supported": "✓", "not supported": "✗", "skipped": "–"}
SOURCES = Path(__file__).parents[2]
HERE = resources("analysis.report")


def page(run: Run, folder: Path, other: Run | None = None, models: Sequence[Card] = (), tables: Sequence[Table] = ()) -> str:
    """Return the page that is to lie in `folder`, with `other` beside `run` where it is given.

    All text is escaped; figures are SVG images with alternative texts; the page's own rules forbid it to load anything, and any
    script but the one that filters its claims. Raises MultiresError where a figure cannot be drawn from what the run holds.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"scientific": scientific, "shell": shlex.quote, "mathml": mathml.block, "image": _data_address}
    style, script = (HERE.joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    ours = {result.claim.id for result in run.results}
    there = {result.claim.id: result for result in other.results if result.claim.id in ours} if other else {}
    return environment.from_string(HERE.joinpath("page.html.j2").read_text(encoding="utf-8")).render(
        run=run,
        other=other,
        there=there,
        change=changes.claims(run, other) if other else {},
        missing=changes.missing(run, other) if other else [],
        circumstances=changes.circumstances(run, other) if other else [],
        groups=[(letter, title, found) for letter, title in GROUPS.items() if (found := _of(run, letter))],
        counts=_counts,
        figure={result.claim.id: _figure(result) for result in run.results},
        figure_there={id: _figure(result) for id, result in there.items()},
        caption=lambda id: figures.CAPTIONS.get(id, figures.DEFAULT_CAPTION),
        link=lambda result: _link(result, folder),
        marks=MARKS,
        seconds=sum(result.seconds for result in run.results),
        models=models,
        model_headings=HEADINGS,
        tables=tables,
        style=Markup(style),
        script=Markup(script),
        hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _of(run: Run, letter: str) -> list[Result]:
    return [result for result in run.results if result.claim.id[0] == letter]


def _counts(results: list[Result]) -> Counter[str]:
    return Counter(result.verdict for result in results)


def _figure(result: Result) -> str:
    """The claim's figure as a data address, or nothing where the claim measured nothing."""
    if result.evidence is None or not result.evidence.checks:
        return ""
    return _data_address(figures.render(result.claim.id, result.evidence))


def _data_address(svg: bytes) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode()


def _link(result: Result, folder: Path) -> str:
    """The way from the page to the source, at the claim's registration; nothing where it is not on this machine."""
    name, _, _ = result.claim.source.partition(":")
    path = SOURCES / os.path.normpath(name)
    if not (files.exists(path) and path.is_file() and path.is_relative_to(SOURCES) and ".." not in path.parts):
        return ""
    way: Any = os.path.relpath(path, folder.resolve())
    return f"{Path(way).as_posix()}#:~:text=%22{result.claim.id}%22%2C"
