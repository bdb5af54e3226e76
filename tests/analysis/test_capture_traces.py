"""What `capture` leaves behind: a model as it was, no memory, and one line for what is asked wrongly."""

import gc
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from analysis.capture import capture
from analysis.reducers import Moments
from multires.errors import MultiresError
from tests.analysis.audited import Apply
from tests.analysis.captured import Net, images, modes, state

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
