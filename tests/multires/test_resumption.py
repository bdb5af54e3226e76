"""Runs that are stopped, killed or damaged: they go on bit for bit, or say in one line why not."""

import contextlib
import json
import os
import random
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from multires import checkpoints
from multires.errors import MultiresError
from multires.training import Batches, Evaluated, Finished, Record, Saved, Started, Step, Stopped, fit
from tests.multires.trained import CONFIG, assert_same, batches, lines, loss, net, run, weights


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("stop", [1, 5, 9, 13, 17])
def test_an_abandoned_run_goes_on_bit_for_bit(stop: int, tied: bool, tmp_path: Path) -> None:
    whole = weights(list(run(tmp_path / "whole", tied=tied)))
    half = run(tmp_path / "half", tied=tied)
    for _ in range(stop):
        next(half)
    half.close()
    random.seed(99)
    np.random.seed(99)  # noqa: NPY002
    resumed = list(run(tmp_path / "half", tied=tied))
    assert resumed[0].step == max(0, (stop - 1) // 5 * 4)
    assert_same(weights(resumed), whole)
    assert lines(tmp_path / "half") == lines(tmp_path / "whole")


def test_the_seconds_of_both_parts_count(tmp_path: Path) -> None:
    half = run(tmp_path)
    for _ in range(6):
        last = next(half)
    assert isinstance(last, Saved)
    half.close()
    place = Path(last.path) / "state.json"
    place.write_text(json.dumps(json.loads(place.read_text()) | {"seconds": 1000.0}))
    (*_, finished) = run(tmp_path)
    assert isinstance(finished, Finished)
    assert finished.seconds > 1000


def test_a_finished_run_gives_its_weights_again(tmp_path: Path) -> None:
    whole = weights(list(run(tmp_path)))
    again = list(run(tmp_path))
    assert [type(record) for record in again] == [Started, Finished]
    assert_same(weights(again), whole)


def test_ctrl_c_finishes_the_step_and_saves_it(tmp_path: Path) -> None:
    whole = weights(list(run(tmp_path / "whole")))
    handler = signal.getsignal(signal.SIGINT)

    def interrupted(step: int) -> tuple[Tensor, ...]:
        if step == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return batches(step)

    with pytest.raises(Stopped, match="stopped after step 6 of 12"):
        list(fit(net(), loss, interrupted, CONFIG, tmp_path / "half"))
    assert signal.getsignal(signal.SIGINT) is handler
    assert checkpoints.steps(tmp_path / "half" / "checkpoints") == [6]
    assert_same(weights(list(run(tmp_path / "half"))), whole)


@pytest.mark.parametrize("at", [Step, Evaluated, Saved])
@pytest.mark.parametrize("step", [3, 4])
def test_ctrl_c_while_a_record_is_written_is_never_said_to_be_saved_before_it_is(
    tmp_path: Path, at: type[Record], step: int
) -> None:
    def pressed(records: Iterator[Record]) -> Iterator[Record]:
        for record in records:
            yield record
            if isinstance(record, at) and record.step >= step:
                signal.raise_signal(signal.SIGINT)
                yield from records

    with pytest.raises(Stopped) as stopped:
        list(pressed(fit(net(), loss, batches, CONFIG, tmp_path, evaluate=lambda model: 0.0)))
    (*_, last) = checkpoints.steps(tmp_path / "checkpoints")
    assert f"stopped after step {last} of 12, saved in {tmp_path}" == str(stopped.value)
    assert_same(weights(list(run(tmp_path))), weights(list(run(tmp_path / "whole"))))


@pytest.mark.parametrize("step", [3, 11])
def test_ctrl_c_at_a_step_that_is_evaluated_leaves_no_evaluation_out(tmp_path: Path, step: int) -> None:
    """The last step is one: what is evaluated there is what the finished run says of its weights."""

    def interrupted(number: int) -> tuple[Tensor, ...]:
        if number == step:
            signal.raise_signal(signal.SIGINT)
        return batches(number)

    def evaluated(folder: Path, batches: Batches) -> list[Evaluated]:
        found = []
        with contextlib.suppress(Stopped):
            for record in fit(
                net(), loss, batches, CONFIG, folder, evaluate=lambda model: float(model.first.weight.detach().sum())
            ):
                found += [record] if isinstance(record, Evaluated) else []
        return found

    there = evaluated(tmp_path / "half", interrupted)
    assert there[-1].step == step + 1
    assert there + (evaluated(tmp_path / "half", batches) if step + 1 < CONFIG.steps else []) == evaluated(
        tmp_path / "whole", batches
    )


def test_a_second_ctrl_c_stops_at_once(tmp_path: Path) -> None:
    def impatient(step: int) -> tuple[Tensor, ...]:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        return batches(step)

    with pytest.raises(KeyboardInterrupt) as stopped:
        list(fit(net(), loss, impatient, CONFIG, tmp_path))
    assert not isinstance(stopped.value, Stopped)


def test_a_damaged_checkpoint_is_one_clear_line(tmp_path: Path) -> None:
    list(run(tmp_path))
    place = tmp_path / "checkpoints" / "00000012"
    whole = (place / "optimizer.safetensors").read_bytes()
    (place / "optimizer.safetensors").write_bytes(whole[:100])
    with pytest.raises(MultiresError, match=r"optimizer\.safetensors: not a whole safetensors file"):
        list(run(tmp_path))
    (place / "optimizer.safetensors").write_bytes(whole)
    (place / "state.json").write_text('{"step": 12}')
    with pytest.raises(MultiresError, match=r"00000012: not a checkpoint of this training \(KeyError: "):
        list(run(tmp_path))
    (place / "state.json").write_text('{"step": 12,')
    with pytest.raises(MultiresError, match=r"state\.json: cannot be read as JSON"):
        list(run(tmp_path))


def test_the_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    list(run(tmp_path))
    with pytest.raises(MultiresError, match=r"bias is missing \(2 of 2 tensors are\)"):
        list(fit(nn.Linear(3, 3), loss, batches, CONFIG, tmp_path))


def test_only_the_newest_checkpoint_is_kept_and_nothing_is_pickled(tmp_path: Path) -> None:
    list(run(tmp_path))
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} == {".safetensors", ".json", ".jsonl"}
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["00000012"]


def test_a_torn_last_line_of_the_log_is_forgotten(tmp_path: Path) -> None:
    list(run(tmp_path))
    before = lines(tmp_path)
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"record": "step", "st')
    list(run(tmp_path))
    assert lines(tmp_path) == before


@pytest.mark.parametrize("line", [b"5", b"{}", b'{"record": "step", "step": null}', b"\xff\xfe"])
def test_a_damaged_line_of_the_log_is_forgotten(line: bytes, tmp_path: Path) -> None:
    list(run(tmp_path))
    before = lines(tmp_path)
    with (tmp_path / "log.jsonl").open("ab") as file:
        file.write(line + b"\n")
    list(run(tmp_path))
    assert lines(tmp_path) == before


@pytest.mark.parametrize("step", [2000, "12", None])
def test_a_checkpoint_that_is_of_another_step_than_its_folder_says_is_refused(step: object, tmp_path: Path) -> None:
    list(run(tmp_path))
    path = tmp_path / "checkpoints" / "00000012" / "state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"step": step}))
    with pytest.raises(MultiresError, match=r"not a checkpoint of this training.*step.*in a folder named 00000012"):
        list(run(tmp_path))


def test_whoever_may_read_a_run_may_resume_it(tmp_path: Path) -> None:
    list(run(tmp_path))
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "checkpoints" / "00000012").iterdir()}
    assert modes == {(tmp_path / "log.jsonl").stat().st_mode & 0o777}


def test_a_run_in_another_precision_is_not_gone_on_with(tmp_path: Path) -> None:
    list(run(tmp_path))
    path = tmp_path / "checkpoints" / f"{CONFIG.steps:08d}" / checkpoints.STATE
    path.write_text(json.dumps(json.loads(path.read_text()) | {"precision": "bf16"}))
    with pytest.raises(MultiresError, match="computed with mixed precision 'bf16', now 'no'"):
        list(run(tmp_path))


def test_skips_are_counted_over_a_resumption(tmp_path: Path) -> None:
    """Two of four steps are left out before a stop, two of eight after it."""

    def numbered(step: int) -> tuple[Tensor, ...]:
        return (*batches(step), torch.full((4,), 1000.0 if step in (1, 3, 6, 8) else 1.0))

    def steep(model: nn.Module, batch: tuple[Tensor, ...]) -> tuple[Tensor, dict[str, Tensor]]:
        value, details = loss(model, batch[:2])
        return value * batch[2].mean(), details

    def skipped(until: int) -> list[int]:
        found = []
        for record in fit(net(), steep, numbered, replace(CONFIG, skip_above=50.0), tmp_path):
            found += [record.skipped] if isinstance(record, Step) else []
            if isinstance(record, Saved) and record.step == until:
                break
        return found

    assert skipped(4) + skipped(12) == [0, 1, 1, 2, 2, 2, 3, 3, 4, 4, 4, 4]


def test_skips_in_a_row_are_counted_over_a_resumption(tmp_path: Path) -> None:
    records = run(tmp_path, replace(CONFIG, skip_above=1e-6, skip_limit=6))
    while not isinstance(next(records), Saved):
        pass
    records.close()  # type: ignore[attr-defined]
    with pytest.raises(MultiresError, match=r"^step 6: 6 updates in a row"):
        list(run(tmp_path, replace(CONFIG, skip_above=1e-6, skip_limit=6)))
