"""`capture` against activations computed without it."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from analysis.capture import capture
from analysis.reducers import Keep, Moments
from tests.analysis.audited import Apply
from tests.analysis.captured import Net, images

# ---- what is recorded


def test_module_before_an_in_place_relu() -> None:
    net, x = Net(), images()
    with torch.no_grad(), capture(net, "down1.*", inputs=True) as record:
        net(x)
        before = net.down1.conv(functional.relu(x))
    assert list(record) == ["down1.conv", "down1.relu"]
    assert before.min() < 0
    assert torch.equal(record["down1.conv"].tensor, before)
    assert torch.equal(record["down1.relu"].inputs[0][0], before)
    assert torch.equal(record["down1.relu"].tensor, before.relu())


def test_without_inputs_none_are_given() -> None:
    net = Net()
    with capture(net, "head", functions="relu") as record:
        net(images())
    assert [reducer.inputs for reducer in record.values()] == [[()]] * 4


def test_a_reducer_computes_before_the_next_in_place_operation() -> None:
    class Least:
        def update(self, outputs: tuple[Tensor, ...], inputs: tuple[Tensor, ...]) -> None:
            self.value, self.live = outputs[0].min().item(), outputs[0]

    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(inplace=True))
    with capture(net, "0", reduce=Least) as record:
        net(images())
    assert record["0"].value == net[0](images()).min().item() < 0
    assert record["0"].live.min() == 0, "a tensor that was not cloned changes: what Reducer's documentation says"


def test_sites_of_a_module_used_twice_count_anew_with_each_forward() -> None:
    net = Apply(lambda self, x: self.pool(self.pool(x)), pool=nn.AvgPool2d(2))
    batches = [images(seed=1), images(3, seed=2)]
    with capture(net, "pool") as record:
        for x in batches:
            net(x)
    assert list(record) == ["pool", "pool#1"]
    assert torch.equal(record["pool"].tensor, torch.cat([functional.avg_pool2d(x, 2) for x in batches]))
    assert torch.equal(record["pool#1"].tensor, torch.cat([functional.avg_pool2d(functional.avg_pool2d(x, 2), 2) for x in batches]))


def test_the_root_by_its_name_and_a_recursive_model() -> None:
    net = Apply(lambda self, x: self(functional.avg_pool2d(x, 2)) if x.shape[-1] > 2 else x + 1)
    x = images()
    with capture(net, "", functions="avg_pool2d") as record:
        y = net(x)
        net(x)
    assert list(record) == ["avg_pool2d", "avg_pool2d#1", "#2", "#1", ""]
    assert torch.equal(record[""].tensor, torch.cat([y, y]))
    assert torch.equal(record["avg_pool2d#1"].outputs[1][0], functional.avg_pool2d(functional.avg_pool2d(x, 2), 2))


def test_globs_of_modules() -> None:
    net = Net()
    with capture(net, ["pools.*", "down?.conv", "pools.0"]) as record:
        net(images())
    assert list(record) == ["down1.conv", "pools.0"]
    with capture(net, "*") as record:  # all but the ModuleList, which has no forward
        net(images())
    assert list(record) == ["down1.conv", "down1.relu", "down1", "pools.0", "head", ""]
    assert all(len(reducer.outputs) == 1 for reducer in record.values())


def test_functions_in_the_root_and_nested() -> None:
    net, x = Net(), images()
    with torch.no_grad(), capture(net, functions=["avg_pool2d", "relu*"]) as record:
        functional.relu(x)  # no call of the model's
        net(x)
        functional.avg_pool2d(x, 2)
        inner = net.down1.conv(functional.relu(x)).relu()
        net.down1(x)  # nor is this
    assert list(record) == ["relu", "down1.relu/relu", "down1/avg_pool2d", "pools.0/avg_pool2d", "relu#1"]
    assert all(len(reducer.outputs) == 1 for reducer in record.values())
    assert torch.equal(record["relu"].tensor, x.relu())
    assert torch.equal(record["down1.relu/relu"].tensor, inner)
    assert torch.equal(record["down1/avg_pool2d"].tensor, functional.avg_pool2d(inner, 2))
    assert torch.equal(record["pools.0/avg_pool2d"].tensor, functional.avg_pool2d(functional.avg_pool2d(inner, 2), 2))
    assert torch.equal(record["relu#1"].tensor, net(x))


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("max_pool2d", lambda x: functional.max_pool2d(x, 2)),
        ("max_pool2d", lambda x: functional.max_pool2d(x, 2, return_indices=True)),
        ("max_pool2d", nn.MaxPool2d(2)),
        ("adaptive_max_pool2d", lambda x: functional.adaptive_max_pool2d(x, 2, return_indices=True)),
        ("adaptive_avg_pool2d", lambda x: functional.adaptive_avg_pool2d(x, 2)),
        ("interpolate", lambda x: functional.interpolate(x, scale_factor=2, mode="bilinear")),
        ("pixel_unshuffle", lambda x: functional.pixel_unshuffle(x, 2)),
        ("relu", functional.relu),
        ("relu", torch.relu),
        ("relu", lambda x: x.relu()),
        ("cat", lambda x: torch.cat([x, x], 1)),
    ],
)
def test_each_way_to_call_a_function_is_one_site(name: str, call: Callable[[Tensor], Any]) -> None:
    x, net = images(), Apply(lambda self, x: call(x + 1))
    wanted = call(x + 1)
    with capture(net, functions=name, inputs=True) as record:
        net(x)
    (path,) = record
    assert path == name
    assert len(record[name].outputs) == 1
    outputs = record[name].outputs[0]
    assert len(outputs) == (2 if isinstance(wanted, tuple) else 1)
    assert all(map(torch.equal, outputs, wanted if isinstance(wanted, tuple) else (wanted,)))
    assert torch.equal(record[name].inputs[0][0], x + 1)


def test_the_input_of_an_in_place_function_is_its_value_before() -> None:
    net, x = Apply(lambda self, x: functional.relu(x * 2, inplace=True)), images()
    with capture(net, functions="relu", inputs=True) as record:
        net(x)
    assert torch.equal(record["relu"].inputs[0][0], x * 2)
    assert torch.equal(record["relu"].tensor, (x * 2).relu())


def test_every_glob_meets_only_calls_that_give_tensors() -> None:
    net = Apply(lambda self, x: (x + x.shape[0] * x.dim())[0].mT)
    with capture(net, functions="*") as record:
        net(images())
    assert list(record) == ["add"]


def test_what_reducers_call_is_no_site() -> None:
    class Summing:
        def update(self, outputs: tuple[Tensor, ...], inputs: tuple[Tensor, ...]) -> None:
            torch.sum(outputs[0])

    net = Net()
    with capture(net, functions="*") as outer, capture(net, "*", functions=["avg_pool2d"], inputs=True, reduce=Summing):
        net(images())
    assert {key.split("/")[-1] for key in outer} == {"relu", "relu#1", "conv2d", "avg_pool2d"}


@dataclass
class Pair:
    first: Tensor
    rest: dict[str, Any]


@pytest.mark.parametrize(
    "build",
    [
        lambda a, b, c: (a, [b, c]),
        lambda a, b, c: {"a": a, "b": (b, None), "c": c},
        lambda a, b, c: Pair(a, {"count": 3, "more": [b, Pair(c, {})]}),
        lambda a, b, c: [(a,), Pair(b, {"class": Pair}), c],
    ],
)
def test_outputs_are_flattened_in_order(build: Callable[..., Any]) -> None:
    parts = [images(seed=seed) for seed in range(3)]
    net = Apply(lambda self, *parts: self.inner(*parts), inner=Apply(lambda self, *parts: build(*parts)))
    with capture(net, "inner") as record:
        net(*parts)
    (outputs,) = record["inner"].outputs
    assert len(outputs) == 3
    assert all(map(torch.equal, outputs, parts))


def test_inputs_positional_then_by_keyword() -> None:
    a, b, c = (images(seed=seed) for seed in range(3))
    inner = Apply(lambda self, x, scale, *, other, flag: x.mul_(2) + other["c"])
    net = Apply(lambda self: self.inner(a, 3, other={"c": c, "b": [b]}, flag=True), inner=inner)
    was = a.clone()
    with capture(net, "inner", inputs=True) as record:
        net()
    assert [torch.equal(x, y) for x, y in zip(record["inner"].inputs[0], (was, c, b), strict=True)] == [True] * 3
    assert torch.equal(record["inner"].tensor, 2 * was + c)


def test_hooks_of_the_user_that_change_what_a_module_gets_and_gives() -> None:
    net = nn.Sequential(nn.AvgPool2d(2))
    net[0].register_forward_pre_hook(lambda module, args: (args[0] + 1,))
    net[0].register_forward_hook(lambda module, args, result: result * 2)
    x = images()
    with capture(net, "0", inputs=True) as record:
        y = net(x)
    assert torch.equal(record["0"].inputs[0][0], x + 1)
    assert torch.equal(record["0"].tensor, y)


def test_device_and_dtype() -> None:
    net = Apply(lambda self, x: self.inner(x), inner=Apply(lambda self, x: (functional.relu(x), x.argmax(1))))
    with capture(net, "inner", functions="relu", inputs=True, dtype=torch.float64, device="meta") as record:
        net(images())
    for key, dtypes in (("inner", [torch.float64, torch.int64]), ("inner/relu", [torch.float64])):
        assert [x.dtype for x in record[key].outputs[0]] == dtypes
        assert [(x.dtype, x.device.type) for x in record[key].inputs[0]] == [(torch.float64, "meta")]
        assert {x.device.type for x in record[key].outputs[0]} == {"meta"}


def test_a_model_on_the_meta_device() -> None:
    net = Net().to("meta")
    with capture(net, functions="avg_pool2d", inputs=True) as record:
        net(images().to("meta"))
    assert record["down1/avg_pool2d"].tensor.shape == (2, 3, 4, 4)


@pytest.mark.parametrize("first", ["alone", "shared", "alone.pool", "shared.pool", "*.pool", "shar*"])
def test_a_module_of_two_names_goes_by_the_one_that_matched(first: str) -> None:
    block = nn.Sequential()
    block.add_module("pool", nn.AvgPool2d(2))
    net = Apply(lambda self, x: self.shared(self.alone(x)), alone=block, shared=block)
    with capture(net, first) as record:
        net(images())
    key = {"*.pool": "alone.pool", "shar*": "shared"}.get(first, first)
    assert {name.split("#")[0] for name in record} == ({key} if first != "shar*" else {"shared", "shared.pool"})
    assert record[f"{key}#1"].tensor.shape[-1] == 2


# ---- modes of torch


@pytest.mark.parametrize("mode", ["no_grad", "inference", "autocast", "training", "eval"])
def test_modes_of_torch(mode: str) -> None:
    net, x = Net(), images()
    net.train(mode != "eval")
    contexts = {"no_grad": torch.no_grad, "inference": torch.inference_mode, "autocast": lambda: torch.autocast("cpu")}
    context = contexts.get(mode, torch.enable_grad)
    with context():
        wanted = functional.avg_pool2d(net.down1.relu(net.down1.conv(x.relu())), 2)
        plain = net(x)
    with capture(net, ["pools.0", "head"], functions="avg_pool2d", inputs=True) as record, context():
        assert torch.equal(net(x), plain)
    kept = record["down1/avg_pool2d"].tensor
    assert torch.equal(kept, wanted)
    assert kept.dtype == (torch.bfloat16 if mode == "autocast" else torch.float32)
    for reducer in record.values():
        for tensors in (*reducer.outputs, *reducer.inputs):
            assert not any(x.requires_grad or x.is_inference() for x in tensors)


def test_reducers_run_in_full_precision_without_gradients() -> None:
    seen = []

    class Gram:
        def update(self, outputs: tuple[Tensor, ...], inputs: tuple[Tensor, ...]) -> None:
            x = outputs[0].float().flatten(1)
            seen.append(((x @ x.T).dtype, torch.is_grad_enabled(), torch.is_inference_mode_enabled()))

    net = Net()
    with torch.inference_mode(), torch.autocast("cpu"), capture(net, "head", functions="avg_pool2d", reduce=Gram):
        net(images())
        assert torch.is_autocast_enabled("cpu")
    assert seen == [(torch.float32, False, False)] * 3


def test_tensors_handed_over_are_detached() -> None:
    class Look:
        def update(self, outputs: tuple[Tensor, ...], inputs: tuple[Tensor, ...]) -> None:
            self.attached = any(x.requires_grad for x in (*outputs, *inputs))

    net = Net()
    with capture(net, "head", functions="avg_pool2d", inputs=True, reduce=Look) as record:
        assert net(images()).requires_grad
    assert [reducer.attached for reducer in record.values()] == [False] * 3


def test_moments_in_and_out_of_inference_mode() -> None:
    net = Net()
    with capture(net, "pools.0", reduce=Moments) as record:
        with torch.inference_mode():
            net(images(seed=1))
        net(images(seed=2))
        with torch.no_grad():
            net(images(seed=3))
    assert record["pools.0"].count == 3 * 2 * 2 * 2


def test_gradients_are_those_without_capture() -> None:
    gradients = []
    for watched in (False, True):
        net, x = Net(), images().requires_grad_()
        with ExitStack() as stack:
            if watched:
                stack.enter_context(capture(net, "*", functions="*", inputs=True, reduce=Keep))
            net(x).square().sum().backward()
        assert x.grad is not None
        gradients.append([x.grad, *(p.grad for p in net.parameters())])
    for plain, watched_gradient in zip(*gradients, strict=True):
        assert torch.equal(plain, watched_gradient)
