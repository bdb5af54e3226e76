"""The training loop: what a step does, what is written, and what ends it."""

import copy
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from multires import checkpoints, training
from multires.errors import MultiresError
from multires.training import Evaluated, Finished, Record, Saved, Started, Step, fit, schedule
from tests.multires.trained import CONFIG, batches, loss, net, run, weights


def test_records_come_in_order_and_are_logged(tmp_path: Path) -> None:
    records = list(fit(net(), loss, batches, replace(CONFIG, log_every=4), tmp_path, evaluate=lambda model: 0.5))
    kinds = [type(record) for record in records]
    assert kinds == [Started] + [Step, Evaluated, Saved] * 3 + [Finished]
    assert [record.step for record in records] == [0, *(k for k in (4, 8, 12) for _ in range(3)), 12]
    started, first = records[:2]
    assert isinstance(started, Started)
    assert isinstance(first, Step)
    assert (started.parameters, started.processes) == (24, 1)
    assert first.learning_rate == pytest.approx(1e-2)
    logged = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["record"] for line in logged] == [kind.__name__.lower() for kind in kinds]
    assert logged[1]["loss"] == first.loss


def test_the_loop_is_adamw_with_clipping_schedule_and_average(tmp_path: Path) -> None:
    """The same steps written out by hand, without the loop."""
    config = replace(CONFIG, clip=0.05)
    model = nn.Linear(3, 3)
    twin = copy.deepcopy(model)
    records = list(fit(model, loss, batches, config, tmp_path))
    share = schedule(config)
    optimizer = torch.optim.AdamW(twin.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    average = None
    for step in range(config.steps):
        optimizer.param_groups[0]["lr"] = config.learning_rate * share(step)
        optimizer.zero_grad()
        value, _ = loss(twin, batches(step))
        value.backward()
        norm = torch.nn.utils.clip_grad_norm_(twin.parameters(), config.clip)
        optimizer.step()
        now = {name: tensor.clone() for name, tensor in twin.state_dict().items()}
        average = now if average is None else {name: config.ema * average[name] + (1 - config.ema) * now[name] for name in now}
        logged = records[1 + step + step // config.save_every]
        assert isinstance(logged, Step)
        assert logged.loss == pytest.approx(value.item(), rel=1e-6)
        assert logged.gradient_norm == pytest.approx(norm.item(), rel=1e-6)
        assert logged.learning_rate == pytest.approx(config.learning_rate * share(step))
    assert average
    for name, tensor in weights(records).items():
        torch.testing.assert_close(tensor, average[name])


def test_schedule_warms_up_linearly_and_ends_at_zero() -> None:
    share = schedule(replace(CONFIG, steps=103, warmup=3))
    assert [share(step) for step in range(4)] == pytest.approx([1 / 3, 2 / 3, 1, 1])
    assert share(53) == pytest.approx(0.5)
    assert share(103) == pytest.approx(0)
    assert schedule(replace(CONFIG, warmup=0))(0) == 1


@pytest.mark.parametrize("to_none", [True, False])
def test_a_loss_may_set_gradients_to_zero_but_not_take_them_away(to_none: bool, tmp_path: Path) -> None:
    def zeroing(model: nn.Module, batch: tuple[Tensor, ...]) -> tuple[Tensor, dict[str, Tensor]]:
        model.zero_grad(set_to_none=to_none)
        return loss(model, batch)[0], {}

    if to_none:
        with pytest.raises(MultiresError, match="step 1: the loss took the model's gradients away"):
            list(fit(net(), zeroing, batches, CONFIG, tmp_path))
    else:
        zeroed = weights(list(fit(net(), zeroing, batches, CONFIG, tmp_path / "zeroed")))
        for name, tensor in weights(list(fit(net(), loss, batches, CONFIG, tmp_path / "left"))).items():
            assert torch.equal(zeroed[name], tensor)


def test_a_loss_that_is_not_finite_ends_the_run_before_it_is_saved(tmp_path: Path) -> None:
    def diverging(model: nn.Module, batch: tuple[Tensor, ...]) -> tuple[Tensor, dict[str, Tensor]]:
        diverging.calls += 1  # type: ignore[attr-defined]
        return loss(model, batch)[0] * (math.nan if diverging.calls == 6 else 1), {}  # type: ignore[attr-defined]

    diverging.calls = 0  # type: ignore[attr-defined]
    with pytest.raises(MultiresError, match=r"step 6: loss nan.*learning rate"):
        list(fit(net(), diverging, batches, CONFIG, tmp_path))
    assert checkpoints.steps(tmp_path / "checkpoints") == [4]


def test_tensorboard_writes_its_log(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is an extra: pip install 'multires-toolkit[tensorboard]'")
    list(fit(net(), loss, batches, CONFIG, tmp_path, tensorboard=True))
    assert list((tmp_path / "tensorboard").rglob("events.out.tfevents.*"))


def test_training_knows_no_model() -> None:
    source = Path(training.__file__).read_text()
    assert "unet" not in source
    assert "hvae" not in source


def steps_of(records: list[Record]) -> list[Step]:
    return [record for record in records if isinstance(record, Step)]


def last_weight(folder: Path) -> Tensor:
    """The first tensor of the model, not of its average, in the last checkpoint."""
    place = folder / "checkpoints" / f"{CONFIG.steps:08d}"
    return checkpoints.read_tensors(place / "model.safetensors")["first.weight"]


def test_gradients_beyond_the_threshold_are_not_followed_but_counted(tmp_path: Path) -> None:
    """At steps 3, 4, 6 and 7 the loss is a thousandfold: weights, moments and average stay as they were, schedule and data go on.

    Three in a row would end the run: two and two do not.
    """
    weights: list[Tensor] = []
    steep_at = (3, 4, 6, 7)

    def steep(model: nn.Module, batch: tuple[Tensor, ...]) -> tuple[Tensor, dict[str, Tensor]]:
        weights.append(next(model.parameters()).detach().clone())
        value, _ = loss(model, batch)
        return value * (1000 if len(weights) in steep_at else 1), {"share": value, "parts": torch.stack([value, 2 * value])}

    config = replace(CONFIG, skip_above=50.0, skip_limit=3, log_every=1)
    *records, finished = fit(net(), steep, batches, config, tmp_path)
    found = steps_of(records)
    assert [step.skipped for step in found] == [0, 0, 1, 2, 2, 3, 4] + [4] * (config.steps - 7)
    assert torch.equal(weights[2], weights[4])
    assert isinstance(finished, Finished)
    after = [*weights[1:], last_weight(tmp_path)]
    average = after[0]
    for step, weight in enumerate(after[1:], 2):
        average = average if step in steep_at else torch.lerp(average, weight, 1 - config.ema)
    assert torch.allclose(next(finished.model.parameters()), average, rtol=1e-6)
    assert not torch.equal(weights[1], weights[2])
    assert not torch.equal(weights[4], weights[5])
    assert found[2].gradient_norm > 50 > found[1].gradient_norm
    assert [step.learning_rate for step in found] == [
        step.learning_rate for step in steps_of(list(run(tmp_path / "plain", replace(config, skip_above=None))))
    ]
    for step in found:
        assert step.details["parts"] == pytest.approx([step.details["share"], 2 * step.details["share"]])  # type: ignore[operator]


def test_too_many_skips_in_a_row_end_the_run(tmp_path: Path) -> None:
    with pytest.raises(
        MultiresError, match=r"^step 3: 3 updates in a row were left out, the last for a gradient of norm .*skip_above = 1e-06"
    ):
        list(run(tmp_path, replace(CONFIG, skip_above=1e-6, skip_limit=3)))


@pytest.mark.parametrize("skip_above", [None, 5.0])
def test_where_numbers_stop_being_finite_the_first_module_is_named(skip_above: float | None, tmp_path: Path) -> None:
    class Breaking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.third = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)
            self.calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            if self.calls == 4:
                self.second.bias.data[1] = math.inf
            return self.third(self.second(self.first(x)))  # type: ignore[no-any-return]

    with pytest.raises(MultiresError, match=r"loss (nan|inf).*; the first number that is not finite comes from .* in second, or"):
        list(fit(Breaking(), loss, batches, replace(CONFIG, skip_above=skip_above, log_every=1), tmp_path))


def test_in_bfloat16_the_average_is_evaluated_in_float32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `accelerate launch --mixed_precision bf16` asks: the steps compute in it, evaluation and what is handed out do not."""
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    trained, evaluated = set(), []

    class Linears(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            y = self.first(x)
            if self.training:
                trained.add(y.dtype)
            return self.second(y)  # type: ignore[no-any-return]

    def in_float32(model: nn.Module) -> bool:
        (x, _), weights = batches(99), model.state_dict()
        y = x @ weights["first.weight"].T + weights["first.bias"]
        expected = y @ weights["second.weight"].T + weights["second.bias"]
        with torch.no_grad():
            return torch.allclose(model(x), expected, rtol=1e-5, atol=1e-6)

    def evaluate(model: nn.Module) -> float:
        evaluated.append(in_float32(model))
        return 0.0

    AcceleratorState._reset_state()  # it reads the environment once a process
    try:
        *_, finished = fit(Linears(), loss, batches, CONFIG, tmp_path, evaluate=evaluate)
    finally:
        AcceleratorState._reset_state()
    assert trained == {torch.bfloat16}
    assert evaluated == [True] * 3
    assert isinstance(finished, Finished)
    assert in_float32(finished.model)
