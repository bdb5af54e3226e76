"""The README and the docs say what the code does: commands run, code runs, generated text is current."""

import importlib.util
import re
import shlex
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from analysis.cli import main, parse
from analysis.evidence import REGISTRY

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_texts_are_current(generate: ModuleType) -> None:
    assert (ROOT / "docs" / "theory.md").read_text() == generate.theory(), "run make docs"
    assert generate.readme(README) == README, "run make docs"
    for name in ("reproduce", "hvaes"):
        page = (ROOT / "docs" / f"{name}.md").read_text()
        assert getattr(generate, name)(page) == page, "run make docs"
    assert (ROOT / "docs" / "unet-basis.md").read_text() == generate.study_pages.table(), "run make docs"
    assert (ROOT / "docs" / "hvae-studies.md").read_text() == generate.hvae_study_pages.page(), "run make docs"
    assert (ROOT / "docs" / "hvae-weights.md").read_text() == generate.hvae_pages.table(), "run make docs"


def test_every_claim_has_a_test_of_its_own(generate: ModuleType) -> None:
    """Beside the one that runs all claims; for A5, A6 and B6 that is where their parts are."""
    marked = generate.tests_of_claims.found()
    assert set(marked) <= set(REGISTRY)
    assert set(REGISTRY) - set(marked) == set()


@pytest.mark.parametrize("block", blocks(README, "bash"))
def test_readme_commands_run(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for command in block.splitlines():
        name, *arguments = shlex.split(command)
        assert name == "multires"
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert stopped.value.code == 0


def test_readme_make_targets_exist() -> None:
    targets = re.findall(r"^make (\w+)", "\n".join(blocks(README, "")), re.MULTILINE)
    assert targets == ["verify", "test"]
    for target in [*targets, "lint", "docs", "bench", "reference"]:
        done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_readme_shows_the_output_of_every_claim() -> None:
    shown = blocks(README, "")[1]
    assert re.findall(r"^([A-E]\d+)  ", shown, re.MULTILINE) == sorted(REGISTRY)
    against = re.findall(r"^([A-E]\d+)  .* not supported", shown, re.MULTILINE)
    assert re.findall(r"^([A-E]\d+) not supported: ", shown, re.MULTILINE) == against
    assert f"{len(REGISTRY) - len(against)} of {len(REGISTRY)} claims supported" in shown


@pytest.mark.parametrize(
    "page", ["README.md", "docs/tutorial.md", "docs/unets.md", "docs/hvaes.md", "docs/probes.md", "docs/audit.md"]
)
def test_code_on_pages_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for peer in ("diffusers", "monai") if page == "docs/audit.md" else ():
        pytest.importorskip(peer, reason=f"{peer} is not installed: pip install multires-toolkit[peers]")
    monkeypatch.chdir(tmp_path)
    code = blocks((ROOT / page).read_text(), "python")
    assert code
    space: dict[str, object] = {"__name__": "page"}
    for block in code:
        exec(compile(block, page, "exec"), space)


PAGES = ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")) if path.name != "gallery.md")]


@pytest.mark.parametrize("page", PAGES)
def test_commands_on_pages_are_commands(page: str) -> None:
    """What takes too long to be run here has at least to be understood: in blocks, and within lines."""
    text = (ROOT / page).read_text()
    lines = [line for block in blocks(text, "") + blocks(text, "bash") for line in block.splitlines()]
    inline = re.findall(r"`(multires [^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    commands = (re.sub(r"^(OMP_NUM_THREADS=1 |accelerate launch .*-m (?=analysis))", "", line.strip()) for line in lines + inline)
    for command in commands:
        if re.match(r"(multires|analysis) [a-z]+ .", command) and not re.search(
            r"\b[A-Z]{2,}\b|\.\.\.", command
        ):  # NAME stands for one
            named = parse(shlex.split(command)[1:])  # exits where it is none
            assert callable(named.run), command


def test_links_between_pages_lead_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
        for target in re.findall(r"\]\((?!http)([^)#]+)", prose):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
