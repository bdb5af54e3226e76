"""That nothing is called a projection which is one only for small numbers, for the first image, or for another network."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from analysis.auditing import audit
from multires.errors import MultiresError
from tests.analysis.audited import Apply, images, measured, only

FOUR = images(4, 4, 16, 16)


def blocks(x: Tensor) -> Tensor:
    """The blocks of 2 x 2 cells, along axes 3 and 5."""
    return x.view(-1, 4, 8, 2, 8, 2)


def maximum_of_blocks_that_vary(x: Tensor) -> Tensor:
    return torch.maximum(blocks(x).mean((3, 5)), blocks(x).amax((3, 5)) - 100)


@pytest.mark.parametrize(
    "function",
    [
        lambda _, x: blocks(x).clamp(-100, 100).mean((3, 5)),
        lambda _, x: (blocks(x) + 50).relu().mean((3, 5)) - 50,
        lambda _, x: maximum_of_blocks_that_vary(x),
    ],
)
def test_what_is_cut_off_at_the_size_of_activations_is_not_linear(function: Callable[..., Tensor]) -> None:
    assert not measured(only(audit(Apply(function), 255 * FOUR))).linear
    assert only(audit(Apply(function), FOUR)).verdict == "Haar projection, exact"  # on these it is that


@pytest.mark.parametrize("scale", [1.0, 255.0, 1e-3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_average_pooling_stays_the_projection_at_any_size_and_precision(scale: float, dtype: torch.dtype) -> None:
    assert only(audit(nn.AvgPool2d(2), (scale * FOUR).to(dtype))).verdict == "Haar projection, exact"


@pytest.mark.parametrize(
    ("function", "linear"),
    [
        (lambda _, x: torch.cat([blocks(x[:2]).mean((3, 5)), blocks(x[2:]).amax((3, 5))]).relu(), False),
        (lambda _, x: torch.cat([blocks(x)[:1].mean((3, 5)), blocks(x)[1:, :, :, 0, :, 0]]).relu(), True),
        (lambda _, x: (blocks(x) + 0.01 * (blocks(x).roll(1, 0) - blocks(x))).mean((3, 5)), True),
    ],
)
def test_what_is_done_to_one_image_alone_is_not_done_to_all(function: Callable[..., Tensor], linear: bool) -> None:
    site = only(audit(Apply(function), FOUR))
    assert measured(site).linear == linear
    assert "exact" not in site.verdict


def test_a_function_that_holds_the_modules_of_the_model_itself_is_refused_and_changes_nothing() -> None:
    norm = nn.BatchNorm2d(4)
    net = nn.Sequential(nn.Conv2d(4, 4, 2, 2), norm)
    forward = net.forward
    net.forward = lambda x: forward(x).relu()  # type: ignore[method-assign]
    with pytest.raises(MultiresError, match=r"^Sequential '': a function, such as a lambda, holds weights of the model itself, "):
        audit(net, FOUR)
    assert norm.num_batches_tracked == 0


def test_a_train_that_returns_nothing_is_no_obstacle() -> None:
    class Frozen(nn.Sequential):
        def train(self, mode: bool = True) -> None:  # type: ignore[override]
            super().train(mode)

    assert only(audit(Frozen(nn.AvgPool2d(2)), FOUR)).verdict == "Haar projection, exact"


def test_weights_whose_reset_raises_are_drawn_and_the_note_says_so() -> None:
    class Odd(nn.Conv2d):
        built = False

        def reset_parameters(self) -> None:
            if self.built:
                raise NotImplementedError("not here")
            super().reset_parameters()
            self.built = True

    found = audit(Odd(4, 4, 2, 2), FOUR)
    assert only(found).random != measured(only(found)).filters
    (note,) = (note for note in found.notes if note.startswith("random weights"))
    assert note.endswith("normal, of their own mean and deviation; that of Odd '' raised NotImplementedError: not here")


def test_of_several_inputs_the_image_is_the_one_with_most_axes() -> None:
    net = Apply(lambda _, tokens, x: functional.avg_pool2d(x, 2) + tokens.mean())
    assert only(audit(net, (images(4, 7, 8), FOUR))).readout


def test_images_without_variance_have_no_readout() -> None:
    assert only(audit(nn.AvgPool2d(2), torch.ones(8, 1, 16, 16))).readout is None


def test_what_autocast_rounds_is_no_other_function() -> None:
    half = torch.kron(torch.eye(8), torch.tensor([[0.5, 0.5]]))

    class Halved(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("pairs", half)
            self.scale = nn.Parameter(torch.full((4, 1, 1), 1.37))

        def forward(self, x: Tensor) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                y = self.get_buffer("pairs") @ x @ self.get_buffer("pairs").T
            return (y * self.scale).relu()

    assert only(audit(Halved(), FOUR)).verdict.startswith("Haar projection times 1.37")


def test_a_hook_may_look_at_weights_of_the_model_itself() -> None:
    net = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.AvgPool2d(2))
    seen: list[float] = []
    net[0].register_forward_hook(lambda module, args, result: seen.append(float(net[0].weight.norm())))  # type: ignore[arg-type, operator]
    net[1].register_forward_hook(lambda module, args, result: result.to(net[0].weight.dtype))
    assert only(audit(net, FOUR)).verdict == "Haar projection, exact"
    assert seen


def test_of_signals_beside_a_picture_the_signals_are_audited() -> None:
    net = Apply(lambda _, x, picture: functional.avg_pool1d(x, 2) + picture.mean())
    assert only(audit(net, (images(4, 3, 64), images(1, 1, 8, 8)))).readout
