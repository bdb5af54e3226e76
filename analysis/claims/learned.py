"""Claims E1 and E5: what the states of a trained HVAE tell, on test images, beside those of the same network untrained."""

from functools import cache
from typing import Literal

import numpy as np
import torch

from analysis import inference, reference
from analysis.clock import Clock
from analysis.evidence import Check, Context, Control, Evidence, claim
from analysis.filters import WAVELETS
from analysis.inference import Arrays
from analysis.state_basis import SOME, Bases

STRONG = 0.1  # what may be missing: of a correlation, or unexplained
Network = Literal["trained", "untrained", "biased"]


@cache
def _inferred(which: Network, seed: int, full: bool) -> dict[str, Arrays]:
    """What one pass over the test images gives to both claims; of the trained network with shuffled and wrong times and images."""
    _, hvae, run, images = reference.reference()
    net = hvae if which == "trained" else reference.untrained(run)
    if which == "biased":
        reference.bias(net, hvae, seed)
    readers: dict[str, Clock | Bases] = {"time": Clock(net)}
    if which != "biased":
        readers["bases"] = Bases(net, last=True)
    if which == "trained":
        readers["shuffled"] = Clock(net, torch.Generator().manual_seed(seed + 1))
        readers["turned"] = Clock(net, turned=True)
        readers["permuted"] = Bases(net, last=True, permuted=True)
    for _ in inference.read(net, reference.first(images, full), seed, list(readers.values())):
        pass
    return {name: reader.found() for name, reader in readers.items()}


def _named(label: str, arrays: Arrays) -> Arrays:
    return {f"{label} {name}": values for name, values in arrays.items()}


def _missing(found: Arrays, end: int) -> dict[str, float]:
    """What each check of E1 is about, at one end of its interval: 1 that near 0, 2 that far from it."""
    missing = {"1 - correlation of norm and depth": 1 - float(found["growth"][3 - end])}
    for name, values in found.items():
        if name.startswith("unexplained"):
            _, kind, scope = name.split()
            where = "at all steps" if scope == "all" else "within resolutions"
            missing[f"1 - R^2 of time {where}, read from {kind} of channels"] = float(values[end])
    return missing


@claim(
    "E1",
    "The states of a trained HVAE tell the time: their L2 norm grows with depth, and time can be read from them linearly.",
    formula=r"\rho_S(\|Z_k\|, k) \ge 0.9,\qquad R^2(\hat t) \ge 0.9",
    kind="statistical",
    control="untrained weights, also with biases as large as learned ones; times shuffled image by image, or one step late within"
    " each resolution",
    functions=["multires.hvae.HVAE"],
)
def e1(context: Context) -> Evidence:
    """Spearman's correlation image by image, and read-outs of time on held-out images: the far ends of 95 % intervals."""
    name, net, _, images = reference.reference()
    trained = _inferred("trained", context.seed, context.full)
    untrained = _inferred("untrained", context.seed, context.full)
    biased = _inferred("biased", context.seed, context.full)
    checks = [Check(f"{what}, 95 %", value, STRONG) for what, value in _missing(trained["time"], 2).items()]
    controls = [
        Control(f"{what}, 95 %: {label}", value, STRONG)
        for label, found in (
            ("untrained", untrained["time"]),
            ("untrained, with shuffled biases", biased["time"]),
            ("shuffled times", trained["shuffled"]),
            ("times one step late within each resolution", trained["turned"]),
        )
        for what, value in _missing(found, 1).items()
        if found is not trained["turned"] or "R^2" in what  # the growth has its own order
    ]
    arrays = _named("trained", trained["time"]) | _named("untrained", untrained["time"])
    arrays |= _named("biased", biased["time"]) | _named("shuffled", trained["shuffled"]) | _named("turned", trained["turned"])
    arrays["sides"] = np.array(inference.sides(net))
    return Evidence(checks, controls, arrays, f"{name}, {len(reference.first(images, context.full)):,} test images")


@claim(
    "E5",
    "The decoder's states carry the Haar approximations of the image that they will become, better than those of any other basis.",
    formula=r"1 - R^2_{\text{haar}}(Z^{(j)}) < 1 - R^2_w(Z^{(j)}),\quad w \in \{\text{db2}, \dots, \text{bior4.4}\},\ 0 < j < J",
    kind="statistical",
    control="untrained weights, at one resolution or more; states of another image, which carry nothing",
    functions=["multires.hvae.HVAE"],
)
def e5(context: Context) -> Evidence:
    """C5's read-out on the last state at each resolution: what Haar leaves unexplained, and that over the best other basis."""
    name, _, _, images = reference.reference()
    trained = _inferred("trained", context.seed, context.full)
    untrained = _inferred("untrained", context.seed, context.full)
    sides = trained["bases"]["basis sides"].tolist()
    what, left = "Haar over the best other basis", "unexplained by Haar"
    checks = [Check(f"{what}, {side} x {side}, 95 %", _margin(trained["bases"], k), 1) for k, side in enumerate(sides)]
    checks += [Check(f"{left}, {side} x {side}, 95 %", float(trained["bases"]["high"][k, 0]), SOME) for k, side in enumerate(sides)]
    # no doubt speaks for the control: estimates, not ends of intervals, and the resolution where Haar does worst
    values = untrained["bases"]["unexplained"]
    controls = [Control(f"{what}, at its worst: untrained", float((values[:, 0] / values[:, 1:].min(1)).max()), 1)]
    controls += [
        Control(f"{left}, {side} x {side}, 95 %: states of another image", float(trained["permuted"]["low"][k, 0]), SOME)
        for k, side in enumerate(sides)
    ]
    arrays = _named("trained", trained["bases"]) | _named("untrained", untrained["bases"])
    said = "; ".join(
        f"{side} x {side} " + ", untrained ".join(_ranked(found["bases"], k) for found in (trained, untrained))
        for k, side in enumerate(sides)
    )
    note = f"{name}, {len(reference.first(images, context.full)):,} test images. Smallest unexplained fractions: {said}"
    return Evidence(checks, controls, arrays, note)


def _margin(found: Arrays, row: int) -> float:
    return float(found["high"][row, 0] / found["low"][row, 1:].min())


def _ranked(found: Arrays, row: int) -> str:
    values = found["unexplained"][row]
    return ", ".join(f"{WAVELETS[i]} {values[i]:.2g}" for i in values.argsort()[:2])
