"""Claims E1, E4, E5 and E6: what a trained HVAE has learned, on test images, beside what it does untrained."""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from analysis import gains, inference, reference, refinement, sampling
from analysis.clock import Clock
from analysis.evidence import Check, Context, Control, Evidence, claim
from analysis.filters import WAVELETS
from analysis.inference import Arrays
from analysis.state_basis import Bases

FIRST = 1000  # test images
SEVERAL = 128  # test images for what takes many passes
STRONG = 0.1  # what may be missing: of a correlation, or unexplained
SURE = 0.999  # the level of intervals that a check is decided by
ALIKE = 0.05  # of the ELBO: sharing the cells of a resolution costs about as much
SAMPLES, ROWS, COLUMNS = 4, 8, 12


def _first(images: Tensor, context: Context, count: int) -> Tensor:
    return images if context.full else images[:count]


@cache
def _inferred(trained: bool, seed: int, full: bool) -> tuple[Arrays, Arrays, Arrays]:
    """What E1 and E5 read of one pass: time, time with labels shuffled, bases."""
    _, hvae, run, images = reference.reference()
    net = hvae if trained else reference.untrained(run)
    readers = Clock(net), Clock(net, torch.Generator().manual_seed(seed + 1)), Bases(net)
    for _ in inference.read(net, images if full else images[:FIRST], seed, readers):
        pass
    time, shuffled, bases = (reader.found() for reader in readers)
    return time, shuffled, bases


def _named(label: str, arrays: Arrays) -> Arrays:
    return {f"{label} {name}": values for name, values in arrays.items()}


def _lacking(found: Arrays, end: int) -> dict[str, float]:
    """What each check of E1 is about, at one end of its interval: 0 the estimate, 1 the end near 0, 2 the end far from it."""
    lacking = {"1 - correlation of norm and depth": 1 - found["growth"][(0, 2, 1)[end]]}
    names = {"unexplained all": "time unexplained, all steps", "unexplained within": "time unexplained, within resolutions"}
    return {k: float(v) for k, v in (lacking | {names[name]: found[name][end] for name in names if name in found}).items()}


@claim(
    "E1",
    "The states of a trained HVAE tell the time: their L2 norm grows with depth, and time can be read from them linearly.",
    formula=r"\rho_S(\|Z_k\|, k) \ge 0.9,\qquad R^2(\hat t) \ge 0.9,\quad \hat t = a + \langle w, P_0 Z\rangle",
    kind="statistical",
    control="untrained weights; times shuffled within each image",
    functions=["multires.hvae.HVAE"],
)
def e1(context: Context) -> Evidence:
    """Spearman's correlation image by image, and two read-outs of time on held-out images: the far ends of 95 % intervals."""
    name, net, _, images = reference.reference()
    trained, shuffled, _ = _inferred(True, context.seed, context.full)
    untrained, _, _ = _inferred(False, context.seed, context.full)
    checks = [Check(f"{what}, 95 %", value, STRONG) for what, value in _lacking(trained, 2).items()]
    controls = [
        Control(f"{what}, 95 %: {label}", value, STRONG)
        for label, found in (("untrained", untrained), ("shuffled times", shuffled))
        for what, value in _lacking(found, 1).items()
    ]
    arrays = _named("trained", trained) | _named("untrained", untrained) | _named("shuffled", shuffled)
    arrays["sides"] = np.array(inference.sides(net))
    return Evidence(checks, controls, arrays, f"{name}, {len(_first(images, context, FIRST)):,} test images")


@claim(
    "E4",
    "Samples are not yet images: in the model's own likelihood they lie apart from them, and each first latent that an image gives"
    " brings them nearer to it.",
    formula=r"\mathbb{E}\,\mathrm{ELBO}(\hat x) \ne \mathbb{E}\,\mathrm{ELBO}(x),\qquad"
    r"\mathbb{E}\|\hat x_K - x\| \downarrow \text{ in } K,\quad \mathbb{E}\|\hat x_n - x\| \le \tfrac12 \mathbb{E}\|\hat x_0 - x\|",
    kind="statistical",
    control="one half of the images beside the other; latents of another image; the latents taken away instead of given",
    functions=["multires.hvae.HVAE", "multires.bounds.bounds"],
)
def e4(context: Context) -> Evidence:
    """The ELBO of samples beside that of images, the error given K latents; temperatures, gains and gradients are shown."""
    name, net, run, images = reference.reference()
    many, several = _first(images, context, FIRST), _first(images, context, SEVERAL)
    of_images = sampling.elbo(net, many, context.seed)
    of_samples = {
        float(t): sampling.elbo(net, sampling.drawn(net, len(many if t == 1 else several), float(t), context.seed), context.seed)
        for t in sampling.TEMPERATURES
    }
    error, other = (sampling.errors(net, several, context.seed, permuted) for permuted in (False, True))
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
        "sheet images": net.crop(several[:ROWS]).numpy(),
        "sheet given": torch.stack([net.crop(x) for x in sampling.given_first(net, several[:ROWS], context.seed)], 1).numpy(),
        "sheet temperatures": net.crop(sampling.at_temperatures(net, COLUMNS, context.seed).flatten(0, 1))
        .unflatten(0, (-1, COLUMNS))
        .numpy(),
        "sides": np.array(inference.sides(net)),
    }
    for label, hvae in (("trained", net), ("untrained", reference.untrained(run))):
        generator = torch.Generator().manual_seed(context.seed)
        arrays[f"{label} gain"] = gains.cell_gains(hvae, SAMPLES, generator).numpy()
        arrays[f"{label} gradient"] = gains.state_gradients(hvae, several[:SAMPLES], generator).numpy()
    apart = inference.mean(of_samples[1.0])[0] - inference.mean(of_images)[0]
    note = f"{name}: samples lie {apart:+.2f} nats from {len(many):,} test images; errors over {len(several):,} of them"
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
    control="untrained weights",
    functions=["multires.hvae.HVAE"],
)
def e5(context: Context) -> Evidence:
    """C5's read-out on the last state at each resolution: the upper end for Haar over the lowest lower end of the others."""
    name, net, _, images = reference.reference()
    (_, _, trained), (_, _, untrained) = (_inferred(which, context.seed, context.full) for which in (True, False))
    margins = {label: _margins(found) for label, found in (("trained", trained), ("untrained", untrained))}
    checks = [Check(f"Haar over the best other basis, {side} x {side}", value, 1) for side, value in margins["trained"].items()]
    worst = max(margins["untrained"], key=lambda side: margins["untrained"][side])
    what = "Haar over the best other basis at each resolution: untrained"
    controls = [Control(f"{what}, {worst} x {worst}", margins["untrained"][worst], 1)]
    arrays = _named("trained", trained) | _named("untrained", untrained) | {"wavelets": np.array(WAVELETS)}
    first = "; ".join(f"{side} x {side}: {_ranked(trained, side)}" for side in margins["trained"])
    count = len(_first(images, context, FIRST))
    return Evidence(checks, controls, arrays, f"{name}, {count:,} test images. Unexplained, smallest first: {first}")


def _last(found: Arrays, side: int) -> int:
    """The row of the last step at a resolution."""
    return int(np.flatnonzero(found["basis sides"] == side)[-1])


def _margins(found: Arrays) -> dict[int, float]:
    rows = {int(side): _last(found, side) for side in dict.fromkeys(found["basis sides"].tolist())}
    return {side: float(found["high"][row, 0] / found["low"][row, 1:].min()) for side, row in rows.items()}


def _ranked(found: Arrays, side: int) -> str:
    values = found["unexplained"][_last(found, side)]
    return ", ".join(f"{WAVELETS[i]} {values[i]:.2g}" for i in values.argsort()[:3])


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
    images = _first(images, context, SEVERAL)
    whole = sampling.elbo(net, images, context.seed)
    checks, controls = [], []
    arrays: Arrays = {"elbo": inference.mean(whole), "sides": np.array([r.size for r in net.config.resolutions])}
    for index in refinement.shared(net):
        r = net.config.resolutions[index]
        curve = {r.steps: whole}, {r.steps: whole}
        for count in (r.steps - 1, r.steps + 1, 2 * r.steps):
            curve[0][count] = sampling.elbo(refinement.refined(net, index, count), images, context.seed)
        for count in (r.steps - 1, r.steps + 1):
            curve[1][count] = sampling.elbo(refinement.refined(net, index, count, 1.0), images, context.seed)
        near, full = ([_changed(c[r.steps + by], whole) for by in (-1, 1)] for c in curve)
        what = f"change of the ELBO, r' = {r.steps} +- 1, {r.size} x {r.size}"
        checks.append(Check(f"{what}, 99.9 %", max(far for _, far in near), ALIKE))
        controls.append(Control(f"{what}: h = 1", max(close for close, _ in full), ALIKE))
        for label, values in zip(("refined", "full steps"), curve, strict=True):
            ordered = sorted(values)
            arrays[f"{label} {r.size} counts"] = np.array(ordered)
            arrays[f"{label} {r.size} elbo"] = np.stack([inference.mean(values[count]) for count in ordered])
    return Evidence(checks, controls, arrays, f"{name}, {len(images):,} test images")


def _changed(elbo: Tensor, whole: Tensor) -> tuple[float, float]:
    """The size of the mean change relative to the ELBO: the ends of its interval near 0 and far from it."""
    value, low, high = inference.mean(elbo - whole, SURE) / abs(float(whole.mean()))
    half = high - value
    return max(0.0, abs(value) - half), abs(value) + half
