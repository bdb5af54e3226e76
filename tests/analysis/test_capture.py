"""`capture` against activations computed without it, and that it leaves the model as it was."""

import gc
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from analysis.capture import capture
from analysis.reducers import Keep, Moments
from multires.errors import MultiresError
from tests.analysis.audited import Apply

HOOKS = [name for name in nn.Module().__dict__ if "hooks" in name]


def images(batch: int = 2, seed: int = 0) -> Tensor:
    return torch.randn(batch, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


class Block(nn.Module):
    """Convolution, in-place ReLU, pooling by function."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return functional.avg_pool2d(self.relu(self.conv(x)), 2)


class Net(nn.Module):
    """A block with pooling inside, a pooling module, and one function used twice by the root."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.down1 = Block()
        self.pools = nn.ModuleList([nn.AvgPool2d(2)])
        self.head = nn.Conv2d(3, 2, 1)

    def forward(self, x: Tensor, fail: bool = False) -> Tensor:
        x = self.pools[0](self.down1(functional.relu(x)))
        if fail:
            raise KeyError("in the middle")
        return functional.relu(self.head(x))


def state(model: nn.Module) -> list[Any]:
    """Everything of a model that capture could leave changed."""
    found: list[Any] = []
    for module in model.modules():
        found += [(id(module.__dict__[name]), dict(module.__dict__[name])) for name in HOOKS]
        found += [module.training, sorted(module.__dict__)]
    return [*found, *(x.tolist() for x in model.state_dict().values()), torch.get_rng_state().tolist(), modes()]


def modes() -> int:
    return int(torch._C._len_torch_function_stack())


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


# ---- leaving no trace


def with_body_that_raises(net: Net) -> None:
    def body() -> None:
        with capture(net, "*", functions="*", inputs=True):
            net(images())
            raise KeyError("body")

    with pytest.raises(KeyError, match="body"):
        body()


def with_forward_that_raises(net: Net) -> None:
    with pytest.raises(KeyError, match="middle"), capture(net, "*", functions="*", inputs=True):
        net(images(), fail=True)


def with_normal_exit(net: Net) -> None:
    with capture(net, "*", functions="*", inputs=True):
        net(images())


def with_exit_that_complains(net: Net) -> None:
    with pytest.raises(MultiresError), capture(net, "*", functions="lstm", inputs=True):
        net(images())


def with_entry_that_fails(net: Net) -> None:
    calls = []

    def register(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        raise RuntimeError("no more hooks")

    net.head.register_forward_hook = register  # type: ignore[method-assign]
    try:
        with pytest.raises(RuntimeError, match="no more hooks"), capture(net, "*", functions="*", inputs=True):
            raise AssertionError("never entered")
    finally:
        del net.head.register_forward_hook
    assert calls


@pytest.mark.parametrize(
    "use", [with_normal_exit, with_body_that_raises, with_forward_that_raises, with_exit_that_complains, with_entry_that_fails]
)
def test_the_model_is_left_as_it_was(use: Callable[[Net], None]) -> None:
    net = Net().eval()
    net.head.train()
    net.head.register_forward_hook(lambda module, args, result: None, always_call=True)
    net.register_forward_pre_hook(lambda module, args: None)
    x = images()
    before, plain = state(net), net(x)
    use(net)
    assert state(net) == before
    assert torch.equal(net(x), plain)


def test_after_a_forward_that_raised_the_next_one_is_recorded_as_ever() -> None:
    net, x = Net(), images()
    with capture(net, "head", functions="*pool2d") as record:
        with pytest.raises(KeyError, match="middle"):
            net(x, fail=True)
        functional.avg_pool2d(x, 2)
        net(x)
    assert list(record) == ["down1/avg_pool2d", "pools.0/avg_pool2d", "head"]
    assert [len(reducer.outputs) for reducer in record.values()] == [2, 2, 1]


def test_a_hook_that_raises_and_a_forward_that_catches() -> None:
    def attempt(self: Any, x: Tensor) -> Tensor:
        try:
            return self.bad(x)  # type: ignore[no-any-return]
        except ArithmeticError:
            return functional.relu(x)

    def stop(module: nn.Module, args: Any) -> None:
        raise ArithmeticError

    net = Apply(attempt, bad=nn.AvgPool2d(2))
    net.bad.register_forward_pre_hook(stop)
    with capture(net, functions="*") as record:
        net(images())
    assert list(record) == ["relu"], "the path is the root's again"


@pytest.mark.parametrize("sites", [{"modules": "pools.0"}, {"functions": "avg_pool2d"}])
def test_an_exception_of_a_reducer_reaches_the_user(sites: dict[str, str]) -> None:
    class Full:
        def update(self, outputs: tuple[Tensor, ...], inputs: tuple[Tensor, ...]) -> None:
            raise OSError("disk full")

    net = Net()
    before = state(net)
    with pytest.raises(OSError, match="disk full"), capture(net, reduce=Full, **sites):  # type: ignore[arg-type]
        net(images())
    assert state(net) == before


@pytest.mark.parametrize("inner_first", [True, False])
def test_nested_captures(inner_first: bool) -> None:
    net, x = Net(), images()
    before = state(net)
    outer = capture(net, "pools.0", functions=["relu", "avg_pool2d"], inputs=True)
    inner = capture(net, "pools.0", functions="avg_pool2d", reduce=Moments)
    first, second = (inner, outer) if inner_first else (outer, inner)
    with first as a:
        net(x)
        with second as b:
            net(x)
        net(x)
    kept, moments = (b, a) if inner_first else (a, b)
    assert list(moments) == ["down1/avg_pool2d", "pools.0/avg_pool2d", "pools.0"]
    assert len(kept["pools.0"].outputs) == len(kept["relu#1"].outputs) == (1 if inner_first else 3)
    assert moments["pools.0"].count == (3 if inner_first else 1) * 8
    assert state(net) == before


def test_paths_are_followed_only_for_functions() -> None:
    net = Net()
    with capture(net, "pools.0"):
        hooked = [module for module in net.modules() if module._forward_hooks or module._forward_pre_hooks]
        assert hooked == [net, net.pools[0]]
        assert not modes()
        net(images())
    with capture(net, functions="relu"):
        assert all(module._forward_hooks for module in net.modules())
        assert modes()
        net(images())


def test_a_mode_of_the_user_goes_on_seeing_the_model() -> None:
    class Names(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            names.append(func.__name__)
            return func(*args, **(kwargs or {}))

    names: list[str] = []
    net, x = Net(), images()
    with Names():
        net(x)
    plain, names = names, []
    with Names(), capture(net, "*", functions="avg_pool2d", inputs=True):
        net(x)
    assert names == plain


# ---- memory


def live_tensors() -> int:
    gc.collect()
    return sum(issubclass(type(each), Tensor) for each in gc.get_objects())


def test_memory_does_not_grow_with_forwards() -> None:
    net, counts = Net(), []
    with torch.no_grad(), capture(net, "*", functions="*", inputs=True, reduce=Moments) as record:
        for seed in range(4):
            net(images(seed=seed))
            with pytest.raises(KeyError):
                net(images(seed=seed), fail=True)
            counts.append(live_tensors())
        assert len(set(counts)) == 1
        record.clear()  # a new epoch
        net(images())
    assert record["pools.0"].count == 8
    assert live_tensors() <= counts[0]


def test_a_record_may_be_cleared() -> None:
    net = Net()
    with capture(net, "head") as record:
        net(images())
        record.clear()
    assert not record


# ---- what a user can get wrong


def errors() -> Iterator[tuple[str, Callable[[], Any], str]]:
    def run(model: Any, *args: Any, forward: Callable[[Any], Any] = lambda net: net(images()), **kwargs: Any) -> Callable[[], Any]:
        def call() -> None:
            with capture(model, *args, **kwargs):
                forward(model)

        return call

    compiled, inside, scripted, replaced = Net(), Net(), Net(), Net()
    replaced.forward = torch.compile(replaced.forward)  # type: ignore[method-assign]
    compiled.down1.compile()
    inside.head = torch.compile(inside.head)  # type: ignore[assignment]
    scripted.head = torch.jit.trace(scripted.head, images())
    idle = Apply(lambda self, x: x + 1, used=nn.ReLU(), spare=nn.ReLU())
    yield "nothing matched", run(Net(), "pool.0"), "no module with a forward matches 'pool.0'; the nearest: pools.0"
    yield "a container", run(Net(), "pools"), "no module with a forward matches 'pools'; the nearest: pools.0"
    yield "one of two", run(Net(), ["head", "hat*"]), "matches 'hat*'"
    yield "a leaf model", run(nn.ReLU(), "0"), "none but the root"
    yield "nothing asked", run(Net()), "capture of nothing: name modules"
    yield "no string", run(Net(), functions=functional.avg_pool2d), "functions of capture: <built-in function avg_pool2d>"
    yield "no strings", run(Net(), [nn.ReLU()]), "modules of capture: ReLU() is a ReLU"
    yield "no module", run(functional.relu, "x"), "capture of a function: pass a torch.nn.Module"
    yield "no such call", run(Net(), functions=["relu", "max_*"]), "matches 'max_*'; called were relu, conv2d, avg_pool2d"
    many = Apply(lambda self, x: x.sin().cos().tan().exp().abs().neg().floor())
    yield "many calls", run(many, functions="lstm"), "called were sin, cos, tan, exp, abs and 2 more"
    yield "no call at all", run(nn.Identity(), functions="lstm"), "called were none"
    yield "no forward", run(Net(), "head", functions="relu", forward=id), "capture of 'head', 'relu': the model never ran"
    yield "another method", run(Net(), "head", forward=lambda net: net.head(torch.ones(1, 3, 1, 1))), "the model never ran"
    yield "never ran", run(idle, ["used", "spare"]), "modules 'used' matched 'used' but never ran in the model"
    yield "an instance", run(Net(), "head", reduce=Moments()), "pass what makes a reducer for each site"
    yield "no reducer", run(Net(), "head", reduce=lambda: 5), "reduce() made a int: a reducer has update(outputs, inputs)"
    complex_ = Apply(lambda self, x: self.used(x.to(torch.complex64)), used=nn.Identity())
    yield "complex moments", run(complex_, "used", reduce=Moments), "moments of a complex tensor"
    nested = Apply(lambda self, x: self.used(torch.nested.as_nested_tensor([x[0], x[0]])), used=nn.Identity())
    yield "nested moments", run(nested, "used", reduce=Moments), "moments of a nested tensor"
    mistake = "is compiled; capture sees nothing inside: pass the module as it was before torch.compile"
    yield "torch.compile", run(torch.compile(Net()), "*"), f"the model {mistake}"
    yield "torch.compile inside", run(inside, "down1"), f"module 'head' {mistake}"
    yield "forward", run(replaced, "*"), f"the model {mistake}"
    yield "compile()", run(compiled, "head"), f"module 'down1' {mistake}"
    yield "TorchScript", run(scripted, "down1"), f"module 'head' {mistake}"


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("wrong", errors(), ids=lambda wrong: wrong[0])
def test_errors_are_one_line(wrong: tuple[str, Callable[[], Any], str]) -> None:
    _, call, text = wrong
    with pytest.raises(MultiresError, match=re.escape(text)) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_glob_may_match_modules_that_do_not_run() -> None:
    """Attention calls its projection's weights and not the module: '*' takes what there is."""
    model = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)
    with capture(model, "*") as record:
        model(torch.randn(2, 3, 8))
    assert {"linear1", "norm2", ""} <= set(record)
    assert "self_attn.out_proj" not in record


def test_no_complaint_hides_an_exception() -> None:
    with pytest.raises(KeyError, match="body"), capture(Net(), "head", functions="lstm"):
        raise KeyError("body")
