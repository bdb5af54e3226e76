"""What is no change of resolution is no site: crops, attention, tokens, channels that lie last; what divides unevenly is one."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from analysis import audit
from tests.analysis.audited import Apply, X, images, only


def _attended(qkv: Sequence[Tensor]) -> Tensor:
    query, key, value = qkv
    return (query @ key.mT).softmax(-1) @ value


NO_SITES: dict[str, nn.Module] = {
    "crop": Apply(lambda _, x: x[..., 4:12, 4:12].relu()),
    "pad": Apply(lambda _, x: functional.pad(x, (8, 8, 8, 8)).relu()),
    "valid convolution": nn.Conv2d(4, 4, 5),
    "stride 1": nn.MaxPool2d(3, 1),
    "attention": Apply(lambda _, x: (lambda q: q.transpose(2, 3) @ q)(x.view(2, 2, 2, 256)).softmax(-1)),
    "channels last and back": Apply(
        lambda _, x: functional.linear(x.permute(0, 2, 3, 1), torch.ones(9, 4)).permute(0, 3, 1, 2).relu()
    ),
    "attention between cells": Apply(
        lambda s, x: x + _attended(s.qkv(x.flatten(2).mT).unflatten(2, (3, 4)).unbind(2)).mT.view(x.shape),
        qkv=nn.Linear(4, 12),
    ),
    "patches": Apply(
        lambda s, x: s.l(x.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)).mean(1),
        l=nn.Linear(64, 7),
    ),
    "a head": Apply(lambda s, x: s.l(x.flatten(1)), l=nn.Linear(1024, 7)),
    "a head on the means": Apply(lambda s, x: s.l(x.mean((2, 3))), l=nn.Linear(4, 7)),
    "a head on a crop": Apply(lambda s, x: s.l(x[..., 4:12, 4:12].flatten(1)), l=nn.Linear(256, 7)),
    "channels that lie last": Apply(lambda s, x: s.l(x.permute(0, 2, 3, 1).flatten(1, 2)), l=nn.Linear(4, 7)),
    "inner products": Apply(lambda s, x: s.l((x.flatten(2) @ x.flatten(2).mT).flatten(1)), l=nn.Linear(16, 7)),
    "windows": Apply(lambda _, x: x.view(2, 4, 4, 4, 4, 4).permute(0, 2, 4, 1, 3, 5).reshape(32, 4, 4, 4).relu()),
    "norms over channels that lie last": Apply(
        lambda _, x: (lambda y: (y * y.pow(2).mean(-1, keepdim=True).rsqrt()).movedim(-1, 1))(x.movedim(1, -1)),
    ),
    "channel means": Apply(lambda _, x: x.mean(1, keepdim=True).relu()),
}


@pytest.mark.parametrize("name", NO_SITES)
def test_what_is_no_change_of_resolution(name: str) -> None:
    assert audit(NO_SITES[name], X).sites == ()


@pytest.mark.parametrize("side", [3, 5, 7, 9, 14])
@pytest.mark.parametrize("along", ["slice", "mean", "amax", "repeat"])
def test_sides_that_do_not_divide(side: int, along: str) -> None:
    def halved(x: Tensor) -> Tensor:
        if along == "slice":
            return x[..., ::2, ::2]
        if along == "repeat":
            return x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        blocks = x[..., : side // 2 * 2, : side // 2 * 2].unflatten(2, (-1, 2)).unflatten(4, (-1, 2))
        return getattr(blocks, along)((3, 5))

    site = only(audit(Apply(lambda _, x: halved(x).relu()), images(2, 4, side, side)))
    assert site.after == ({"slice": (side + 1) // 2, "repeat": 2 * side}.get(along, side // 2),) * 2


@pytest.mark.parametrize(("channels", "tokens", "keys"), [(4, 8, 2), (8, 16, 2), (4, 8, 4), (8, 16, 8), (48, 16, 32)])
def test_random_maps_of_tokens_are_no_resampling(channels: int, tokens: int, keys: int) -> None:
    """By chance, up to a quarter of them are where two places alone are compared, and what all places have in common counts."""
    linear = nn.Linear(channels, keys)
    for seed in range(50):
        torch.manual_seed(seed)
        nn.init.normal_(linear.weight)
        net = Apply(lambda s, x: s.linear(x.mT).softmax(-1), linear=linear)
        assert audit(net, images(2, channels, tokens)).sites == ()


@pytest.mark.parametrize("shape", [(4, 16, 16, 32), (4, 64, 48)])
@pytest.mark.parametrize(
    "weighted",
    [lambda x: x.mean(-1, keepdim=True).sigmoid(), lambda x: torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)],
)
def test_means_over_channels_that_lie_last_are_no_resampling(shape: tuple[int, ...], weighted: Callable[[Tensor], Tensor]) -> None:
    assert audit(Apply(lambda _, x: x * weighted(x)), images(*shape)).sites == ()


@pytest.mark.parametrize("grid", [(16,), (4, 16), (8, 8)])
@pytest.mark.parametrize(("before", "after"), [(48, 1), (1, 16), (8, 2), (2, 8), (8, 3), (16, 4), (16, 5)])
def test_random_maps_of_channels_that_lie_last_are_no_resampling(grid: tuple[int, ...], before: int, after: int) -> None:
    linear = nn.Linear(before, after)
    for seed in range(12):
        torch.manual_seed(seed)
        nn.init.normal_(linear.weight)
        assert audit(nn.Sequential(linear, nn.ReLU()), images(2, *grid, before)).sites == ()


def test_one_axis_that_is_resampled_by_a_fixed_function_is_a_site() -> None:
    for x in (images(2, 4, 8), images(2, 4, 16, 8)):
        assert only(audit(Apply(lambda _, x: ((x[..., ::2] + x[..., 1::2]) / 2).relu()), x)).verdict == "Haar projection, exact"
