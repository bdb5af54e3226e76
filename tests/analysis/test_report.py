"""The report as a reader meets it, in a browser: it needs nothing else, fits its window, can be searched, lets nothing in."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from analysis import claims, record
from analysis.cli import main
from analysis.evidence import REGISTRY, Check, Control, Evidence, Result
from analysis.report import changes, mathml
from analysis.report.page import page
from multires import MultiresError, data, pretrained
from tests.browser import Opened, chromium, opened

assert claims
EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&"
SHOWN = Evidence([Check("one", 1e-16, 1e-13)], [Control("broken", 0.5, 1e-3)], {}, "a note")


def run_of(*results: Result, seed: int = 0) -> record.Run:
    return record.measured(list(results), data.load("digits"), seed, full=False)


def result(id: str, evidence: Evidence | None = SHOWN) -> Result:
    return Result(REGISTRY[id], *(evidence.judge() if evidence else ("skipped", "no images")), evidence, 1.0)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as it:
        yield it


@pytest.fixture(scope="module")
def whole(measured: dict[str, Evidence], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of all claims, with the models and studies that ship, as `multires report` writes it."""
    folder = tmp_path_factory.mktemp("whole")
    record.write(run_of(*(result(id, measured.get(id)) for id in REGISTRY)), folder)
    with pytest.raises(SystemExit) as stopped:
        main(["report", str(folder)])
    assert stopped.value.code == 0
    return folder / "report.html"


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
def test_the_page_is_whole_accessible_and_keeps_to_itself(whole: Path, browser: Browser, width: int, scheme: str) -> None:
    assert whole.stat().st_size < 8e6
    with opened(browser, whole, width, scheme) as it:  # type: ignore[arg-type]
        assert it.page.locator("article").count() == len(REGISTRY)
        assert it.overflow() <= 0
        pictures = it.page.locator("img").all()
        assert len(pictures) > len(REGISTRY)
        for picture in pictures:
            assert picture.is_visible()
            assert picture.get_attribute("alt")
            assert picture.evaluate("image => image.complete && image.naturalWidth > 0")
        assert it.page.locator("math").count() == len(REGISTRY)
        assert (it.messages, it.requests) == ([], [])
    with opened(browser, whole, width, scheme, bypass_csp=True) as it:  # type: ignore[arg-type]  # for the checker's script
        it.page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
        assert it.overflow() <= 0
        assert it.violations() == []


def test_links_on_the_page_lead_somewhere(whole: Path, browser: Browser) -> None:
    with opened(browser, whole) as it:
        targets = it.page.evaluate("[...document.querySelectorAll('a')].map((each) => each.getAttribute('href'))")
        ids = set(it.page.evaluate("[...document.querySelectorAll('[id]')].map((each) => each.id)"))
    inside = [target for target in targets if target.startswith("#")]
    files = [target for target in targets if not target.startswith("#")]
    assert {target[1:] for target in inside} <= ids
    assert len(files) == len(REGISTRY)
    for target in files:
        name, _, text = target.partition("#:~:text=%22")
        assert f'@claim(\n    "{text.removesuffix("%22%2C")}",' in (whole.parent / name).read_text()


def shown(it: Opened) -> list[str]:
    found: list[str] = it.page.evaluate(
        "[...document.querySelectorAll('article')].filter((each) => each.checkVisibility()).map((each) => each.id)"
    )
    rows = it.page.evaluate(
        "[...document.querySelectorAll('tr[id]')].filter((each) => each.checkVisibility()).map((each) => each.id)"
    )
    assert rows == [f"row-{id}" for id in found]
    expect(it.page.locator("#shown")).to_have_text(re.compile(f"^{len(found)} of "))
    return found


def test_claims_can_be_filtered_and_searched(tmp_path: Path, browser: Browser) -> None:
    failing = Evidence([Check("one", 1.0, 1e-13)], SHOWN.controls)
    run = run_of(result("A2"), result("B4"), result("B5", failing), result("C2", None))
    path = tmp_path / "page.html"
    path.write_text(page(run, tmp_path))
    with opened(browser, path) as it:
        assert shown(it) == ["A2", "B4", "B5", "C2"]
        it.page.select_option("#verdict", "not supported")
        assert shown(it) == ["B5"]
        it.page.select_option("#group", "A")
        assert shown(it) == []
        assert not it.page.locator("section[data-group]:visible").count()
        it.page.select_option("#verdict", "")
        assert shown(it) == ["A2"]
        it.page.select_option("#group", "")
        it.page.fill("#search", "ADJOINT pooling")
        assert shown(it) == ["B5"]
        it.page.fill("#search", "multires.haar")
        assert shown(it) == ["A2"]
        it.page.fill("#search", "nothing at all")
        assert shown(it) == []
        it.page.fill("#search", "")
        assert len(shown(it)) == 4
        it.page.fill("#search", "adjoint")
        it.page.locator("a[href='#A2']").first.evaluate("link => link.click()")  # a link leads there whatever is filtered
        assert it.page.locator("#A2").is_visible()
        assert len(shown(it)) == 4
        assert it.messages == []
    assert "3 of 4 claims supported" not in path.read_text()
    assert "2 of 4 claims supported" in path.read_text()


def test_a_page_without_scripts_shows_everything(tmp_path: Path, browser: Browser) -> None:
    (tmp_path / "page.html").write_text(page(run_of(result("A2"), result("B5")), tmp_path))
    with opened(browser, tmp_path / "page.html", java_script_enabled=False) as it:
        assert it.page.locator("article:visible").count() == 2
        assert not it.page.locator(".tools:visible").count()


def test_a_control_that_passes_is_not_said_to_exceed_its_floor(tmp_path: Path, browser: Browser) -> None:
    passing = Evidence(SHOWN.checks, [Control("broken", 1e-4, 1e-3)])
    (tmp_path / "page.html").write_text(page(run_of(result("A2"), result("B5", passing)), tmp_path))
    with opened(browser, tmp_path / "page.html") as it:
        said = [it.page.locator(f"#row-{id} td.n").all_inner_texts() for id in ("A2", "B5")]
    assert said == [["1.0e-16", "≤ 1.0e-13", "0.5 > 1.0e-03"], ["1.0e-16", "≤ 1.0e-13", "1.0e-04 not > 1.0e-03"]]


def test_on_paper_there_is_nothing_to_click_and_nothing_is_hidden(tmp_path: Path, browser: Browser) -> None:
    (tmp_path / "page.html").write_text(page(run_of(result("A2"), result("B5")), tmp_path))
    with opened(browser, tmp_path / "page.html") as it:
        assert it.page.locator(".tools:visible").count() == 1
        it.page.emulate_media(media="print")
        it.page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert it.page.locator(".tools:visible").count() == 0
        assert it.page.locator("details").count() == it.page.locator("details[open]").count() > 0


def test_nothing_gets_onto_the_page_as_markup(tmp_path: Path, browser: Browser) -> None:
    """Names, notes, reasons, formulas, whatever a record or data may hold."""
    evil = Evidence([Check(EVIL, 1e-16, 1e-13, EVIL)], [Control(EVIL, 1.0, 0.5)], {}, EVIL)
    claim = replace(
        REGISTRY["B5"], sentence=EVIL, formula=rf"\text{{{EVIL}}}", control=EVIL, functions=(EVIL,), source=f"../../{EVIL}:1"
    )
    run = replace(run_of(Result(claim, "supported", EVIL, evil, 1.0)), data=EVIL, images=EVIL, commit=EVIL, versions={EVIL: EVIL})
    path = tmp_path / "page.html"
    path.write_text(page(run, tmp_path, other=replace(run, data="x")))
    with opened(browser, path) as it:
        assert it.page.locator("script").count() == 1
        assert all(
            each.startswith("data:image/svg+xml")
            for each in it.page.locator("img").evaluate_all("them => them.map((each) => each.src)")
        )
        assert it.page.locator("article").inner_text().count("<script>alert(1)</script>") >= 5
        assert (it.messages, it.requests) == ([], [])


def test_the_page_runs_no_script_but_its_own(tmp_path: Path, browser: Browser) -> None:
    """Even where markup got in, the page's own rules would stop it."""
    text = page(run_of(result("A2")), tmp_path)
    path = tmp_path / "page.html"
    path.write_text(text.replace("<main>", '<main><script>document.title = "in"</script><img src="https://example.org/x.png">'))
    with opened(browser, path) as it:
        assert it.page.title().startswith("multires")
        assert len(it.messages) == 2
        assert all("Content Security Policy" in message for message in it.messages)


@pytest.mark.parametrize(
    "latex", [r"\text{<b>}", r"\href{javascript:alert(1)}{x}", r"\nonsense{x}", "x & y", r"\text{<mi onclick='x'>k</mi>}", ""]
)
def test_what_is_no_formula_is_shown_as_it_is(latex: str) -> None:
    found = str(mathml.block(latex))
    assert found.startswith("<p><code>") or not latex
    assert not re.search("<(b|a|mi)[ >]|href=", found)


@pytest.mark.parametrize("id", REGISTRY)
def test_every_formula_is_mathematics(id: str) -> None:
    found = mathml.block(REGISTRY[id].formula)
    assert "<math " in found
    assert "<code>" not in found


def test_two_runs_side_by_side(tmp_path: Path, browser: Browser) -> None:
    slower = Evidence([Check("one", 4e-14, 1e-13)], SHOWN.controls)
    failing = Evidence([Check("one", 1.0, 1e-13)], SHOWN.controls)
    rounded = Evidence([Check("one", 2e-16, 1e-13)], SHOWN.controls)
    run, other = (
        run_of(*map(result, ("A2", "B3", "B5", "B7"))),
        run_of(result("A2", rounded), result("B3", slower), result("B5", failing), result("C1"), seed=4),
    )
    found = changes.claims(run, other)
    assert [found[id].kind for id in ("A2", "B3", "B5", "B7")] == ["same", "numbers", "verdict", "alone"]
    assert found["B3"].text == "1 of 2 numbers differ, by 39.9 % of their bound at most (one, float64)"
    assert found["A2"].text == "the same numbers, 1 of 2 within 1 % of their bound"
    assert found["B5"].text.startswith("was not supported; 1 of 2 numbers differ")
    assert changes.missing(run, other) == ["C1"]
    assert ("seed", "0", "4") in changes.circumstances(run, other)
    path = tmp_path / "page.html"
    path.write_text(page(run, tmp_path, other))
    with opened(browser, path, bypass_csp=True) as it:
        assert it.page.locator("article#A2 img").count() == 2
        assert it.page.locator("article#B7 img").count() == 1
        it.page.select_option("#changed", "verdict")
        assert shown(it) == ["B5"]
        it.page.select_option("#changed", "")
        assert it.violations() == []
    with opened(browser, path, 390) as it:
        assert it.overflow() <= 0


def test_a_figure_that_cannot_be_drawn_names_its_claim(tmp_path: Path) -> None:
    broken = Evidence([Check("one", 0.0, 1.0)], SHOWN.controls, {"j": SHOWN_ARRAY})
    with pytest.raises(MultiresError, match=r"^A5: no figure can be drawn from this evidence .*multires verify A5$"):
        page(run_of(result("A5", broken)), tmp_path)


SHOWN_ARRAY = next(iter(data.load("digits").batches)).numpy()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no-such-run"], "no-such-run: no evidence.json here; multires verify --out no-such-run writes one"),
        (["RUN", "--against", "no-such-run"], "no-such-run: no evidence.json here"),
        (["RUN", "--models", "no-such-model"], "no weights 'no-such-model'"),
        (["RUN", "--records", "no-such-file"], "no-such-file: no such file"),
        (["RUN", "--records", "RUN/evidence.json"], "not what multires study --json or multires bench --json wrote"),
        (["RUN", "--out", "RUN"], "is a folder; name a file"),
        (["RUN", "--out", "x" * 300], "File name too long"),
        (["x" * 5000], "no evidence.json here"),
        (["RUN/evidence.json"], "RUN/evidence.json: is a file; name the folder that multires verify wrote"),
        (["RUN", "--records", "other.json"], "not what multires study --json or multires bench --json wrote"),
        (["RUN", "--records", "huge.json"], "huge.json: damaged"),
        (["RUN", "--models", "damaged.safetensors"], "damaged.json: parameters is 'many', not a number"),
    ],
)
def test_bad_calls_are_one_line_and_write_nothing(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("RUN").mkdir()
    record.write(run_of(result("A2")), Path("RUN"))
    Path("other.json").write_text('{"bench": "haar; rm x", "rows": []}')
    Path("huge.json").write_text(
        '{"bench": "haar", "rows": [{"case": "x", "ratio": 1' + 400 * "0" + ', "ours_s": 1, "peers": {}}]}'
    )
    shipped = Path(pretrained.__file__).parent / "weights/unet-average"
    Path("damaged.safetensors").write_bytes(shipped.with_suffix(".safetensors").read_bytes())
    card = json.loads(shipped.with_suffix(".json").read_text())
    Path("damaged.json").write_text(json.dumps(card | {"parameters": "many"}))
    with pytest.raises(SystemExit) as stopped:
        main(["report", *arguments])
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert sorted(path.name for path in Path("RUN").iterdir()) == [record.ARRAYS, record.EVIDENCE]
