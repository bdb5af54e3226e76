"""`multires train` as a user runs it: a run in a folder, killed and resumed, on one process and on two, and wrong calls."""

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from analysis import runs
from analysis.cli import main
from multires import pretrained

ROOT = Path(__file__).parents[2]
TINY = ["--widths", "4", "4", "--side", "16", "--batch", "4", "--data", "natural", "--log-every", "1"]
KILLS = 20
# `accelerate launch --cpu --num_processes 2` starts one process where there is no MPI, so it would prove nothing
TWO_PROCESSES = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")


def start(*arguments: str, launcher: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    command = [sys.executable, *launcher, "-m", "analysis", "train", "unet", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=900)
    assert process.returncode == 0, err
    return out


def called(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(["train", "unet", *arguments])
    return int(stopped.value.code or 0)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert called(*arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    return line


def losses(folder: Path) -> list[float]:
    records = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [record["loss"] for record in records if record["record"] == "step"]


def test_killed_twenty_times_it_resumes_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    clean = multiprocessing.get_context("forkserver")  # starts processes that have imported everything
    clean.set_forkserver_preload(["analysis.cli", "analysis.runs", "multires.training"])

    def begin(*arguments: str) -> BaseProcess:
        process = clean.Process(target=main, args=(["train", "unet", "denoise", *arguments],))
        process.start()
        return process

    def end(process: BaseProcess) -> None:
        process.join(900)
        assert process.exitcode == 0

    steps = ["--steps", "700", "--save-every", "2"]
    end(begin(*TINY, *steps, "--out", str(tmp_path / "whole")))
    folder, moments = tmp_path / "half", random.Random(0)
    for _ in range(KILLS):
        begun = (folder / runs.CONFIG).exists()
        size = (folder / "log.jsonl").stat().st_size if (folder / "log.jsonl").exists() else 0
        process = begin(*(["--resume", str(folder)] if begun else [*TINY, *steps, "--out", str(folder)]))
        deadline = time.monotonic() + 60
        while process.is_alive() and time.monotonic() < deadline:
            if (folder / "log.jsonl").exists() and (folder / "log.jsonl").stat().st_size != size:
                break
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.15))
        assert process.is_alive()  # it was still at work, or this test would prove nothing
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    end(begin("--resume", str(folder)))
    whole, half = load_file(tmp_path / "whole" / runs.WEIGHTS), load_file(folder / runs.WEIGHTS)
    assert whole.keys() == half.keys()
    assert all(torch.equal(whole[name], half[name]) for name in whole)
    assert losses(folder) == losses(tmp_path / "whole")
    assert not list(folder.glob("checkpoints/.*"))


def test_two_processes_reach_the_losses_of_one(tmp_path: Path) -> None:
    steps = ["--steps", "20", "--save-every", "10"]
    finish(start("denoise", *TINY, *steps, "--out", str(tmp_path / "one")))
    finish(start("denoise", *TINY, *steps, "--out", str(tmp_path / "two"), launcher=TWO_PROCESSES))
    records = (tmp_path / "two" / "log.jsonl").read_text().splitlines()
    assert json.loads(records[0])["processes"] == 2
    torch.testing.assert_close(torch.tensor(losses(tmp_path / "two")), torch.tensor(losses(tmp_path / "one")), rtol=1e-5, atol=0)
    one, two = (load_file(tmp_path / name / runs.WEIGHTS) for name in ("one", "two"))
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("task", ["denoise", "autoencode", "super-resolve"])
def test_each_task_learns_and_leaves_weights_with_a_card(task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    assert called(task, *TINY, "--steps", "60", "--warmup", "5", "--ema", "0.5", "--out", str(folder)) == 0
    values = losses(folder)
    assert sum(values[-10:]) < 0.5 * sum(values[:10])
    card = pretrained.card(folder)
    assert (card["steps"], card["device"], card["run"]["task"]["name"]) == (60, "cpu", task)
    net, run = pretrained.load_unet(folder)
    assert run.model.channels == 1
    assert card["parameters"] == sum(parameter.numel() for parameter in net.parameters())
    assert f"test loss {card['test_loss']:.6g}" in capsys.readouterr().out


def test_ctrl_c_says_where_it_stopped_and_resume_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = start("denoise", *TINY, "--steps", "100000", "--out", str(folder))
    while not (folder / "log.jsonl").exists() or not losses(folder):
        time.sleep(0.02)
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    (line,) = err.splitlines()
    assert line.startswith("multires: stopped after step ")
    assert str(folder) in line
    (checkpoint,) = (folder / "checkpoints").iterdir()
    assert f"step {int(checkpoint.name)} of" in line


def test_ctrl_c_before_the_first_step_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(runs, "go", stopped)
        assert called("denoise", *TINY, "--steps", "2", "--out", str(folder)) == 130
    said = capsys.readouterr().err
    assert said == f"multires: stopped; {folder} holds the run, go on with --resume {folder}\n"
    assert called("denoise", "--resume", str(folder)) == 0


def test_wavelets_are_known_by_name(tmp_path: Path) -> None:
    assert called("denoise", *TINY, "--steps", "2", "--pooling", "bior2.2", "--out", str(tmp_path / "run")) == 0
    assert pretrained.card(tmp_path / "run")["pooling"] == "bior2.2"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["denoise", "--pooling", "db99"], "db2"),
        (["denoise", "--widths", "4", "4", "4", "4", "4", "4", "4"], "64 x 64"),
        (["denoise", "--data", "digits"], "no room for disjoint patches of 32 x 32"),
        (["super-resolve", "--levels", "6"], "nearest that works is 64 x 64"),
        (["super-resolve", "--levels", "0"], "levels = 0"),
        (["denoise", "--data", "nowhere"], "no data set or file 'nowhere'"),
        (["denoise", "--dimension", "1"], "dimension = 1: trainings are on images, which have 2 spatial axes"),
        (["denoise", "--steps", "0"], "steps = 0: must be 1 or more"),
        (["denoise", "--learning-rate", "nan"], "learning_rate = nan"),
        (["denoise", "--resume", "nowhere"], "nowhere/run.json: no such file"),
    ],
)
def test_wrong_calls_get_one_line_and_leave_nothing(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    line = refused(capsys, *arguments)
    assert said in line
    assert not list(tmp_path.iterdir())


def test_a_folder_with_a_run_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(tmp_path / "run")
    assert called("denoise", *TINY, "--steps", "2", "--out", folder) == 0
    capsys.readouterr()
    assert "go on with --resume" in refused(capsys, "denoise", *TINY, "--steps", "2", "--out", folder)
    assert "that run knows its settings" in refused(capsys, "denoise", "--steps", "3", "--resume", folder)
    assert "that run knows its settings; say only: train unet denoise --resume" in refused(capsys, "autoencode", "--resume", folder)
    assert called("denoise", "--resume", folder) == 0


def test_a_launcher_that_starts_one_process_instead_of_two_is_told_of(tmp_path: Path) -> None:
    launcher = ("-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "--num_machines", "1")
    launcher += ("--mixed_precision", "no", "--dynamo_backend", "no")
    process = start("denoise", *TINY, "--steps", "2", "--out", str(tmp_path / "run"), launcher=launcher)
    _, err = process.communicate(timeout=900)
    assert process.returncode == 0
    started = json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[0])
    assert (started["processes"] == 1) == ("torchrun starts several" in err)


def test_a_batch_that_processes_cannot_share_is_refused(tmp_path: Path) -> None:
    process = start("denoise", *TINY, "--batch", "3", "--steps", "2", "--out", str(tmp_path / "run"), launcher=TWO_PROCESSES)
    _, err = process.communicate(timeout=900)
    assert process.returncode != 0
    assert "batch = 3: 2 processes share it evenly" in err
