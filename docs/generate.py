"""Write what the docs take from the code: docs/theory.md, the README's table and figure, and the tables of studies and weights.

Run it as `make docs` does: `python docs/generate.py`. A test compares the texts with what it would write.
"""

import sys
from pathlib import Path

from analysis import claims, figures
from analysis.evidence import GROUPS, Claim, Context, select
from multires import data

sys.path.insert(0, str(Path(__file__).parent))
import hvae_pages
import hvae_study_pages
import learned_pages
import paper_pages
import speed_pages
import study_pages
import tests_of_claims

assert claims
ROOT = Path(__file__).parents[1]
BAR = r"\|"  # within a cell of a table
INTRODUCTION = """# Claims, code and tests

Written by `docs/generate.py` from the registry of claims. Notation is that of [conventions](conventions.md). The source of every
statement is "A Multi-Resolution Framework for U-Nets with Applications to Hierarchical VAEs" (arXiv 2301.08187), in this
project's own wording; `multires verify ID` measures it.
"""


def theory() -> str:
    """The text of docs/theory.md."""
    tests, parts = tests_of_claims.found(), [INTRODUCTION]
    for letter, title in GROUPS.items():
        parts.append(f"## {letter}. {title}\n")
        for claim in select([letter]):
            parts.append(_section(claim, tests.get(claim.id, [])) + learned_pages.paragraph(claim.id))
        if letter == "C":
            parts.append(study_pages.paragraph() + "\n")
    return "\n".join(parts)


def _section(claim: Claim, tests: list[str]) -> str:
    functions = ", ".join(f"`{name}`" for name in claim.functions)
    supported = [] if claim.id.startswith("E") else [f"tests/analysis/test_claims.py::test_supported[{claim.id}]"]
    marked = "\n".join(f"  * `{test}`" for test in supported + tests)
    return f"""### {claim.id}

{claim.sentence}

$$ {claim.formula} $$

* Kind: {claim.kind}. Measured in `{claim.measure.__module__}.{claim.measure.__name__}`.
* Control, which must fail: {claim.control}.
* Functions: {functions}
* Tests:
{marked}
"""


def readme_table() -> str:
    """The README's table: claim, statement, verdict, command."""
    found = paper_pages.verdicts()
    rows = [
        f"| {claim.id} | {claim.sentence.replace('|', BAR)} | {found[claim.id]['verdict']} | `multires verify {claim.id}` |"
        for claim in select([])
    ]
    return "\n".join(["| claim | statement | verdict | command |", "|---|---|---|---|", *rows]) + "\n"


def renewed(text: str, name: str, table: str) -> str:
    """A page with the table between its marks of this name renewed."""
    first, last = f"<!-- {name}: written by docs/generate.py -->\n", f"<!-- /{name} -->\n"
    before, _, rest = text.partition(first)
    _, _, after = rest.partition(last)
    return before + first + table + last + after


def readme(text: str) -> str:
    """The README with its table renewed."""
    return renewed(text, "claims", readme_table())


def reproduce(text: str) -> str:
    """docs/reproduce.md with its table renewed."""
    return renewed(text, "paper", paper_pages.table())


def hvaes(text: str) -> str:
    """docs/hvaes.md with its benchmarks renewed."""
    return renewed(text, "bench", speed_pages.tables())


def main() -> None:
    """Write all of them."""
    (ROOT / "docs" / "unet-basis.md").write_text(study_pages.table())
    (ROOT / "docs" / "hvae-weights.md").write_text(hvae_pages.table())
    (ROOT / "docs" / "hvae-studies.md").write_text(hvae_study_pages.page())
    (ROOT / "docs" / "theory.md").write_text(theory())
    pages = {"docs/reproduce.md": reproduce, "docs/hvaes.md": hvaes, "README.md": readme}
    for page, renew in ((ROOT / name, renew) for name, renew in pages.items()):
        page.write_text(renew(page.read_text()))
    (b2,) = select(["B2"])
    figures.draw("B2", b2.measure(Context(data.load("natural"), 0, "B2"))).savefig(ROOT / "docs" / "pyramid.png", dpi=110)


if __name__ == "__main__":
    main()
