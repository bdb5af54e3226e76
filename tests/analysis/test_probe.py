"""`multires probe` as a user meets it: shipped weights, openai/vdvae's, wrong calls; and no state kept longer than its batch."""

import json
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from safetensors.torch import save_file

from analysis import cli, inference, probing
from analysis.clock import Clock
from analysis.figures import hvaes, style
from analysis.state_basis import Bases
from multires import checkpoints, plain, pretrained, vdvae
from multires.errors import MultiresError
from multires.hvae import HVAE
from multires.hvae_configs import HVAEConfig, HVAERun, Resolution
from tests.analysis.test_refinement import CONFIG
from tests.multires.test_vdvae import FIXTURES, SMALL

STATE = FIXTURES / "openai_vdvae_small.state.safetensors"


def probe(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["probe", *map(str, arguments)])
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


def test_shipped_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert probe("hvae-digits", "--images", "40", "--out", out, "--json", tmp_path / "copy.json") == 0
    shown = capsys.readouterr().out
    assert "40 test images" in shown
    assert "norm with depth, Spearman's correlation" in shown
    figures = [f"{name}.{kind}" for name in ("bases", "nats", "sampling", "time") for kind in ("png", "svg")]
    assert sorted(path.name for path in out.iterdir()) == sorted(["probe.json", *figures])
    record = json.loads((out / "probe.json").read_text())
    assert (tmp_path / "copy.json").read_text() == (out / "probe.json").read_text()
    assert record["sides"] == [1, 4, 4, 4, 8, 8, 8]
    assert len(record["nats"]["kl"]) == 7
    assert sum(record["nats"]["kl by resolution"]) == pytest.approx(sum(record["nats"]["kl"]))
    assert np.shape(record["bases"]["unexplained"]) == (3, 7)
    assert np.shape(record["sampling"]["error"]) == (8, 3)
    assert np.shape(record["sampling"]["gain"]) == (7, 8)


def test_one_seed_gives_the_same_numbers() -> None:
    net, images = probing.open_network("hvae-digits", None)
    records = []
    for seed in (0, 0, 1):
        looked = probing.Probe(net, images[:12], seed)
        assert len(list(looked.run())) == looked.parts
        records.append(looked.to_json())
    assert records[0] == records[1]
    assert records[0]["nats"] != records[2]["nats"]


def test_refined_steps_where_cells_are_shared() -> None:
    torch.manual_seed(0)
    looked = probing.Probe(HVAE(CONFIG).eval(), torch.rand(8, 1, 8, 8).round(), 0)
    assert len(list(looked.run())) == looked.parts
    steps = looked.to_json()["steps"]
    assert steps["refined 4 counts"] == [2, 3, 4, 6]
    assert steps["refined 4 change"][1] == [0, 0, 0]
    assert steps["refined 4 change"][0] != [0, 0, 0]


def test_a_state_dict_of_openai(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vdvae.PRESETS, "small", SMALL)
    pixels = np.random.default_rng(0).random((60, 3, 8, 8)).astype(np.float32)
    np.save(tmp_path / "x.npy", pixels)
    assert probe(STATE, "--data", tmp_path / "x.npy", "--out", tmp_path / "out") == 0
    record = json.loads((tmp_path / "out" / "probe.json").read_text())
    assert record["images"] == 12  # the last fifth
    assert record["sides"] == [1, 4, 4, 4, 8, 8, 8]


def test_the_elbo_is_that_of_bounds() -> None:
    net, images = probing.open_network("hvae-digits", None)
    nats = inference.Nats(net)
    for _ in inference.read(net, images[:30], 5, [nats]):
        pass
    with torch.no_grad():
        generator = torch.Generator().manual_seed(5)
        nll, kl = net(images[:15], generator)
    assert torch.allclose(nats.elbo[:15], -(nll + kl.sum(0)), rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["hvae-none"], "no weights 'hvae-none': shipped are"),
        (["unet-max"], "not the card of an HVAE's weights"),
        (["hvae-digits", "--images", "3"], "--images 3: images are 4 or more"),
        (["hvae-digits", "--seed", "-1"], "--seed -1: seeds are 0 to 4294967295"),
        (["hvae-digits", "--seed", "99999999999999999999"], "--seed 99999999999999999999: seeds are 0 to 4294967295"),
        (["hvae-digits", "--data", "{folder}/wild.npy"], "wild.npy: values from -3 to 255; an HVAE models pixels in [0, 1]"),
        (["hvae-digits", "--data", "nowhere"], "no data set or file 'nowhere'"),
        (["{state}"], "openai_vdvae_small.state.safetensors: a state dict says nothing of its images; name them with --data"),
        (["{state}", "--data", "digits"], "this HVAE takes (batch, 3, 8, 8)"),
        (
            ["alone.safetensors", "--data", "digits"],
            "no card alone.json beside it, and no state dict of openai/vdvae; put its card",
        ),
        (["missing.safetensors"], "missing.safetensors"),
        (["hvae-digits", "--json", "{folder}"], "is a folder"),
    ],
)
def test_wrong_calls_get_one_line_and_leave_nothing(
    arguments: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(vdvae.PRESETS, "small", SMALL)
    monkeypatch.chdir(tmp_path)
    save_file({"a": torch.zeros(1)}, "alone.safetensors")
    np.save("wild.npy", np.linspace(-3, 255, 30 * 64).reshape(30, 8, 8))
    filled = [part.format(state=STATE, folder=tmp_path) for part in arguments]
    assert probe(*filled, "--out", "out") == 2
    shown = capsys.readouterr()
    assert says in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""
    assert "audit" not in shown.err
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["alone.safetensors", "wild.npy"]


def test_verify_refuses_the_same_seeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in ("-1", "4294967296", "99999999999999999999"):
        with pytest.raises(SystemExit) as stopped:
            cli.main(["verify", "A1", "--data", "digits", "--seed", seed, "--out", str(tmp_path / "out")])
        assert stopped.value.code == 2
        assert capsys.readouterr().err == f"multires: --seed {seed}: seeds are 0 to 4294967295 (2^32 - 1)\n"
    assert not (tmp_path / "out").exists()


def test_the_largest_seed_works(tmp_path: Path) -> None:
    assert probe("hvae-digits", "--images", "8", "--seed", str(2**32 - 1), "--out", tmp_path) == 0


def test_a_state_dict_of_no_published_size_is_told_what_works(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert probe(STATE, "--data", "digits", "--out", tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert "a state dict of none of openai/vdvae's published networks (cifar-10: " in said
    assert "build it with multires.vdvae.from_openai(state_dict, config), write it with multires.checkpoints.write_weights" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_tiles_of_larger_images_are_announced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "large.npy", np.random.default_rng(0).random((30, 16, 16)))
    assert probe("hvae-digits", "--data", tmp_path / "large.npy", "--images", "8", "--out", tmp_path / "out") == 0
    said = f"{tmp_path}/large.npy: test images, 6 of 16 x 16, cut into 24 tiles of 8 x 8"
    assert capsys.readouterr().out.splitlines()[0] == said
    assert json.loads((tmp_path / "out" / "probe.json").read_text())["tiles"] == said


def changed(path: Path, change: Callable[[HVAE], object]) -> Path:
    """The shipped weights of digits, changed and written with their card."""
    net, run = pretrained.load_hvae("hvae-digits")
    with torch.no_grad():
        change(net)
    checkpoints.write_weights(path, net, {"kind": "hvae", "run": plain.to_json(run)})
    return path


@pytest.mark.parametrize("images", ["40", "150"])  # in several batches rounding makes other numbers of the same image
def test_a_network_that_decodes_one_image(images: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = changed(tmp_path / "same.safetensors", lambda net: net.head.weight.zero_())
    assert probe(weights, "--images", images, "--out", tmp_path / "out") == 0
    shown = capsys.readouterr().out
    assert shown.count("nothing to explain") == 3
    record = json.loads((tmp_path / "out" / "probe.json").read_text())
    assert record["bases"]["best"] == [None] * 3
    assert record["bases"]["unexplained"] == [[None] * 7] * 3
    assert (tmp_path / "out" / "bases.png").exists()


@pytest.mark.parametrize("channels", [2, 4])
def test_pictures_of_other_than_one_or_three_channels_are_their_mean(channels: int, tmp_path: Path) -> None:
    config = HVAEConfig((Resolution(8, 1, 1), Resolution(4, 1, 1), Resolution(1, 1, 1)), channels=channels, width=8, latents=2)
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 2, (60, channels, 8, 8)).astype(np.float32))
    run = HVAERun(config, data=str(tmp_path / "x.npy"), binarise="dynamic")
    checkpoints.write_weights(tmp_path / "net.safetensors", HVAE(config), {"kind": "hvae", "run": plain.to_json(run)})
    assert probe(tmp_path / "net.safetensors", "--images", "8", "--out", tmp_path / "out") == 0
    assert (tmp_path / "out" / "sampling.png").exists()
    axes = Figure().subplots()
    pictures = np.arange(2 * 3 * channels * 8 * 8).reshape(2, 3, channels, 8, 8) / (2 * 3 * channels * 8 * 8)
    hvaes._sheet(axes, pictures)
    (shown,) = axes.images
    assert np.asarray(shown.get_array())[:8, :8] == pytest.approx(pictures[0, 0].mean(0))


@pytest.mark.parametrize("name", ["net.safetensors", "net.json"])
def test_weights_are_not_written_over(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = changed(tmp_path / "net.safetensors", lambda net: None)
    before = (tmp_path / name).read_bytes()
    assert probe(weights, "--images", "8", "--json", tmp_path / name, "--out", tmp_path / "out") == 2
    assert f"{name}: belongs to the weights that are read" in capsys.readouterr().err
    assert (tmp_path / name).read_bytes() == before


def test_an_elbo_that_is_not_finite(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def narrow(net: HVAE) -> None:  # deviations of the prior vanish, and the KL overflows
        for cell in net.cells:
            next(p for name, p in cell.named_parameters() if name == "prior.c4.bias").sub_(80)

    assert probe(changed(tmp_path / "narrow.safetensors", narrow), "--images", "8", "--out", tmp_path / "out") == 0
    assert "ELBO of test images not finite" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "probe.json").read_text())["nats"]["elbo"] == [None] * 3
    assert (tmp_path / "out" / "sampling.png").exists()


def test_states_that_are_not_finite_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = changed(tmp_path / "large.safetensors", lambda net: [p.mul_(1e6) for p in net.parameters()])
    assert probe(weights, "--images", "8", "--out", tmp_path / "out") == 2
    assert "the state after step 1 is NaN or infinite on test images" in capsys.readouterr().err


def test_a_network_of_zeros(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing above zero to draw on logarithmic axes."""
    weights = changed(tmp_path / "zero.safetensors", lambda net: [p.zero_() for p in net.parameters()])
    assert probe(weights, "--images", "8", "--out", tmp_path / "out") == 0
    assert capsys.readouterr().out.count("nothing to explain") == 3


@pytest.mark.parametrize(
    ("unexplained", "best"),
    [
        ([0.3, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8], 1),
        ([0.2, 0.20001, 0.4, 0.5, 0.6, 0.7, 0.8], -1),  # a tie
        ([0.99, 0.95, 1.0, 1.0, 1.0, 1.0, 1.1], -1),  # none explains anything
        ([np.inf] * 7, -1),
    ],
)
def test_the_best_basis_is_one_that_stands_out(unexplained: list[float], best: int) -> None:
    values = np.array([unexplained])
    found = {"unexplained": values, "low": values, "high": values}
    assert probing.ranked(found, differ=True)["best"].tolist() == [best]


def test_where_no_basis_stands_out_none_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A head of large random weights decodes noise, which no read-out of so few images explains."""
    torch.manual_seed(0)
    weights = changed(tmp_path / "noise.safetensors", lambda net: net.head.weight.normal_(0, 1e3))
    assert probe(weights, "--images", "12", "--out", tmp_path / "out") == 0
    best = json.loads((tmp_path / "out" / "probe.json").read_text())["bases"]["best"]
    assert capsys.readouterr().out.count("none stands out") == best.count(None) > 0


def test_intervals_of_correlations_end_where_correlations_do() -> None:
    torch.manual_seed(0)
    config = HVAEConfig((Resolution(8, 1, 1), Resolution(4, 1, 1), Resolution(1, 1, 1)), width=8, latents=2)
    looked = probing.Probe(HVAE(config).eval(), torch.rand(8, 1, 8, 8).round(), 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Clock, "found", lambda _: {"growth": np.array([0.99, 0.97, 1.01])})
        list(looked._states())
    assert looked.found["time"]["growth"].tolist() == [0.99, 0.97, 1]


def test_numbers_are_written_before_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(style, "save", stop)
    assert probe("hvae-digits", "--images", "8", "--out", tmp_path) == 130
    assert [path.name for path in tmp_path.iterdir()] == ["probe.json"]
    assert f"stopped while drawing; {tmp_path / 'probe.json'} is whole" in capsys.readouterr().err


def test_too_few_test_images_are_refused() -> None:
    net, images = probing.open_network("hvae-digits", None)
    with pytest.raises(MultiresError, match="3 test images: probes fit on one half and score on the other, and need 4 or more"):
        probing.Probe(net, images[:3], 0)


class Watch:
    """Sees whether states of earlier batches are still held somewhere."""

    def __init__(self) -> None:
        self.batches = 0
        self.seen: list[weakref.ref[torch.Tensor]] = []

    def update(self, batch: inference.Inferred) -> None:
        assert not any(seen() is not None for seen in self.seen)
        self.seen = [weakref.ref(step.state) for step in batch.steps]
        self.batches += 1

    def found(self) -> inference.Arrays:
        return {}


def test_memory_is_flat_in_the_number_of_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """No reader holds states of an earlier batch."""
    monkeypatch.setattr(inference, "BATCH", 16)
    net, images = probing.open_network("hvae-digits", None)
    watch = Watch()
    readers = [watch, inference.Nats(net), Clock(net), Bases(net)]
    assert sum(inference.read(net, images[:100], 0, readers)) == 100
    assert watch.batches == 8
