"""What no HVAE can be is refused in one line; what it can be survives JSON and the command line."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given

from analysis.resolution_line import read, write
from multires import plain
from multires.configs import TrainingConfig
from multires.errors import MultiresError
from multires.hvae_configs import HVAE_PRESETS, HVAEConfig, HVAERun, Resolution
from tests.strategies import hvae_configs

TWO = (Resolution(8), Resolution(4))


@given(hvae_configs())
def test_configurations_survive_json_and_the_command_line(config: HVAEConfig) -> None:
    assert plain.from_json(HVAEConfig, json.loads(json.dumps(plain.to_json(config))), "here") == config
    assert tuple(read(write(resolution)) for resolution in config.resolutions) == config.resolutions


@pytest.mark.parametrize("name", HVAE_PRESETS)
def test_presets_survive_json(name: str) -> None:
    run = HVAE_PRESETS[name]
    assert plain.from_json(HVAERun, json.loads(json.dumps(plain.to_json(run))), "here") == run


@pytest.mark.parametrize("name", HVAE_PRESETS)
def test_the_width_of_a_preset_is_an_option_that_does_something(name: str) -> None:
    """At every resolution but those whose width is another one than the preset's."""
    model = HVAE_PRESETS[name].model
    wider = replace(model, width=2 * model.width)
    before, after = ([config.width_at(r) for r in config.resolutions] for config in (model, wider))
    assert after == [2 * width if width == model.width else width for width in before]
    assert after.count(2 * model.width) >= 3


def test_spelled_out_the_widths_are_those_of_the_network() -> None:
    model = HVAEConfig((Resolution(8, width=5), Resolution(4)), width=7)
    assert [r.width for r in model.spelled_out.resolutions] == [5, 7]
    assert model.spelled_out == replace(model, width=9, resolutions=model.spelled_out.resolutions).spelled_out
    assert model.spelled_out != replace(model, width=8).spelled_out
    assert model.spelled_out != replace(model, latents=3).spelled_out


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"size": 12}, "size = 12: a resolution has a power of two"),
        ({"size": 0}, "size = 0"),
        ({"size": 4, "encoder_blocks": -1}, "encoder_blocks = -1 at 4 x 4: must be 0 or more"),
        ({"size": 4, "steps": 0}, "steps = 0 at 4 x 4: must be 1 or more"),
        ({"size": 4, "width": 0}, "width = 0 at 4 x 4: must be 1 or more"),
        ({"size": 4, "steps": 2.5}, "steps: expected int, found 2.5"),
        ({"size": 4, "shared": "yes"}, "shared: expected bool, found 'yes'"),
        ({"size": 4, "group": 3}, r"group: expected str \| None, found 3"),
        ({"size": 4, "group": "a,b"}, "group = 'a,b': a comma"),
        ({"size": "4"}, "size: expected int, found '4'"),
    ],
)
def test_impossible_resolutions(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(MultiresError, match=reason):
        Resolution(**fields)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"resolutions": ()}, "one or more"),
        ({"resolutions": TWO[::-1]}, "8 after 4; they go from the finest to the coarsest"),
        ({"resolutions": (TWO[0], TWO[0])}, "8 after 8"),
        ({"channels": 0}, "channels = 0: must be 1 or more"),
        ({"latents": 0}, "latents = 0"),
        ({"border": -1}, "border = -1"),
        ({"border": 4}, "border = 4: leaves no pixel of 8"),
        ({"bottleneck": 0.0}, "bottleneck = 0.0: must be positive"),
        ({"bottleneck": 0.01}, "bottleneck = 0.01: leaves no inner channel of 32"),
        ({"cell_bottleneck": 0.0}, "cell_bottleneck = 0.0: must be positive"),
        ({"cell_bottleneck": 0.01}, "cell_bottleneck = 0.01: leaves no inner channel of 32"),
        ({"std": float("inf")}, "std = inf"),
        ({"mean": float("nan")}, "mean = nan"),
        ({"likelihood": "gauss"}, "likelihood: expected 'bernoulli' or 'logistic-mixture', found 'gauss'"),
        ({"likelihood": None}, "likelihood: expected 'bernoulli'"),
        ({"resolutions": 8}, "resolutions: expected tuple, found 8"),
        ({"resolutions": (8, 4)}, "resolutions: expected the fields of Resolution, found 8"),
        ({"width": True}, "width: expected int, found True"),
        ({"time_input": 1}, "time_input: expected bool, found 1"),
        ({"mean": "half"}, "mean: expected float, found 'half'"),
        ({"likelihood": "logistic-mixture", "channels": 2}, "channels = 2: the mixture of logistics"),
        ({"resolutions": (Resolution(8, group="a"), Resolution(4, width=5, group="a"))}, "group 'a'.*equal widths"),
        ({"resolutions": (Resolution(8, group="a"), Resolution(2, group="a"))}, "group 'a'.*sizes all above 2"),
    ],
)
def test_impossible_hvaes(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(MultiresError, match=reason) as caught:
        HVAEConfig(**({"resolutions": TWO} | fields))
    assert "\n" not in str(caught.value)


def test_a_protocol_has_to_fit_the_likelihood() -> None:
    for likelihood, binarise in (("bernoulli", "no"), ("logistic-mixture", "dynamic")):
        with pytest.raises(MultiresError, match=f"binarise = '{binarise}' with likelihood '{likelihood}'"):
            HVAERun(HVAEConfig(TWO, likelihood=likelihood), binarise=binarise)  # type: ignore[arg-type]
    with pytest.raises(MultiresError, match="binarise: expected 'no' or 'dynamic' or 'threshold', found 'often'"):
        HVAERun(HVAEConfig(TWO), binarise="often")  # type: ignore[arg-type]


@pytest.mark.parametrize("free_nats", [-1.0, float("nan"), float("inf")])
def test_impossible_free_nats(free_nats: float) -> None:
    with pytest.raises(MultiresError, match=f"^free_nats = {free_nats}: must be 0 or more, and finite$"):
        HVAERun(HVAEConfig(TWO), binarise="dynamic", free_nats=free_nats)


@pytest.mark.parametrize(("field", "value"), [("skip_above", 0.0), ("skip_above", float("nan")), ("skip_limit", 0)])
def test_impossible_skips(field: str, value: float) -> None:
    with pytest.raises(MultiresError, match=f"{field} = "):
        TrainingConfig(**{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("size", "--resolutions size: expected NAME=VALUE"),
        ("size=8,depth=3", "unknown field 'depth'; Resolution has size, encoder_blocks, steps"),
        ("steps=3", "field 'size' of Resolution is missing"),
        ("size=8,shared=yes", "shared: expected bool, found 'yes'"),
        ("size=9", "size = 9"),
        ("size=8,size=4", "size is named twice; a blank is between resolutions"),
    ],
)
def test_impossible_resolutions_on_the_command_line(text: str, reason: str) -> None:
    with pytest.raises(MultiresError, match=reason):
        read(text)
