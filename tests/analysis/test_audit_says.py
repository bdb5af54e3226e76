"""What an audit says beside what each site is: bands that survive, read-outs, notes, and refusals."""

import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import analysis
from analysis import audit, auditing, resampling
from analysis.resampling import Measured
from multires.errors import MultiresError
from tests.analysis.audited import Apply, X, images, only


def test_bands_that_survive_average_pooling() -> None:
    net = nn.Sequential(nn.AvgPool2d(2), nn.AvgPool2d(2), nn.Upsample(scale_factor=2))
    one, two, up = [site.survival for site in audit(net, images(4, 1, 16, 16)).sites]
    assert one is not None
    assert two is not None
    assert up is not None
    assert list(one) == ["d1", "d2", "a"]
    close = pytest.approx
    assert one["d1"] == {"d2": close(0, abs=1e-10), "a": close(0, abs=1e-10)}
    assert one["d2"] == {"d2": close(1, abs=1e-4), "a": close(0, abs=1e-10)}
    assert one["a"] == {"d2": close(0, abs=1e-10), "a": close(1, abs=1e-4)}
    assert two == {"d1": {"a": close(0, abs=1e-10)}, "d2": {"a": close(0, abs=1e-10)}, "a": {"a": close(1, abs=1e-4)}}
    assert up["a"]["a"] == close(1, abs=1e-4)


def test_read_outs_find_what_is_there() -> None:
    found = audit(nn.Sequential(nn.AvgPool2d(2), nn.Upsample(scale_factor=2)), images(8, 1, 16, 16))
    encoder, decoder = (site.readout for site in found.sites)
    for table in (encoder, decoder):
        assert table is not None
        assert table["haar"] < 1e-10
        assert min(value for name, value in table.items() if name != "haar") > 0.05
    assert [site.random_readout for site in found.sites] == [encoder, decoder]  # there are no weights


@torch.jit.script
def scripted_pool(x: torch.Tensor) -> torch.Tensor:
    return functional.avg_pool2d(x, 2)


class Through(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return functional.avg_pool2d(x, 2)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (scripted_pool, "no call of torch was seen to make"),
        (lambda x: torch.from_numpy(x.numpy()[..., ::2, ::2].copy()), "an activation leaves torch (numpy)"),
        (lambda x: torch.tensor(x.tolist()), "an activation leaves torch (tolist)"),
    ],
)
def test_what_cannot_be_seen_is_said(call: Any, said: str) -> None:
    net = nn.Sequential(nn.Conv2d(4, 4, 3, 1, 1), Apply(lambda _, x: call(x)), nn.Conv2d(4, 4, 3, 1, 1))
    notes = [note for note in audit(net, X).notes if "is not found" in note]
    assert any(said in note for note in notes)
    assert all("Apply '1'" in note or "Conv2d '2'" in note for note in notes)


def test_nothing_is_said_where_everything_is_seen() -> None:
    frozen = Apply(lambda self, x: x * torch.from_numpy(np.ones((1, 4, 1, 1), "f4")) + self.bias)
    frozen.bias = nn.Buffer(torch.ones(1, 4, 1, 1))
    net = nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 3, 1, 1)),
        nn.AvgPool2d(2),
        frozen,
        Apply(lambda _, x: Through.apply(x)),
    )
    assert not [note for note in audit(net, X).notes if "is not found" in note]


# One clear line


def refused(net: Any, inputs: Any) -> str:
    with pytest.raises(MultiresError) as caught:
        audit(net, inputs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_clear_lines() -> None:
    assert "pass a torch.nn.Module" in refused("net", X)
    assert "no image" in refused(nn.AvgPool2d(2), 3)
    assert "no image" in refused(nn.AvgPool2d(2), torch.ones(2, 3))
    assert "inputs are on the meta device" in refused(nn.AvgPool2d(2), X.to("meta"))
    assert "inputs are on the meta device" in refused(Apply(lambda _, x, y: x), (X, X.to("meta")))
    assert "inputs of shape (0, 4, 16, 16) are empty" in refused(nn.AvgPool2d(2), X[:0])
    assert "raised RuntimeError" in refused(nn.Conv2d(3, 3, 3), X)
    assert "(2, 4, 16, 16)" in refused(nn.Conv2d(3, 3, 3), X)
    assert "Apply raised SystemExit: 0" in refused(Apply(lambda _, x: sys.exit(0)), X)
    assert "compiled" in refused(torch.compile(nn.AvgPool2d(2)), X)
    assert "module '0' is compiled" in refused(nn.Sequential(torch.compile(nn.AvgPool2d(2))), X)
    assert "weight is on the meta device" in refused(nn.Conv2d(4, 4, 3, device="meta"), X)
    net = nn.AvgPool2d(2)
    net.stuck = (item for item in ())  # type: ignore[assignment] # no generator is copied
    assert "cannot be copied" in refused(net, X)


def test_what_cannot_be_measured_is_a_site_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> Measured:
        raise RuntimeError("no kernel for this\nmore")

    monkeypatch.setattr(resampling, "measure", fails)
    site = only(audit(nn.AvgPool2d(2), X))
    assert site.verdict == "not measured: RuntimeError: no kernel for this"


def test_what_gives_other_values_when_computed_again_is_not_measured() -> None:
    net = Apply(lambda _, x: functional.fractional_max_pool2d(x, 2, output_size=7))  # blocks at random places
    assert only(audit(net, X)).verdict.startswith("not measured: computed again, it gives other values")


def test_it_is_a_function_of_the_package() -> None:
    assert analysis.audit is auditing.audit
    with pytest.raises(AttributeError, match="nothing"):
        _ = analysis.nothing
