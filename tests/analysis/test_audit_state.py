"""What an audit does with weights: random ones stand beside trained ones, and the model is left as it was."""

import random
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from analysis import audit, copies
from multires import pretrained
from tests.analysis.audited import Apply, X, images, measured, only


def test_random_weights_stand_beside_trained_ones() -> None:
    net = pretrained.load_unet("unet-strided")[0]
    found = audit(net, images(4, 1, 32, 32))
    for site in found.sites[:4]:
        assert site.random is not None
        assert site.random != measured(site).filters
        assert f"({100 * min(site.random.values()):.2g} % with random weights)" in site.verdict


class Scaled(nn.Module):
    """A parameter that no reset_parameters reaches."""

    def __init__(self) -> None:
        super().__init__()
        self.gain, self.kernel = nn.Parameter(torch.ones(4)), nn.Parameter(3 + torch.randn(4, 50))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gain[:, None, None] + self.kernel.mean()


def test_redrawn_weights() -> None:
    net = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.AvgPool2d(2), Scaled())
    before = {name: p.clone() for name, p in net.named_parameters()}
    sentence = copies.redraw(net)
    after = dict(net.named_parameters())
    assert not torch.equal(after["0.weight"], before["0.weight"])
    assert torch.equal(after["2.gain"], before["2.gain"])
    assert not torch.equal(after["2.kernel"], before["2.kernel"])
    assert float(after["2.kernel"].detach().mean()) == pytest.approx(3, abs=0.3)
    assert "1 that it leaves alone, the first in Scaled '2'" in sentence


# The model stays as it was


def test_the_model_is_left_as_it_was() -> None:
    drawing = Apply(lambda _, x: x * random.random() * float(np.random.rand()))  # noqa: NPY002
    net = nn.Sequential(
        nn.Conv2d(4, 4, 3, 1, 1), nn.BatchNorm2d(4), nn.Dropout(0.5), drawing, nn.AvgPool2d(2), nn.Upsample(scale_factor=2)
    )
    net.train()
    net[1].eval()
    net[0].requires_grad_(False)
    net[1].weight.grad = torch.ones(4)
    calls: list[int] = []
    net[0].register_forward_hook(lambda *_: calls.append(1) and None)
    x = X.clone()

    def state() -> Any:
        hooks = [{name: list(value) for name, value in vars(m).items() if "hooks" in name} for m in net.modules()]
        tensors = {name: (t.data_ptr(), t._version, t.clone()) for name, t in net.state_dict().items()}
        return hooks, [m.training for m in net.modules()], [sorted(vars(m)) for m in net.modules()], tensors

    hooks, training, names, tensors = state()
    generators = torch.get_rng_state(), audit_random_states()
    gradients = [(p.requires_grad, p.grad) for p in net.parameters()]
    audit(net, x)
    assert state()[:3] == (hooks, training, names)
    for name, (place, version, value) in state()[3].items():
        assert (place, version) == tensors[name][:2]
        assert torch.equal(value, tensors[name][2])
    assert torch.equal(torch.get_rng_state(), generators[0])
    assert audit_random_states() == generators[1]
    assert [(p.requires_grad, p.grad) for p in net.parameters()] == gradients
    assert [flag for flag, _ in gradients] == [False, False, True, True]
    assert torch.equal(x, X)


class Named(NamedTuple):
    image: Tensor
    time: int


class Attributes(dict[str, Tensor]):
    @property
    def image(self) -> Tensor:
        return self["image"]


@pytest.mark.parametrize("pack", [lambda x: Named(x, 3), lambda x: Attributes(image=x)])
def test_inputs_of_other_classes_are_copied_as_they_are(pack: Callable[[Tensor], Any]) -> None:
    net = Apply(lambda _, given: functional.avg_pool2d(given.image.mul_(0.5), 2))
    x = images(4, 4, 16, 16)
    held = pack(x)
    found = only(audit(net, (held,)))
    assert held.image is x
    assert torch.equal(x, images(4, 4, 16, 16))
    survival = found.survival
    assert survival is not None
    assert (survival["d1"]["a"], survival["a"]["a"]) == (pytest.approx(0, abs=1e-10), pytest.approx(1, abs=1e-4))


def audit_random_states() -> list[str]:
    return [repr(random.getstate()), repr(np.random.get_state())]  # noqa: NPY002


def test_two_audits_agree() -> None:
    net = nn.Sequential(nn.Conv2d(4, 4, 3, 2, 1), nn.Dropout(0.5), nn.Upsample(scale_factor=2))
    first, second = (audit(net, images(4, 4, 16, 16)).to_json() for _ in range(2))
    assert first | {"seconds": 0} == second | {"seconds": 0}
