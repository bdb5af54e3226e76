"""Claims E4 and E6: what a trained HVAE does with latents that it draws, and with other numbers of steps."""

import math

import numpy as np
import torch
from torch import Tensor

from analysis import gains, inference, reference, refinement, sampling
from analysis.evidence import Check, Context, Control, Evidence, claim
from analysis.inference import Arrays

SEVERAL, MORE = 100, 250  # test images for what takes many passes: of E4, and of E6
MANY = 5000  # images, samples, and images drawn again, whose ELBOs E4 compares
SURE = 0.999  # the level of intervals that a check is decided by
SURE_AGAIN = 0.9995  # where it is the second look: 1,000 images and samples had been too few
ALIKE = 0.05  # of the ELBO: a choice
SAMPLES, ROWS, COLUMNS = 4, 8, 12


@claim(
    "E4",
    "Under the model itself samples have a lower ELBO than images; given an image's latents, what is decoded comes to it:"
    " all of them together halve the distance.",
    formula=r"\frac{\mathbb{E}\,\mathrm{ELBO}(x)}{\mathbb{E}\,\mathrm{ELBO}(\hat x)} \le 0.95,\quad e_n \le \tfrac12 e_0,"
    r"\quad e_K = \mathbb{E}\|\hat x_K - x\|",
    kind="statistical",
    control="pixels drawn as samples' are, but from images' own latents; all latents of another image",
    functions=["multires.hvae.HVAE", "multires.bounds.bounds"],
)
def e4(context: Context) -> Evidence:
    """The ELBO of samples beside that of images, the error given K latents; temperatures, gains and gradients are shown."""
    name, net, run, images = reference.reference()
    many, several = (reference.first(images, context.full, count) for count in (MANY, SEVERAL))
    of_images = sampling.elbo(net, many, context.seed)
    rounds = math.ceil(MANY / len(many))
    of_redrawn = sampling.elbo_of_redrawn(net, many, rounds, context.seed)
    of_samples = {
        float(t): sampling.elbo_of_samples(net, rounds * len(many) if t == 1 else len(several), float(t), context.seed)
        for t in sampling.TEMPERATURES
    }
    apart = inference.ratio(of_images, of_samples[1.0], SURE_AGAIN, paired=False)
    redrawn = inference.ratio(of_images, of_redrawn, SURE)
    error, other = sampling.errors(net, several, context.seed)
    left, of_another = (inference.ratio(e[:, -1], e[:, 0], SURE) for e in (error, other))
    checks = [
        Check("ELBO of images over that of samples, 99.95 %", apart[2], 1 - ALIKE),
        Check("error given all latents over that given none, 99.9 %", left[2], 0.5),
    ]
    controls = [
        Control("ELBO of images over that of pixels drawn from their latents, 99.9 %", redrawn[1], 1 - ALIKE),
        Control("error given all latents over that given none, 99.9 %: latents of another image", of_another[1], 0.5),
    ]
    arrays = {
        "counts": np.array(sampling.counts(net)),
        "error": np.stack([inference.mean(e) for e in error.T]),
        "error, another image": np.stack([inference.mean(e) for e in other.T]),
        "temperatures": sampling.TEMPERATURES,
        "elbo of samples": np.stack([inference.mean(e) for e in of_samples.values()]),
        "elbo of images": inference.mean(of_images),
        "elbo of redrawn": inference.mean(of_redrawn),
        "sides": np.array(inference.sides(net)),
    }
    arrays |= sampling.sheets(net, several[:ROWS], COLUMNS, context.seed)
    for label, hvae in (("trained", net), ("untrained", reference.untrained(run))):
        generator = torch.Generator().manual_seed(context.seed)
        arrays[f"{label} gain"] = gains.cell_gains(hvae, SAMPLES, generator).numpy()
        arrays[f"{label} gradient"] = gains.state_gradients(hvae, several[:SAMPLES], generator).numpy()
    as_many = sampling.drawn(net, len(several), 1.0, context.seed)
    looser = [inference.mean(sampling.looseness(net, x, context.seed + 1)) for x in (several, as_many)]
    return Evidence(checks, controls, arrays, _summary(name, len(many), rounds, len(several), arrays, looser))


def _summary(name: str, many: int, rounds: int, several: int, arrays: Arrays, looser: list[np.ndarray]) -> str:
    """What is not judged, in words; ELBOs beside that of images."""
    images, redrawn = arrays["elbo of images"][0], arrays["elbo of redrawn"][0]
    *colder, samples = arrays["elbo of samples"]
    of_images, of_samples = (f"{value:.1f} ({low:.1f} to {high:.1f})" for value, low, high in looser)

    def beside(elbo: float) -> str:
        return f"{abs(elbo - images):.2f} {'lower' if elbo < images else 'higher'}"

    return (
        f"{name}: ELBO of {many:,} test images {images:.2f} nats; of {rounds * many:,} samples {beside(samples[0])}, of as"
        f" many images of pixels drawn from the images' own latents {beside(redrawn)}; of colder samples, {several:,} each,"
        f" at most {max(low_high[2] for low_high in colder):.2f} (95 %). {sampling.DRAWS} draws raise the bound by {of_images} nats"
        f" for {several:,} images, {of_samples} for as many samples. Temperatures, gains and gradients are shown, not judged"
    )


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
    images = reference.first(images, context.full, MORE)

    def elbo(index: int, count: int, h: float | None = None) -> Tensor:
        return refinement.elbo(refinement.refined(net, index, count, h), images, context.seed)

    whole = refinement.elbo(net, images, context.seed)
    checks, controls, said = [], [], []
    arrays: Arrays = {}
    for index in refinement.shared(net):
        r = net.config.resolutions[index]
        curve = {count: whole if count == r.steps else elbo(index, count) for count in refinement.counts(r.steps)}
        full = {r.steps - 1: elbo(index, r.steps - 1, 1.0), r.steps: whole, r.steps + 1: elbo(index, r.steps + 1, 1.0)}
        near, away = ([_changed(c[r.steps + by], whole) for by in (-1, 1)] for c in (curve, full))
        what = f"change of the ELBO, r' = {r.steps} +- 1, {r.size} x {r.size}, 99.9 %"
        checks.append(Check(what, max(far for _, far in near), ALIKE))
        controls.append(Control(f"{what}: h = 1", max(close for close, _ in away), ALIKE))
        said += [f"{r.size} x {r.size} {_percent(near)} (h = 1: {_percent(away)})"]
        arrays |= refinement.arrays(r, "refined", curve, whole) | refinement.arrays(r, "full steps", full, whole)
    note = f"{name}, {len(images):,} test images; changes with r - 1 and r + 1 steps, in % of the ELBO, 99.9 %: {'; '.join(said)}"
    return Evidence(checks, controls, arrays, note)


def _percent(changes: list[tuple[float, float]]) -> str:
    return " and ".join(f"{100 * near:.1f} to {100 * far:.1f}" for near, far in changes)


def _changed(elbo: Tensor, whole: Tensor) -> tuple[float, float]:
    """The size of the mean change relative to the ELBO: the ends of its interval near 0 and far from it."""
    value, _, high = inference.mean(elbo - whole, SURE) / abs(float(whole.mean()))
    half = high - value
    return max(0.0, abs(value) - half), abs(value) + half
