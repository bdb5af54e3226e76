"""The HTML report of a run: one self-contained page, figures inline, no network."""

import base64
import shlex
from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from analysis import figures
from analysis.evidence import Result
from analysis.record import Run
from analysis.terminal import scientific


def page(run: Run) -> str:
    """Return the page. All text is escaped; figures are SVG images with alternative texts."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"scientific": scientific, "shell": shlex.quote}
    template = environment.from_string(files("analysis").joinpath("report.html.j2").read_text(encoding="utf-8"))
    return template.render(
        run=run,
        figure={result.claim.id: _figure(result) for result in run.results},
        caption={result.claim.id: figures.CAPTIONS.get(result.claim.id, figures.DEFAULT_CAPTION) for result in run.results},
        supported=sum(result.verdict == "supported" for result in run.results),
        seconds=sum(result.seconds for result in run.results),
    )


def _figure(result: Result) -> str:
    """The claim's figure as a data address, or nothing where the claim measured nothing."""
    if result.evidence is None or not result.evidence.checks:
        return ""
    return "data:image/svg+xml;base64," + base64.b64encode(figures.svg(result.claim.id, result.evidence)).decode()
