"""Configurations: to JSON and back for any run, and one line for every value that is none."""

import copy
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from multires import MultiresError, files, plain
from multires.configs import PRESETS, Task, TrainingConfig, UNetConfig, UNetRun
from tests.strategies import json_values, unet_runs


@given(unet_runs())
def test_a_run_comes_back_from_json(run: UNetRun) -> None:
    back = plain.from_json(UNetRun, json.loads(json.dumps(plain.to_json(run))), "here")
    assert back == run
    assert hash(back) == hash(run)  # the lists of JSON became tuples again
    assert plain.to_json(back) == plain.to_json(run)


def test_missing_fields_take_their_defaults() -> None:
    assert plain.from_json(UNetRun, {}, "here") == UNetRun()
    found = plain.from_json(UNetRun, {"model": {"widths": [3, 4]}, "side": 8}, "here")
    assert found == UNetRun(model=UNetConfig(widths=(3, 4)), side=8)
    assert found.model.levels == 1


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_their_task(name: str) -> None:
    assert PRESETS[name].task.name == name
    assert plain.from_json(UNetRun, json.loads(json.dumps(plain.to_json(PRESETS[name]))), "here") == PRESETS[name]


def with_value(path: str, value: Any) -> dict[str, Any]:
    values = copy.deepcopy(plain.to_json(UNetRun()))
    *folders, name = path.split(".")
    inner = values
    for folder in folders:
        inner = inner[folder]
    inner[name] = value
    return values


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("task.noise", 1, 1.0),
        ("training.learning_rate", 1, 1.0),
        ("model.pooling", "max", "max"),
        ("model.pooling", [1, 0.5], (1.0, 0.5)),
        ("model.widths", (2, 3), (2, 3)),
    ],
)
def test_values_that_mean_the_same_are_taken(path: str, value: object, field: object) -> None:
    run = plain.from_json(UNetRun, with_value(path, value), "here")
    found = getattr(getattr(run, path.split(".")[0]), path.split(".")[1])
    assert found == field
    assert type(found) is type(field)
    if isinstance(found, tuple):
        assert [type(item) for item in found] == [type(item) for item in field]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("sides", 8, "here: unknown field 'sides'; UNetRun has model, task, training, data, side"),
        ("model.width", 8, "here: model: unknown field 'width'; UNetConfig has channels, widths, blocks, "),
        ("model", None, "here: model: expected the fields of UNetConfig, found None"),
        ("model", [], "here: model: expected the fields of UNetConfig, found []"),
        ("side", "8", "here: side: expected int, found '8'"),
        ("side", 8.0, "here: side: expected int, found 8.0"),
        ("side", True, "here: side: expected int, found True"),
        ("data", 3, "here: data: expected str, found 3"),
        ("task.noise", True, "here: task: noise: expected float, found True"),
        ("task.noise", "0.1", "here: task: noise: expected float, found '0.1'"),
        ("task.noise", 10**400, "here: task: noise: expected float, found 1000"),
        ("task.name", "denoize", "here: task: name: expected 'denoise' or 'super-resolve' or 'autoencode', found 'denoize'"),
        ("task.name", ["denoise"], "here: task: name: expected 'denoise' or "),
        ("model.widths", 24, "here: model: widths: expected tuple, found 24"),
        ("model.widths", [24, None], "here: model: widths: expected int, found None"),
        ("model.pooling", 3, "here: model: pooling: expected str | tuple[float, ...], found 3"),
        ("model.pooling", ["a"], "here: model: pooling: expected str | tuple[float, ...], found ['a']"),
        ("model.widths", [], "here: model: widths = (): give the channels at each level"),
        ("task.noise", -1, "here: task: noise = -1.0: a standard deviation is 0 or more"),
        ("training.steps", 0, "here: training: steps = 0: must be 1 or more"),
        ("side", 0, "here: side = 0: must be 1 or more"),
    ],
)
def test_other_values_are_refused_with_their_place(path: str, value: object, says: str) -> None:
    with pytest.raises(MultiresError) as error:
        plain.from_json(UNetRun, with_value(path, value), "here")
    assert str(error.value).startswith(says)
    assert "\n" not in str(error.value)


def test_a_field_without_a_default_is_missed() -> None:
    @dataclasses.dataclass
    class Needs:
        first: int
        second: int = 0
        third: list[int] = dataclasses.field(default_factory=list)

    assert plain.from_json(Needs, {"first": 1}, "here") == Needs(1)
    with pytest.raises(MultiresError, match=r"^here: field 'first' of Needs is missing$"):
        plain.from_json(Needs, {"second": 1}, "here")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: UNetConfig(channels=0), "channels = 0: must be 1 or more"),
        (lambda: UNetConfig(blocks=0), "blocks = 0: must be 1 or more"),
        (lambda: UNetConfig(widths=(3, 0)), "widths = 0: must be 1 or more"),
        (lambda: UNetConfig(widths=()), "widths = (): give the channels at each level, for example 24 24 24 for two levels"),
        (lambda: UNetConfig(pooling=(0.5, float("nan"))), "pooling = (0.5, nan): taps are finite numbers"),
        (lambda: UNetConfig(dimension=4), "dimension = 4: U-Nets have 1, 2 or 3 spatial axes"),
        (lambda: UNetConfig(skips="sum"), "skips: expected 'add' or 'concatenate' or 'none', found 'sum'"),  # type: ignore[arg-type]
        (lambda: UNetConfig(padding="same"), "padding: expected 'periodic' or 'zeros', found 'same'"),  # type: ignore[arg-type]
        (lambda: Task("sh"), "name: expected 'denoise' or 'super-resolve' or 'autoencode', found 'sh'"),  # type: ignore[arg-type]
        (lambda: UNetConfig(widths=24), "widths: expected tuple, found 24"),  # type: ignore[arg-type]
        (lambda: UNetConfig(widths=(24, 2.5)), "widths: expected int, found 2.5"),  # type: ignore[arg-type]
        (lambda: UNetConfig(channels=True), "channels: expected int, found True"),
        (lambda: UNetConfig(pooling=("a",)), "pooling: expected str | tuple[float, ...], found ('a',)"),  # type: ignore[arg-type]
        (lambda: Task(noise="0.1"), "noise: expected float, found '0.1'"),  # type: ignore[arg-type]
        (lambda: TrainingConfig(batch=1.5), "batch: expected int, found 1.5"),  # type: ignore[arg-type]
        (lambda: TrainingConfig(seed=None), "seed: expected int, found None"),  # type: ignore[arg-type]
        (lambda: TrainingConfig(skip_above="5"), "skip_above: expected float | None, found '5'"),  # type: ignore[arg-type]
        (lambda: UNetRun(model=None), "model: expected the fields of UNetConfig, found None"),  # type: ignore[arg-type]
        (lambda: UNetRun(side=8.0), "side: expected int, found 8.0"),  # type: ignore[arg-type]
        (lambda: Task(noise=-0.1), "noise = -0.1: a standard deviation is 0 or more, and finite"),
        (lambda: Task(noise=float("nan")), "noise = nan: a standard deviation is 0 or more, and finite"),
        (lambda: Task(noise=float("inf")), "noise = inf: a standard deviation is 0 or more, and finite"),
        (lambda: Task(levels=0), "levels = 0: super-resolution loses 1 resolution or more"),
        (lambda: UNetRun(side=0), "side = 0: must be 1 or more"),
        *(
            (lambda name=name, value=value: TrainingConfig(**{name: value}), f"{name} = {value}: {rule}")
            for name, value, rule in [
                ("steps", 0, "must be 1 or more"),
                ("batch", 0, "must be 1 or more"),
                ("log_every", 0, "must be 1 or more"),
                ("save_every", 0, "must be 1 or more"),
                ("warmup", -1, "must be 0 or more"),
                ("seed", -1, "must be 0 or more"),
                ("seed", 2**31, "must be below 2147483648"),
                ("learning_rate", 0.0, "must be positive"),
                ("learning_rate", float("nan"), "must be positive"),
                ("learning_rate", float("inf"), "must be positive"),
                ("clip", 0.0, "must be positive"),
                ("weight_decay", -1.0, "must be 0 or more, and finite"),
                ("weight_decay", float("nan"), "must be 0 or more, and finite"),
                ("weight_decay", float("inf"), "must be 0 or more, and finite"),
                ("ema", 1.0, "must lie in [0, 1); 0 keeps the last weights"),
                ("ema", float("nan"), "must lie in [0, 1); 0 keeps the last weights"),
            ]
        ),
    ],
)
def test_nonsense_is_refused(make: Callable[[], object], says: str) -> None:
    with pytest.raises(MultiresError) as error:
        make()
    assert str(error.value) == says


def test_in_python_too_values_that_mean_the_same_are_taken() -> None:
    one = UNetRun(UNetConfig(widths=[3, 4], pooling=[1, 0]), Task(noise=1))  # type: ignore[arg-type]
    two = UNetRun(UNetConfig(widths=(3, 4), pooling=(1.0, 0.0)), Task(noise=1.0))
    assert one == two
    assert hash(one) == hash(two)
    assert json.dumps(plain.to_json(one)) == json.dumps(plain.to_json(two))


def test_the_least_values_are_taken() -> None:
    training = TrainingConfig(steps=1, batch=1, warmup=0, seed=0, log_every=1, save_every=1, weight_decay=0, ema=0)
    run = UNetRun(UNetConfig(channels=1, widths=(1,), blocks=1, dimension=3), Task(noise=0, levels=1), training, side=1)
    assert plain.from_json(UNetRun, json.loads(json.dumps(plain.to_json(run))), "here") == run


@given(values=json_values())
def test_json_comes_back_from_its_file(values: object, tmp_path: Path) -> None:
    files.write_json(tmp_path / "values.json", values)
    assert files.read_json(tmp_path / "values.json") == values


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[" * 100_000], ids=["empty", "cut", "no text", "deep"])
def test_what_is_no_json_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "values.json"
    path.write_bytes(content)
    with pytest.raises(MultiresError, match=r"values\.json: cannot be read as JSON \(.*\)$"):
        files.read_json(path)
    with pytest.raises(MultiresError, match=r"nothing\.json: no such file$"):
        files.read_json(tmp_path / "nothing.json")
    with pytest.raises(MultiresError, match=r"cannot be read as JSON \(.*\)$"):
        files.read_json(tmp_path)
