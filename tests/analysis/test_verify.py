"""`multires verify` as a user meets it: the table, the files, the page, exit codes, stopping; on real and on odd data."""

import json
import re
import sys
from base64 import b64decode
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from analysis import evidence, terminal
from analysis.cli import main

KEYS = {"id", "verdict", "measured", "bound", "control", "seconds"}


def verify(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(["verify", *arguments])
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    assert verify("A", "B1", "B2", "B6", "--data", "digits", "--out", str(out), "--json", str(out / "copy.json")) == 0
    return out


def test_files(run: Path) -> None:
    assert sorted(path.name for path in run.iterdir()) == ["arrays.npz", "copy.json", "evidence.json", "report.html"]
    assert (run / "copy.json").read_bytes() == (run / "evidence.json").read_bytes()


def test_json(run: Path) -> None:
    record = json.loads((run / "evidence.json").read_text())
    assert {"claims", "seed", "data", "device", "versions"} <= record.keys()
    assert [each["id"] for each in record["claims"]] == [*(f"A{k}" for k in range(1, 8)), "B1", "B2", "B6"]
    for each in record["claims"]:
        assert each.keys() >= KEYS
        assert each["verdict"] == "supported"
        assert each["measured"] <= each["bound"] < each["control"]
        assert all(check["measured"] <= check["bound"] for check in each["checks"])
        assert all(control["measured"] > control["floor"] for control in each["controls"])
    assert record["seed"] == 0
    assert {"torch", "numpy", "PyWavelets", "haar"} <= record["versions"].keys()


def test_arrays_load_without_pickle(run: Path) -> None:
    with np.load(run / "arrays.npz", allow_pickle=False) as arrays:
        assert {"A5/errors", "B2/pooled_0", "B6/margins"} <= set(arrays.files)
        assert all(arrays[name].size for name in arrays.files)


class Page(HTMLParser):
    """Collects what matters of a page: images, sections, addresses, and whether tags are balanced."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.images: list[dict[str, str | None]] = []
        self.addresses: list[str] = []
        self.sections: list[str] = []
        self.scripts = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        self.addresses += [value or "" for name, value in attributes if name in ("src", "href")]
        self.scripts += tag == "script"
        if tag == "img":
            self.images.append(found)
        if tag == "article" and found.get("id"):
            self.sections.append(str(found["id"]))


def test_page_is_whole_and_needs_no_network(run: Path) -> None:
    text = (run / "report.html").read_text()
    page = Page(text)
    assert page.sections == [*(f"A{k}" for k in range(1, 8)), "B1", "B2", "B6"]
    assert len(page.images) >= len(page.sections)
    for image in page.images:
        assert image["alt"]
        svg = b64decode(str(image["src"]).removeprefix("data:image/svg+xml;base64,"))
        assert b"<svg" in svg
    assert all(re.match(r"data:|#|(\.\./)+[^:]*analysis/claims/\w+\.py#", address) for address in page.addresses)
    assert not re.search(r"url\(\s*['\"]?http", text)


def test_table_and_last_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert verify("b5", "--data", "digits", "--out", str(tmp_path / "new" / "folder")) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[0] == "digits: 1,797 handwritten digits of 8 x 8, from scikit-learn; seed 0"
    assert re.match(r"B5 +Pooling and embedding are adjoint in L2\. +\S+ +<= 1\.0e-13 +\S+ > 1\.0e-03 +supported", lines[2])
    assert lines[-2].startswith("1 of 1 claims supported")
    assert lines[-1] == f"report: {tmp_path / 'new' / 'folder' / 'report.html'}"
    assert captured.err == ""


def test_a_log_names_each_claim_that_took_long(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "SILENCE", 0.0)
    assert verify("b4", "b5", "--data", "digits", "--out", str(tmp_path)) == 0
    lines = capsys.readouterr().err.splitlines()
    assert [re.sub(r"\d+ s$", "N s", line) for line in lines] == [
        "verifying: 1 of 2, B4 supported, N s",
        "verifying: 2 of 2, B5 supported, N s",
    ]


def test_a_log_has_a_line_a_minute(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 25))  # seconds, read before and after each item, and again at each line
    monkeypatch.setattr(terminal.time, "monotonic", lambda: next(clock))
    assert list(terminal.progress("abcdefgh", None, "probing")) == list("abcdefgh")
    assert capsys.readouterr().err.splitlines() == ["probing: 3", "probing: 6"]


def test_a_claim_that_does_not_hold_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(context: evidence.Context) -> evidence.Evidence:
        raise RuntimeError("[/red] <script>alert(1)</script>")

    broken = evidence.Claim("B5", "Is false.", "", "exact", "none", (), "here.py:1", crash)
    monkeypatch.setitem(evidence.REGISTRY, "B5", broken)
    assert verify("B4", "B5", "--data", "digits", "--out", str(tmp_path)) == 1
    out = capsys.readouterr().out
    assert "B5 not supported: RuntimeError: [/red] <script>alert(1)</script>" in out
    assert "1 of 2 claims supported" in out
    record = json.loads((tmp_path / "evidence.json").read_text())
    assert [each["verdict"] for each in record["claims"]] == ["supported", "not supported"]
    assert record["claims"][1]["measured"] is None
    assert Page((tmp_path / "report.html").read_text()).scripts == 1


def test_a_name_cannot_inject_markup(tmp_path: Path) -> None:
    path = tmp_path / "<script>alert(1)<.npy"
    np.save(path, np.random.default_rng(0).random((2, 8, 8)))
    assert verify("B5", "--data", str(path), "--out", str(tmp_path / "out")) == 0
    assert Page((tmp_path / "out" / "report.html").read_text()).scripts == 1


def test_ctrl_c_stops_with_one_line_and_writes_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(context: evidence.Context) -> evidence.Evidence:
        raise KeyboardInterrupt

    monkeypatch.setitem(evidence.REGISTRY, "B5", evidence.Claim("B5", "Stops.", "", "exact", "none", (), "here.py:1", interrupted))
    assert verify("B5", "--data", "digits", "--out", str(tmp_path)) == 130
    assert capsys.readouterr().err == "multires: stopped; nothing was written\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.data
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_on_the_real_sets(name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, data_set: None) -> None:
    assert verify("B2", "--data", name, "--out", str(tmp_path)) == 0
    assert "70,000 images" in capsys.readouterr().out


def test_python_m_analysis_is_the_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    import runpy

    monkeypatch.setattr(sys, "argv", ["multires", "data", "list"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_module("analysis", run_name="__main__")
    assert stopped.value.code == 0
    assert capsys.readouterr().out.splitlines()[0].startswith("natural")
