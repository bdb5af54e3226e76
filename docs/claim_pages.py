"""What the site has of each claim: a page with its formula, figure, code and tests, and a gallery of all figures.

They are drawn from docs/record when the site is built, and not kept.
"""

from pathlib import Path

import tests_of_claims

from analysis import claims, figures, record
from analysis.evidence import GROUPS, Claim, Result, select

assert claims
HERE = Path(__file__).parent
FOLDER = HERE / "claims"


def write() -> None:
    """Write the pages and their figures, and the gallery."""
    FOLDER.mkdir(exist_ok=True)
    results = {result.claim.id: result for result in record.read(HERE / "record").results}
    tests = tests_of_claims.found()
    for claim in select([]):
        result = results[claim.id]
        assert result.evidence, f"docs/record has no evidence of {claim.id}: measure it where its images are"
        _put(FOLDER / f"{claim.id}.svg", figures.render(claim.id, result.evidence))
        _put(FOLDER / f"{claim.id}.md", _page(claim, result, tests[claim.id]).encode())
    _put(HERE / "gallery.md", _gallery(results).encode())


def _put(path: Path, content: bytes) -> None:
    """Only what is new is written, so that only that is built again."""
    if not path.exists() or path.read_bytes() != content:
        path.write_bytes(content)


def _figure(claim: Claim, to: str = "") -> str:
    caption = figures.CAPTIONS.get(claim.id, figures.DEFAULT_CAPTION)
    picture = f"![Claim {claim.id}: {caption}]({'claims/' if to else ''}{claim.id}.svg)"
    return (f"[{picture}]({to})" if to else picture) + f"\n\n{caption}\n"


def _page(claim: Claim, result: Result, tests: list[str]) -> str:
    source, _, _ = claim.source.partition(":")
    functions = ", ".join(f"{{any}}`{name}`" for name in claim.functions)
    why = f": {result.reason}" if result.reason else ""
    parts = [
        f"# {claim.id}\n\n{claim.sentence}\n\n$$ {claim.formula} $$\n",
        f"**{result.verdict.capitalize()}**{why}. `multires verify {claim.id}` measures it.\n",
        _figure(claim),
        f"It is about {functions}.\n",
        f"## How it is measured\n\nControl, which must fail: {claim.control}.\n",
        _code(source, claim.measure.__name__),
        "## Its tests\n",
        *(f"`{test}`\n\n{_code(*test.split('::'))}" for test in tests),
    ]
    return "\n".join(parts)


def _code(file: str, function: str) -> str:
    return f"```{{literalinclude}} ../../{file}\n:language: python\n:pyobject: {function}\n:lineno-match:\n```\n"


def _gallery(results: dict[str, Result]) -> str:
    parts = [
        "# Gallery\n\nThe figures of all claims, from one run. Each leads to its claim, the code that measures it, and its tests.\n"
    ]
    parts.append("```{toctree}\n:hidden:\n\n" + "\n".join(f"claims/{id}" for id in results) + "\n```\n")
    for letter, title in GROUPS.items():
        parts.append(f"## {letter}. {title}\n")
        for claim in select([letter]):
            parts.append(
                f"### {claim.id}: {results[claim.id].verdict}\n\n{claim.sentence}\n\n{_figure(claim, f'claims/{claim.id}.md')}"
            )
    return "\n".join(parts)
