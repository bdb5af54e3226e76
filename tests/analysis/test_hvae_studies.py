"""The studies of HVAEs: what a grid of tiny networks comes to, in one folder for both studies, with its figure and weights."""

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from safetensors.torch import load_file

from analysis import hvae_studies, remedies, seeds, study, terminal
from analysis.cli import main
from analysis.figures import studies
from analysis.report import tables
from analysis.runs import Run
from multires import pretrained
from multires.errors import MultiresError
from multires.hvae import HVAE


def tiny(grid: dict[str, Run]) -> dict[str, Run]:
    """Two seeds of a few of the networks, with four channels and three steps of training."""
    return {
        name: replace(
            run, model=replace(run.model, width=4), training=replace(run.training, steps=3, batch=2, save_every=3, log_every=1)
        )
        for name, run in grid.items()
        if name in ("own-3-0", "own-3-1", "own-2-0", "shared-3-0", "shared-3-1", "normalised-3-0")
    }


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both studies on the digits, tiny."""
    for name, grids in (("weight-sharing", hvae_studies.SHARING), ("state-norm", hvae_studies.NORMS)):
        grid = tiny(grids["digits"]())
        monkeypatch.setitem(study.STUDIES, name, replace(study.STUDIES[name], sizes={"digits": lambda grid=grid: grid}))
    monkeypatch.setattr("analysis.hvae_work.alone", lambda run, case, device: (9.0, 12.0))
    monkeypatch.setattr("analysis.hvae_work.in_turns", lambda runs, case, device: dict.fromkeys(runs, 0.5))


def called(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(["study", *arguments])
    return int(stopped.value.code or 0)


def test_a_run_that_both_studies_ask_for_is_trained_once(
    small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert called("weight-sharing", "--size", "digits", "--json", "table.json", "--figure", "table.png", "--ship", "weights") == 0
    folder = tmp_path / "runs" / "hvae-digits"
    assert sorted(path.name for path in folder.iterdir()) == ["own-2-0", "own-3-0", "own-3-1", "shared-3-0", "shared-3-1"]
    trained = (folder / "own-3-0" / "weights.safetensors").stat().st_mtime_ns
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["shared-3", "own-2", "own-3"]  # by parameters
    cards = {seed: [pretrained.card(folder / f"{label}-{seed}") for label in ("shared-3", "own-3")] for seed in (0, 1)}
    cost = sum(own["elbo"]["nats"] - shared["elbo"]["nats"] for shared, own in cards.values()) / 2
    assert f" {cost:+.2f} (" in lines[1]
    assert f" {cards[0][0]['parameters'] / cards[0][1]['parameters']:.3f} " in lines[1]

    record = json.loads((tmp_path / "table.json").read_text())
    assert (record["study"], record["size"]) == ("weight-sharing", "digits")
    for row in record["rows"]:
        nll = [-pretrained.card(folder / f"{row['network']}-{seed}")["elbo"]["nats"] for seed in row["seeds"]]
        assert row["nll"] == nll
        assert row["depth"] == 1 + 2 * int(row["network"][-1])
        assert row["kl"] == [sum(pretrained.card(folder / f"{row['network']}-{seed}")["kl"]) for seed in row["seeds"]]
        assert row["test_images"] == 359
        assert (row["steps_a_second"], row["peak_mib"]) == (2, 12)
        if len(nll) == 2:
            low, high = row["interval"]
            assert low < min(nll) < max(nll) < high  # t = 12.7 for two
        else:
            assert row["interval"] is None
    assert (tmp_path / "table.png").read_bytes().startswith(b"\x89PNG")
    # own-2 is not among what claims compare
    shipped = sorted(path.stem for path in (tmp_path / "weights" / "digits").glob("*.safetensors"))
    assert shipped == ["own-3-0", "own-3-1", "shared-3-0", "shared-3-1"]
    assert {str(t.dtype) for t in load_file(tmp_path / "weights" / "digits" / "own-3-0.safetensors").values()} == {"torch.float16"}

    assert called("state-norm", "--size", "digits") == 0
    assert sorted(path.name for path in folder.iterdir()) == [
        *("normalised-3-0", "own-2-0", "own-3-0", "own-3-1", "shared-3-0", "shared-3-1")
    ]
    assert (folder / "own-3-0" / "weights.safetensors").stat().st_mtime_ns == trained


def test_the_figure_joins_shared_and_unshared_networks() -> None:
    rows = [
        {"network": name, "parameters": parameters, "depth": depth, "nll": [nll, nll + 2]}
        for name, parameters, depth, nll in (("own-1", 10, 4, 50.0), ("own-2", 20, 7, 45.0), ("shared-2", 10, 7, 46.0))
    ]
    axes = studies.sharing(rows).axes[0]
    lines = [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines if line.get_marker() == "o"]
    assert lines == [([10, 20], [51.0, 46.0]), ([10], [47.0])]
    assert [text.get_text() for text in axes.texts] == ["4", "7", "7"]


@pytest.mark.parametrize("size", hvae_studies.BASES)
def test_the_narrow_network_is_as_deep_and_about_as_small_as_the_shared_one_and_shares_nothing(size: str) -> None:
    grid, sharing = hvae_studies.DEPTH[size](), hvae_studies.SHARING[size]()
    assert all(sharing[name] == run for name, run in grid.items() if not name.startswith("narrow"))  # trained once
    shared, narrow = grid["shared-5-0"], grid["narrow-5-0"]
    assert [(r.steps, r.shared) for r in narrow.model.resolutions] == [(r.steps, False) for r in shared.model.resolutions]
    assert (narrow.training, narrow.model.steps) == (shared.training, shared.model.steps)
    changed = {name for name, value in vars(narrow.model).items() if value != getattr(shared.model, name)}
    assert changed == {"resolutions", "cell_bottleneck"}
    small, large = (HVAE(run.model) for run in (shared, narrow))
    fewer, more = (sum(p.numel() for p in net.parameters()) for net in (small, large))
    assert fewer < more < 1.11 * fewer
    assert [p.shape for p in small.encoder.parameters()] == [p.shape for p in large.encoder.parameters()]


def test_each_remedy_changes_what_its_name_says() -> None:
    grid, sharing = remedies.grid(), hvae_studies.SHARING["digits"]()
    labels = dict.fromkeys(name.rpartition("-")[0] for name in grid)
    assert list(grid) == [f"{label}-{seed}" for label in labels for seed in range(5)]
    assert all(grid[name] == run for name, run in sharing.items() if name in grid)  # in one folder they are trained once
    own, shared = grid["own-3-0"], grid["shared-5-0"]
    changed = {
        label: [
            field
            for part in ("model", "training")
            for field, value in vars(getattr(grid[f"{label}-0"], part)).items()
            if value != getattr(getattr(own if label.startswith("own") else shared, part), field)
        ]
        for label in labels
    }
    assert changed == {
        **{"own-3": [], "shared-5": [], "shared-10": ["resolutions"], "shared-5-time": ["time_input"]},
        **{f"{label}-{how}": ["learning_rate"] for how in ("lr2x", "lr0.5x") for label in ("own-3", "shared-5")},
        **{"one-5": ["resolutions"], "one-5-wide": ["resolutions", "width"]},
    }
    for label in ("own-3", "shared-5"):
        rates = [grid[f"{label}{how}-0"].training.learning_rate for how in ("-lr0.5x", "", "-lr2x")]
        assert rates == [2e-3, 4e-3, 8e-3]
    assert [run.training.seed for run in grid.values()] == [*range(5)] * len(labels)
    steps = {label: [(r.steps, r.shared) for r in grid[f"{label}-0"].model.resolutions[:-1]] for label in labels}
    assert steps.pop("own-3") == steps.pop("own-3-lr2x") == steps.pop("own-3-lr0.5x") == [(3, False)] * 2
    assert steps.pop("shared-10") == [(10, True)] * 2
    assert all(value == [(5, True)] * 2 for value in steps.values())
    nets = {label: HVAE(grid[f"{label}-0"].model) for label in ("own-3", "one-5", "one-5-wide")}
    parameters = {label: sum(p.numel() for p in net.parameters()) for label, net in nets.items()}
    assert parameters["one-5"] < parameters["one-5-wide"] <= parameters["own-3"] / 2
    assert len(nets["one-5"].cells) == 2  # one for 8 x 8 and 4 x 4, one for the coarsest


def test_differences_are_paired_by_seed() -> None:
    base = {"network": "own-3", "seeds": [0, 1, 2], "nll": [10.0, 20.0, 30.0]}
    assert seeds.over({"seeds": [2, 0, 5], "nll": [31.0, 12.0, 7.0]}, base) == [1.0, 2.0]


def test_the_figure_of_remedies_shows_each_difference() -> None:
    rows = [
        {"network": name, "seeds": [0, 1], "nll": nll}
        for name, nll in (("own-3", [10.0, 20.0]), ("shared-5", [11.0, 18.0]), ("own-3-lr2x", [13.0, 23.0]))
    ]
    axes = studies.paired(rows).axes[0]
    drawn = [list(line.get_xdata()) for line in axes.lines if line.get_marker() not in ("None", "")]
    assert drawn == [[1.0, -2.0], [3.0, 3.0]]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["shared-5", "own-3-lr2x"]
    with pytest.raises(MultiresError, match="no run of own-3 is finished"):
        studies.paired(rows[1:])


def test_a_table_too_wide_for_the_terminal_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    record = json.loads((Path(hvae_studies.__file__).parent / "records/sharing-remedies.json").read_text())
    headings, rows = hvae_studies.table(record["rows"])
    console = Console(width=100, file=io.StringIO())
    monkeypatch.setattr(terminal, "stdout", lambda: console)
    terminal.show_table(headings, rows)
    shown = console.file.getvalue()
    assert "…" not in shown
    for row in rows:
        for word in row[5].replace("(", "").replace(")", "").split():
            assert word in shown


def test_the_report_shows_unfinished_records_and_refuses_damaged_ones(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    record = json.loads((Path(hvae_studies.__file__).parent / "records/sharing-remedies.json").read_text())
    base = next(row for row in record["rows"] if row["network"] == "own-3")
    path.write_text(json.dumps(record | {"rows": [row for row in record["rows"] if row is not base]}))
    (table,) = tables.tables([path])
    assert table.figure == b""
    assert "no run of own-3 is finished" in table.notes[-1]
    base["parameters"] = 0
    path.write_text(json.dumps(record))
    with pytest.raises(MultiresError, match="damaged"):
        tables.tables([path])


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("weight-sharing", "--size", "huge"), "--size huge: this study has small, digits, full"),
        (("unet-basis", "--size", "digits"), "--size digits: this study has small, synthesis"),
        (("unet-basis", "--figure", "x.png"), "--figure: unet-basis draws none"),
        (("state-norm", "--figure", "x.png"), "--figure: state-norm draws none"),
    ],
)
def test_what_a_study_has_not_is_one_line(
    arguments: tuple[str, ...], line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert called(*arguments) == 2
    (shown,) = capsys.readouterr().err.splitlines()
    assert line in shown
    assert not list(tmp_path.iterdir())
