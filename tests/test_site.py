"""The site: built strictly, at home in any window, and in need of no network."""

import subprocess
import sys
from pathlib import Path

import pytest

from analysis.evidence import REGISTRY
from tests.browser import chromium, opened

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.xdist_group("site")  # built once


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("sphinx", reason="sphinx is not installed: pip install multires-toolkit[docs]")
    out = tmp_path_factory.mktemp("site")
    build = [
        sys.executable,
        "-m",
        "sphinx",
        "--fail-on-warning",
        "--quiet",
        "-b",
        "html",
        "-d",
        str(out / "trees"),
        "docs",
        str(out),
    ]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


def test_every_claim_has_a_page_with_its_figure_code_and_tests(site: Path) -> None:
    for id, claim in REGISTRY.items():
        text = (site / "claims" / f"{id}.html").read_text()
        assert "<math " in text
        assert f"{id}.svg" in text
        assert claim.measure.__name__ in text
        assert 'class="nf">test_' in text
        for name in claim.functions:
            assert f'title="{name}"' in text
        assert f'href="claims/{id}.html"' in (site / "gallery.html").read_text()
        assert f'href="claims/{id}.html"' in (site / "theory.html").read_text()


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("name", ["index", "gallery", "theory", "claims/B2", "audit", "reproduce"])
def test_pages_fit_their_window_and_ask_for_nothing_from_elsewhere(site: Path, name: str, width: int) -> None:
    with chromium() as browser, opened(browser, site / f"{name}.html", width) as it:
        assert it.overflow() <= 0
        assert [each for each in it.requests if not each.startswith("file:")] == []
        assert it.messages == []
