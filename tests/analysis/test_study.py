"""`multires study`: a grid trained run by run, in shards, resumed where it was, measured and shipped."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file

from analysis import basis_study, runs, study
from analysis.cli import main
from multires import pretrained
from multires.configs import UNetRun


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> dict[str, UNetRun]:
    """The grid with two poolings, two seeds and tiny networks, and few patches to measure on."""
    grid = {
        name: replace(
            run,
            model=replace(run.model, widths=(4, 4, 4)),
            training=replace(run.training, steps=6, batch=2, save_every=3),
            side=16,
        )
        for name, run in basis_study.grid().items()
        if name in ("average-0", "db2-0", "average-1", "db2-1")
    }
    chosen = study.STUDIES["unet-basis"]
    monkeypatch.setitem(study.STUDIES, "unet-basis", replace(chosen, sizes={"small": lambda: grid}))
    monkeypatch.setattr("analysis.shipped.FIT", 40)
    monkeypatch.setattr("analysis.shipped.HELD", 20)
    return grid


def called(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(["study", "unet-basis", *arguments])
    return int(stopped.value.code or 0)


def test_the_grid_is_every_filter_max_and_strided_with_three_seeds() -> None:
    grid = basis_study.grid()
    assert len(grid) == 27
    assert {name.rpartition("-")[2] for name in list(grid)[:9]} == {"0"}  # the seed that ships comes first
    assert [run.training.seed for run in grid.values()] == [int(name.rpartition("-")[2]) for name in grid]
    assert grid["average-2"].model.pooling == "average"
    assert len(grid["db3-0"].model.pooling) == 6


def test_with_synthesis_nothing_but_the_way_up_is_another() -> None:
    grid, nearest = basis_study.synthesis_grid(), basis_study.grid()
    assert len(grid) == 12
    for name, run in grid.items():
        pooling, _, seed = name.partition("+synthesis-")
        assert run.model.upsampling == "synthesis"
        assert replace(run, model=replace(run.model, upsampling="nearest")) == nearest[f"{pooling}-{seed}"]
        assert basis_study.weights("synthesis", name) is None  # claim C5 measures networks that repeat values
    rows = json.loads((Path(basis_study.__file__).parent / "records/unet-basis-synthesis.json").read_text())["rows"]
    for line in basis_study.table(rows)[1]:
        assert line[0].partition("+")[0] not in line[5]  # the best other is another than the pooling's own
        assert line[6] in ("yes", "no")


def test_shards_share_the_grid_and_resume(small: dict[str, UNetRun], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "study"
    assert called("--out", str(folder), "--shard", "1/2") == 0
    assert sorted(path.name for path in folder.iterdir()) == ["average-0", "average-1"]
    log = [line.partition(", test loss ") for line in capsys.readouterr().err.splitlines()]
    assert [about for about, _, _ in log] == [f"average-{i}, {i + 1} of 2: step {step} of 6" for i in (0, 1) for step in (3, 6)]
    evaluated = [
        row for row in map(json.loads, (folder / "average-1/log.jsonl").read_text().splitlines()) if row["record"] == "evaluated"
    ]
    assert [float(loss) for _, _, loss in log[2:]] == pytest.approx([row["test_loss"] for row in evaluated], rel=1e-3)
    table, target = tmp_path / "table.json", tmp_path / "weights"
    assert called("--out", str(folder), "--json", str(table), "--ship", str(target)) == 0
    shown = capsys.readouterr().out
    assert "average" in shown
    assert "db2" in shown
    times = {name: (folder / name / "run.json").stat().st_mtime for name in small}
    assert times["average-0"] <= times["average-1"] <= times["db2-0"] <= times["db2-1"]  # the first two were not begun again
    rows = json.loads(table.read_text())["rows"]
    keys = [(row["pooling"], row["weights"], row["side"], row["level"]) for row in rows]
    assert len(keys) == len(set(keys)) == 2 * 3 * 2 * 2
    for row in rows:
        assert row["seeds"] == [0, 1]
        for value in row["unexplained"].values():
            assert 0 <= value["low"] <= value["mean"] <= value["high"]
        own = {"average": "haar", "db2": "db2"}[row["pooling"]]
        assert row["own_is_best"] == all(name == own for name in row["best"])
    assert sorted(path.name for path in target.iterdir()) == [
        f"unet-{pooling}.{ending}" for pooling in ("average", "db2") for ending in ("json", "safetensors")
    ]
    assert {str(tensor.dtype) for tensor in load_file(target / "unet-db2.safetensors").values()} == {"torch.float16"}
    card = pretrained.card(target / "unet-db2.safetensors")
    assert {"data", "seed", "steps", "device", "seconds", "test_loss", "commit"} <= card.keys()


def test_a_folder_of_another_study_is_refused(
    small: dict[str, UNetRun], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs.begin(replace(small["db2-0"], side=32), tmp_path / "average-0")
    assert called("--out", str(tmp_path)) == 2
    assert "holds another run than this study's average-0" in capsys.readouterr().err
    (tmp_path / "average-0" / "weights.safetensors").touch()  # and one that is finished
    assert called("--out", str(tmp_path), "--shard", "4/4") == 2
    assert "holds another run than this study's average-0" in capsys.readouterr().err


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2"])
def test_wrong_shards_are_one_line(shard: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert called("--out", str(tmp_path / "out"), f"--shard={shard}") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"--shard {shard}: expected i/n" in line
    assert not (tmp_path / "out").exists()


def test_every_run_is_in_one_shard() -> None:
    names = list(basis_study.grid())
    shared = [name for i in range(1, 5) for name in study.shard(names, f"{i}/4")]
    assert sorted(shared) == sorted(names)


def test_intervals_over_seeds() -> None:
    """Against the t-interval of three logarithms by hand: mean 0, standard error 1/sqrt 3, t = 4.303."""
    value = basis_study.over_seeds([0.1, 1.0, 10.0])
    assert value["mean"] == pytest.approx(1)
    assert value["high"] == pytest.approx(10 ** (4.30265 / 3**0.5), rel=1e-4)
    assert value["low"] == pytest.approx(10 ** (-4.30265 / 3**0.5), rel=1e-4)
    assert basis_study.over_seeds([0.2]) == {"mean": pytest.approx(0.2), "low": None, "high": None}
