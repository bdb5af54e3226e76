"""Patches: disjoint for training and test, fixed by seed and number, spread evenly; and the tasks made from them."""

import io
import struct
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2
from torch import Tensor

from multires import MultiresError, data, tasks
from multires.configs import Task
from multires.data import Images
from multires.patches import Patches, split
from multires.pooling import project


def numbered(*shapes: tuple[int, ...], test: int = 0, views: int = 0) -> Images:
    """Images whose values are all different: a value says which pixel it is."""
    ends = np.cumsum([0, *(np.prod(shape) for shape in shapes)])
    batches = tuple(torch.arange(a, b).reshape(shape).float() for a, b, shape in zip(ends, ends[1:], shapes, strict=False))
    return Images("numbered", "", batches, test, views)


def pixels(*patches: Tensor) -> set[float]:
    return {value for patch in patches for value in patch.flatten().tolist()}


SHAPES = [
    [(1, 1, 16, 16)],
    [(3, 3, 16, 16)],
    [(2, 1, 8, 8), (1, 1, 32, 32)],
    [(25, 3, 8, 8)],
    [(40, 1, 4, 4), (2, 1, 8, 8)],
]


@pytest.mark.parametrize("shapes", SHAPES)
@given(side=st.sampled_from([2, 3, 4]), seed=st.integers(0, 2**40), number=st.integers(0, 2**40))
def test_training_and_test_share_no_pixel(shapes: list[tuple[int, ...]], side: int, seed: int, number: int) -> None:
    images = numbered(*shapes)
    train, test = split(images, side)
    drawn = [part.batch(64, seed, number) for part in (train, test)]
    assert [tuple(patches.shape) for patches in drawn] == [(64, shapes[0][1], side, side)] * 2
    assert train.channels == shapes[0][1]
    assert not pixels(*train.sources, drawn[0], train.tiles()) & pixels(*test.sources, drawn[1], test.tiles())
    assert pixels(*train.sources) | pixels(*test.sources) == pixels(*images.batches)


@pytest.mark.parametrize("shapes", SHAPES)
def test_every_patch_is_a_window_of_an_image(shapes: list[tuple[int, ...]]) -> None:
    side = 3
    for part in split(numbered(*shapes), side):
        windows = (source.unfold(2, side, 1).unfold(3, side, 1).permute(0, 2, 3, 1, 4, 5).flatten(0, 2) for source in part.sources)
        known = {tuple(window.flatten().tolist()) for windows_of in windows for window in windows_of}
        assert {tuple(patch.flatten().tolist()) for patch in part.batch(100, 0, 0)} <= known
        assert {tuple(patch.flatten().tolist()) for patch in part.tiles()} <= known


def test_a_batch_depends_on_its_seed_and_number_alone() -> None:
    train, _ = split(numbered((3, 1, 32, 32)), 4)
    first = train.batch(16, 5, 7)
    torch.manual_seed(0)
    np.random.default_rng().random()
    train.batch(3, 5, 6)
    again, _ = split(numbered((3, 1, 32, 32)), 4)
    assert torch.equal(again.batch(16, 5, 7), first)
    assert not torch.equal(train.batch(16, 5, 8), first)
    assert not torch.equal(train.batch(16, 6, 7), first)
    assert not torch.equal(train.batch(16, 7, 5), first)


@pytest.mark.parametrize("seed", [0, 1])
def test_all_places_are_equally_likely(seed: int) -> None:
    """24 + 4 + 1 places over three sources, 2,900 draws: chi-square stays under its quantile of 0.999."""
    patches = Patches(numbered((2, 1, 6, 5), (1, 1, 4, 4), (1, 1, 3, 3)).batches, 3)
    counts = Counter(patch.flatten()[0].item() for number in range(29) for patch in patches.batch(100, seed, number))
    assert len(counts) == 2 * 4 * 3 + 4 + 1
    assert sum((count - 100) ** 2 / 100 for count in counts.values()) <= chi2.ppf(0.999, len(counts) - 1)


@given(st.integers(1, 3), st.sampled_from([1, 3]), st.tuples(st.integers(4, 9), st.integers(4, 9)), st.integers(1, 4))
def test_tiles_cover_all_whole_squares_once(count: int, channels: int, shape: tuple[int, int], side: int) -> None:
    images = numbered((count, channels, *shape), (1, channels, 4, 4))
    tiles = Patches(images.batches, side).tiles()
    seen = Counter(tiles.flatten().tolist())
    assert set(seen.values()) == {1}
    assert set(seen) == pixels(*(b[..., : b.shape[2] // side * side, : b.shape[3] // side * side] for b in images.batches))
    assert torch.equal(tiles[0], images.batches[0][0, :, :side, :side])


def test_fewer_tiles_are_evenly_chosen() -> None:
    patches = Patches(numbered((100, 1, 2, 2)).batches, 2)
    assert (patches.tiles(12)[:, 0, 0, 0] / 4).tolist() == list(range(0, 100, 9))
    assert torch.equal(patches.tiles(100), patches.tiles())
    assert torch.equal(patches.tiles(101), patches.tiles())


@pytest.mark.parametrize(("count", "test", "kept_back"), [(20, 0, 4), (24, 0, 4), (25, 0, 5), (25, 7, 7), (100, 1, 1)])
def test_large_sets_keep_their_published_test_images_or_a_fifth_back(count: int, test: int, kept_back: int) -> None:
    images = numbered((count, 1, 4, 4), test=test)
    train, held = split(images, 4)
    assert torch.equal(train.sources[0], images.batches[0][: count - kept_back])
    assert torch.equal(held.sources[0], images.batches[0][count - kept_back :])


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_the_test_images_of_mnist_are_kept_back(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULTIRES_DATA", str(tmp_path))
    (tmp_path / name).mkdir()
    for part, count, value in (("train", 30, 51), ("t10k", 3, 204)):
        content = struct.pack(">4I", 0x0803, count, 28, 28) + bytes([value]) * (count * 28 * 28)
        (tmp_path / name / f"{part}-images-idx3-ubyte").write_bytes(content)
    train, held = (part.sources[0] for part in split(data.load(name), 32))
    assert [tuple(images.shape) for images in (train, held)] == [(30, 1, 32, 32), (3, 1, 32, 32)]
    assert [images.max().item() for images in (train, held)] == pytest.approx([0.2, 0.8])


def test_the_test_images_of_cifar_are_kept_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULTIRES_DATA", str(tmp_path))
    (tmp_path / "cifar-10").mkdir()
    with tarfile.open(tmp_path / "cifar-10" / "cifar-10-binary.tar.gz", "w:gz") as archive:
        for part in (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"):
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{part}.bin")
            content = bytes([204 if part == "test_batch" else 51]) * (5 * 3073)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    train, held = (part.sources[0] for part in split(data.load("cifar-10"), 32))
    assert [tuple(images.shape) for images in (train, held)] == [(25, 3, 32, 32), (5, 3, 32, 32)]
    assert [images.max().item() for images in (train, held)] == pytest.approx([0.2, 0.8])


def test_few_images_are_cut_into_left_and_right() -> None:
    images = numbered((19, 1, 8, 8))
    train, held = split(images, 4)
    assert torch.equal(train.sources[0], images.batches[0][..., :4])
    assert torch.equal(held.sources[0], images.batches[0][..., 4:])


def test_views_of_other_batches_are_left_out() -> None:
    train, held = split(numbered((2, 1, 8, 8), (30, 1, 4, 4), views=1), 4)
    assert len(train.sources) == len(held.sources) == 1
    natural = data.load("natural")
    train, held = split(natural, 32)
    assert [tuple(part.sources[0].shape) for part in (train, held)] == [(3, 1, 512, 256)] * 2
    assert torch.equal(natural.batches[0][:, :, :32, 256:288], held.tiles().unflatten(0, (3, -1))[:, 0])
    digits = split(data.load("digits"), 8)
    assert [len(part.sources[0]) for part in digits] == [1797 - 359, 359]


def test_images_too_small_are_left_out_or_refused() -> None:
    train, held = split(numbered((2, 1, 4, 4), (1, 1, 8, 8)), 4)
    assert [len(part.sources) for part in (train, held)] == [1, 1]
    says = r"^numbered: 3 images of 4 x 4, 8 x 8 have no room for disjoint patches of 5 x 5 to train and to test on; .*$"
    with pytest.raises(MultiresError, match=says):
        split(numbered((2, 1, 4, 4), (1, 1, 8, 8)), 5)
    with pytest.raises(MultiresError, match=r"^numbered: images of 1 and of 3 channels; a network needs one kind$"):
        split(numbered((2, 1, 8, 8), (1, 3, 8, 8)), 4)


def test_patches_are_float32_also_where_images_are_not_all() -> None:
    first, second = numbered((1, 1, 8, 8), (1, 1, 16, 16)).batches
    for part in split(Images("mixed", "", (first.double(), second)), 4):
        assert part.batch(32, 0, 0).dtype == part.tiles().dtype == torch.float32


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("noise", [0.0, 0.1, 2.0])
def test_denoise_adds_noise_of_the_generator_and_keeps_the_target(noise: float) -> None:
    images = torch.rand(8, 3, 64, 64, generator=generator(1))
    before = images.clone()
    x, target = tasks.pair(Task("denoise", noise), images, generator())
    assert torch.equal(target, before)
    assert torch.equal(images, before)
    added, count = x - target, images.numel()
    assert abs(added.mean().item()) <= 4 * noise / count**0.5 + 1e-7
    assert abs(added.std().item() / (noise or 1) - (noise > 0)) <= 4 / (2 * count) ** 0.5
    torch.manual_seed(3)
    assert torch.equal(tasks.pair(Task("denoise", noise), images, generator())[0], x)
    assert torch.equal(tasks.pair(Task("denoise", noise), images, generator(2))[0], x) == (noise == 0)


def test_super_resolve_projects_and_autoencode_returns() -> None:
    images, state = torch.rand(2, 1, 8, 8, generator=generator()), generator().get_state()
    for levels in (1, 2, 3):
        x, target = tasks.pair(Task("super-resolve", levels=levels), images, generator())
        assert torch.equal(x, project(images, levels))
        assert torch.equal(target, images)
    unused = generator()
    assert all(torch.equal(part, images) for part in tasks.pair(Task("autoencode"), images, unused))
    assert torch.equal(unused.get_state(), state)


def test_the_loss_is_the_mean_square() -> None:
    x, target = torch.randn(3, 2, 4, 4, generator=generator()), torch.randn(3, 2, 4, 4, generator=generator(1))
    expected = float(np.square(2 * x.numpy() - target.numpy()).mean())
    net = torch.nn.Conv2d(2, 2, 1, bias=False)
    net.weight.data.copy_(2 * torch.eye(2)[:, :, None, None])
    assert tasks.squared_distance(net, (x, target))[0].item() == pytest.approx(expected, rel=1e-5)
