"""Claims E1, E4, E5 and E6: what a trained HVAE has learned, on test images, beside what it does untrained."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from analysis import gains, inference, reference, refinement, sampling
from analysis.clock import Clock
from analysis.evidence import Check, Context, Control, Evidence, claim
from analysis.filters import WAVELETS
from analysis.inference import Arrays, Nats
from analysis.state_basis import Bases

SEVERAL, MORE = 100, 250  # test images for what takes many passes: of E4, and of E6, whose intervals are wide
STRONG = 0.1  # what may be missing: of a correlation, or unexplained
SURE = 0.999  # the level of intervals that a check is decided by
ALIKE = 0.05  # of the ELBO: about as much lies between the two networks that ship for MNIST
SAMPLES, ROWS, COLUMNS = 4, 8, 12


def _first(images: Tensor, context: Context, count: int) -> Tensor:
    return images if context.full else images[:count]


@dataclass(frozen=True)
class Found:
    """What one pass over the test images gives to several claims."""

    time: Arrays
    shuffled: Arrays
    bases: Arrays
    permuted: Arrays
    elbo: Tensor


@cache
def _inferred(trained: bool, seed: int, full: bool) -> Found:
    _, hvae, run, images = reference.reference()
    net = hvae if trained else reference.untrained(run)
    nats, clock, shuffled = Nats(net), Clock(net), Clock(net, torch.Generator().manual_seed(seed + 1))
    bases, permuted = Bases(net, last=True), Bases(net, last=True, permuted=True)
    for _ in inference.read(net, images if full else images[: reference.FIRST], seed, (nats, clock, shuffled, bases, permuted)):
        pass
    return Found(clock.found(), shuffled.found(), bases.found(), permuted.found(), nats.elbo)


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
    control="untrained weights; times shuffled within each image",
    functions=["multires.hvae.HVAE"],
)
def e1(context: Context) -> Evidence:
    """Spearman's correlation image by image, and read-outs of time on held-out images: the far ends of 95 % intervals."""
    name, net, _, images = reference.reference()
    trained, untrained = (_inferred(which, context.seed, context.full) for which in (True, False))
    checks = [Check(f"{what}, 95 %", value, STRONG) for what, value in _missing(trained.time, 2).items()]
    controls = [
        Control(f"{what}, 95 %: {label}", value, STRONG)
        for label, found in (("untrained", untrained.time), ("shuffled times", trained.shuffled))
        for what, value in _missing(found, 1).items()
    ]
    arrays = _named("trained", trained.time) | _named("untrained", untrained.time) | _named("shuffled", trained.shuffled)
    arrays["sides"] = np.array(inference.sides(net))
    return Evidence(checks, controls, arrays, f"{name}, {len(_first(images, context, reference.FIRST)):,} test images")


@claim(
    "E4",
    "Samples lie apart from images in the model's own likelihood, and the more of its first latents an image gives, the nearer"
    " they come to it.",
    formula=r"\mathbb{E}\,\mathrm{ELBO}(\hat x) \ne \mathbb{E}\,\mathrm{ELBO}(x),\qquad "
    r"\mathbb{E}\|\hat x_K - x\| \downarrow \text{ in } K,\quad \mathbb{E}\|\hat x_n - x\| \le \tfrac12 \mathbb{E}\|\hat x_0 - x\|",
    kind="statistical",
    control="one half of the images beside the other; latents of another image; the latents taken away instead of given",
    functions=["multires.hvae.HVAE", "multires.bounds.bounds"],
)
def e4(context: Context) -> Evidence:
    """The ELBO of samples beside that of images, the error given K latents; temperatures, gains and gradients are shown."""
    name, net, run, images = reference.reference()
    many, several = _first(images, context, reference.FIRST), _first(images, context, SEVERAL)
    of_images = _inferred(True, context.seed, context.full).elbo
    of_samples = {
        float(t): sampling.elbo_of_samples(net, len(many if t == 1 else several), float(t), context.seed)
        for t in sampling.TEMPERATURES
    }
    error, other = sampling.errors(net, several, context.seed)
    checks = [
        Check("interval of the ELBOs' difference over its distance from 0, 99.9 %", _blur(of_samples[1.0], of_images), 1),
        Check("error given all latents over that given none, 99.9 %", _left(error, far=True), 0.5),
        Check("rise of the error with one more latent, beyond its interval, 99.9 %", _rise(error), 0),
    ]
    controls = [
        Control("interval of the ELBOs' difference over its distance from 0: images beside images", _blur(*of_images.chunk(2)), 1),
        Control("error given all latents over that given none: latents of another image", _left(other, far=False), 0.5),
        Control("rise of the error with one more latent: latents taken away", _rise(error.flip(1)), 0),
    ]
    arrays = {
        "counts": np.array(sampling.counts(net)),
        "error": np.stack([inference.mean(e) for e in error.T]),
        "error, another image": np.stack([inference.mean(e) for e in other.T]),
        "temperatures": sampling.TEMPERATURES,
        "elbo of samples": np.stack([inference.mean(e) for e in of_samples.values()]),
        "elbo of images": inference.mean(of_images),
        "sides": np.array(inference.sides(net)),
    }
    arrays |= sampling.sheets(net, several[:ROWS], COLUMNS, context.seed)
    for label, hvae in (("trained", net), ("untrained", reference.untrained(run))):
        generator = torch.Generator().manual_seed(context.seed)
        arrays[f"{label} gain"] = gains.cell_gains(hvae, SAMPLES, generator).numpy()
        arrays[f"{label} gradient"] = gains.state_gradients(hvae, several[:SAMPLES], generator).numpy()
    apart = inference.mean(of_samples[1.0])[0] - inference.mean(of_images)[0]
    note = f"{name}: samples lie {apart:+.2f} nats from {len(many):,} test images; errors and colder samples over {len(several):,}"
    return Evidence(checks, controls, arrays, note + "; temperatures, gains and gradients are shown, not judged")


def _blur(x: Tensor, y: Tensor) -> float:
    """The half width of the interval of the difference of two means over that difference."""
    a, b = inference.mean(x, SURE), inference.mean(y, SURE)
    return float(np.hypot(a[2] - a[0], b[2] - b[0]) / abs(a[0] - b[0]))


def _left(error: Tensor, far: bool) -> float:
    """What is left of the mean error once all latents are given: the end of the interval of the numerator, far from 0 or near."""
    return float(inference.mean(error[:, -1], SURE)[2 if far else 1] / error[:, 0].mean())


def _rise(error: Tensor) -> float:
    """The largest rise from one count to the next that its paired interval leaves over; 0 where none."""
    return max(0.0, *(float(inference.mean(step, SURE)[1]) for step in error.double().diff(dim=1).T))


@claim(
    "E5",
    "The decoder's states carry the Haar approximations of the image that they will become, better than those of any other basis.",
    formula=r"1 - R^2_{\text{haar}}(Z^{(j)}) < 1 - R^2_w(Z^{(j)}),\quad w \in \{\text{db2}, \dots, \text{bior4.4}\},\ 0 < j < J",
    kind="statistical",
    control="untrained weights, at one resolution or more; states of another image",
    functions=["multires.hvae.HVAE"],
)
def e5(context: Context) -> Evidence:
    """C5's read-out on the last state at each resolution: the upper end for Haar over the lowest lower end of the others."""
    name, _, _, images = reference.reference()
    trained, untrained = (_inferred(which, context.seed, context.full) for which in (True, False))
    sides = trained.bases["basis sides"].tolist()
    what = "Haar over the best other basis"
    checks = [Check(f"{what}, {side} x {side}, 95 %", _margin(trained.bases, k), 1) for k, side in enumerate(sides)]
    # no doubt speaks for the control: estimates, not ends of intervals, and the resolution where Haar does worst
    values = untrained.bases["unexplained"]
    controls = [Control(f"{what}, at its worst: untrained", float((values[:, 0] / values[:, 1:].min(1)).max()), 1)]
    controls += [
        Control(f"{what}, {side} x {side}, 95 %: states of another image", _margin(trained.permuted, k), 1)
        for k, side in enumerate(sides)
    ]
    arrays = _named("trained", trained.bases) | _named("untrained", untrained.bases)
    said = "; ".join(
        f"{side} x {side} " + ", untrained ".join(_ranked(found.bases, k) for found in (trained, untrained))
        for k, side in enumerate(sides)
    )
    note = f"{name}, {len(_first(images, context, reference.FIRST)):,} test images. Smallest unexplained fractions: {said}"
    return Evidence(checks, controls, arrays, note)


def _margin(found: Arrays, row: int) -> float:
    return float(found["high"][row, 0] / found["low"][row, 1:].min())


def _ranked(found: Arrays, row: int) -> str:
    values = found["unexplained"][row]
    return ", ".join(f"{WAVELETS[i]} {values[i]:.2g}" for i in values.argsort()[:2])


@claim(
    "E6",
    "Time is continuous: a shared cell that takes one step more or fewer, of length r/r', gives nearly the same likelihood.",
    formula=r"|\mathrm{ELBO}_{r'} - \mathrm{ELBO}_r| \le 0.05\,|\mathrm{ELBO}_r|,\quad r' = r \pm 1,\ h = r / r'",
    kind="statistical",
    control="as many steps of full length, h = 1",
    functions=["multires.hvae.HVAE", "multires.cells.Cell"],
)
def e6(context: Context) -> Evidence:
    """The change of the ELBO at each resolution whose cell is shared, paired by image, at the far end of a 99.9 % interval."""
    name, net, _, images = reference.reference(reference.SHARED)
    images = _first(images, context, MORE)

    def elbo(index: int, count: int, h: float | None = None) -> Tensor:
        return sampling.elbo(refinement.refined(net, index, count, h), images, context.seed)

    whole = sampling.elbo(net, images, context.seed)
    checks, controls = [], []
    arrays: Arrays = {}
    for index in refinement.shared(net):
        r = net.config.resolutions[index]
        curve = {count: whole if count == r.steps else elbo(index, count) for count in refinement.counts(r.steps)}
        full = {r.steps - 1: elbo(index, r.steps - 1, 1.0), r.steps: whole, r.steps + 1: elbo(index, r.steps + 1, 1.0)}
        near, away = ([_changed(c[r.steps + by], whole) for by in (-1, 1)] for c in (curve, full))
        what = f"change of the ELBO, r' = {r.steps} +- 1, {r.size} x {r.size}, 99.9 %"
        checks.append(Check(what, max(far for _, far in near), ALIKE))
        controls.append(Control(f"{what}: h = 1", max(close for close, _ in away), ALIKE))
        arrays |= refinement.arrays(r, "refined", curve, whole) | refinement.arrays(r, "full steps", full, whole)
    return Evidence(checks, controls, arrays, f"{name}, {len(images):,} test images")


def _changed(elbo: Tensor, whole: Tensor) -> tuple[float, float]:
    """The size of the mean change relative to the ELBO: the ends of its interval near 0 and far from it."""
    value, _, high = inference.mean(elbo - whole, SURE) / abs(float(whole.mean()))
    half = high - value
    return max(0.0, abs(value) - half), abs(value) + half
