"""The command that trains a run, as its card says it."""

import shlex
from dataclasses import replace

import pytest

from analysis import cli, hvae_runs
from analysis.commands.train import Train
from multires.hvae_configs import HVAE_PRESETS, HVAERun, Resolution
from tests.analysis.tiny_hvae import TINY


def test_presets_know_their_commands() -> None:
    for name, run in HVAE_PRESETS.items():
        assert hvae_runs.command(
            replace(run, model=replace(run.model, channels=3 if name == "natural" else run.model.channels))
        ) == (f"multires train hvae {name}")
    mnist = HVAE_PRESETS["mnist"]
    longer = replace(mnist, free_nats=0.0, training=replace(mnist.training, steps=300_000, skip_above=None))
    assert hvae_runs.command(longer) == "multires train hvae mnist --free-nats 0.0 --steps 300000 --skip-above None"
    assert hvae_runs.command(replace(HVAE_PRESETS["natural"], data="faces")) == "multires train hvae natural --data faces"
    other = replace(mnist, model=replace(mnist.model, width=64))
    assert hvae_runs.command(other) == "multires train hvae mnist --width 64"
    assert hvae_runs.name(HVAE_PRESETS["mnist-shared"]) == "mnist-shared"
    assert hvae_runs.name(replace(HVAE_PRESETS["natural"], data="/some/where/faces.npy")) == "faces"


@pytest.mark.parametrize(
    "run",
    [
        replace(TINY, data="my pictures/it's a face.npy", model=replace(TINY.model, border=2)),
        replace(
            TINY, binarise="threshold", model=replace(TINY.model, likelihood="bernoulli", cell_bottleneck=0.25, time_input=True)
        ),
        replace(
            HVAE_PRESETS["mnist"], model=replace(HVAE_PRESETS["mnist"].model, resolutions=(Resolution(32, 2, 3, 8, group="a b"),))
        ),
        replace(TINY, training=replace(TINY.training, skip_above=None, learning_rate=3e-4)),
    ],
)
def test_the_command_of_a_run_means_that_run(run: HVAERun) -> None:
    parsed = cli.parse(shlex.split(hvae_runs.command(run))[1:])
    assert isinstance(parsed, Train)
    assert parsed.network.preset == run
