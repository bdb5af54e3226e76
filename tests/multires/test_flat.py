"""Parameters in one vector: the same numbers, shapes and layouts, and what happens to the one happens to the other."""

import copy

import torch
from torch import nn

from multires import checkpoints
from multires.flat import flatten


def net() -> nn.Sequential:
    torch.manual_seed(0)
    layers = nn.Conv2d(2, 3, 3), nn.Conv2d(3, 1, 1, bias=False)
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def loss(model: nn.Module) -> torch.Tensor:
    value: torch.Tensor = model(torch.linspace(-1, 1, 2 * 25).reshape(1, 2, 5, 5)).square().sum()
    return value


def test_values_shapes_and_layouts_stay() -> None:
    before, model = net(), net()
    (vector,) = flatten(model)
    assert vector.numel() == 2 * 3 * 9 + 3 + 3
    for own, other in zip(model.parameters(), before.parameters(), strict=True):
        assert torch.equal(own, other)
        assert own.stride() == other.stride()
    assert not model[0].weight.is_contiguous()


def test_vector_and_parameters_are_one_memory() -> None:
    model = net()
    (vector,) = flatten(model)
    with torch.no_grad():
        vector.copy_(torch.arange(vector.numel()))
    numbers = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    assert torch.equal(numbers.sort().values, torch.arange(float(vector.numel())))  # none is written twice or left out
    assert torch.equal(model[1].weight.flatten(), vector[-3:])


def test_gradients_arrive_in_the_vector_and_are_added_until_they_are_set_to_zero() -> None:
    twin, model = net(), net()
    (vector,) = flatten(model)
    optimizer = torch.optim.SGD([vector], 0.1)
    loss(twin).backward()  # type: ignore[no-untyped-call]
    for times in (1, 2):
        loss(model).backward()  # type: ignore[no-untyped-call]
        assert vector.grad is not None
        for own, other in zip(model.parameters(), twin.parameters(), strict=True):
            assert own.grad is not None
            assert other.grad is not None
            torch.testing.assert_close(own.grad, times * other.grad)
            assert own.grad.untyped_storage().data_ptr() == vector.grad.untyped_storage().data_ptr()
    optimizer.zero_grad(set_to_none=False)
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in model.parameters())


def test_an_optimiser_of_the_vector_does_what_one_of_the_tensors_does() -> None:
    twin, model = net(), net()
    together, apart = (torch.optim.AdamW(of, 0.1, weight_decay=0.1) for of in (flatten(model), list(twin.parameters())))
    for _ in range(5):
        for each, optimizer in ((model, together), (twin, apart)):
            loss(each).backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], 0.5)
            optimizer.step()
            optimizer.zero_grad(set_to_none=each is twin)
    for own, other, first in zip(model.parameters(), twin.parameters(), net().parameters(), strict=True):
        torch.testing.assert_close(own, other)
        assert not torch.allclose(own, first)


def test_each_kind_of_number_has_a_vector_and_what_is_not_trained_none() -> None:
    model = nn.ModuleList([nn.Linear(2, 2), nn.Linear(3, 1).double(), nn.Linear(5, 5)])
    model[2].requires_grad_(False)
    kept = model[2].weight.data_ptr()
    assert [(vector.dtype, vector.numel()) for vector in flatten(model)] == [(torch.float32, 6), (torch.float64, 4)]
    assert model[2].weight.data_ptr() == kept
    assert model[2].weight.grad is None
    assert flatten(nn.Identity()) == []


def test_tied_parameters_stay_tied() -> None:
    model = nn.ModuleList([nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)])
    model[1].weight = model[0].weight
    (vector,) = flatten(model)
    assert vector.numel() == 4
    assert model[1].weight is model[0].weight


def test_weights_of_views_are_written_and_copied_by_themselves() -> None:
    model = net()
    (vector,) = flatten(model)
    copied = copy.deepcopy(model)
    kept = {name: tensor.clone() for name, tensor in checkpoints.unshared(model).items()}
    assert set(kept) == set(model.state_dict())
    with torch.no_grad():
        vector.zero_()
    assert all(torch.equal(tensor, kept[name]) for name, tensor in copied.state_dict().items())
