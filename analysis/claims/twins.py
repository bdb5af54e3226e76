"""Claims C1, C4 and C7: closed-form twins of U-Nets, which need no training data."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from analysis import oracle, wiener
from analysis.capture import capture
from analysis.evidence import Check, Context, Control, Evidence, Skipped, claim
from analysis.levelwise import Operator, truncation
from analysis.measure import BOUNDS, FLOOR, Defects, checks_over_fields, controls_over_fields, gap, keep_worst, relative, size
from multires.pooling import blur, maximum, subsample
from multires.spaces import Function, dimension, resolution
from multires.unet import HaarUNet, LinearUNet

KEEP_EVERY = 10
OPTIMUM_BOUND, WRONG_TARGET_FLOOR = 0.01, 0.1
SLOPE_BOUND = 0.1  # the phases are random, so each level keeps its own share of the error
ROUNDING = 1e-9
PATCHES = 20_000


def _haar_unet(build: Callable[[int], nn.Module], x: Tensor) -> Defects:
    """How far the activations of a Haar U-Net of full depth are from PyWavelets' coefficients, relative to the input's norm."""
    d, levels = dimension(x), resolution(x)
    net, found = build(levels), Defects()
    with torch.no_grad(), capture(net, ["pools.*", "skips.*"]) as record:
        output = net(x)
    coarse = x.numpy()
    for level in range(levels):
        coarse, bands = oracle.split(coarse, d)
        keep_worst(found, "pooled = approximations", gap(record[f"pools.{level}"].tensor, coarse * 2 ** (-(level + 1) * d / 2), x))
        means, details = oracle.split(record[f"skips.{level}"].tensor.numpy(), d)
        parts = [means, *(details[name] - bands[name] * 2 ** (-level * d / 2) for name in bands)]
        error = torch.stack([size(torch.from_numpy(part)) for part in parts]).norm(dim=0) * 2 ** (-d / 2)  # as a function's norm
        keep_worst(found, "skips = details", relative(error, size(x)))
    return found | {"output = input": gap(output, x, x)}


class _Cut(nn.Module):
    """A skip that passes nothing."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)


def _with_a_cut(levels: int) -> HaarUNet:
    net = HaarUNet(levels)
    net.skips[0] = _Cut()
    return net


@claim(
    "C1",
    "A U-Net with identity blocks, average pooling and x - embed(pool x) on its skips is the Haar transform and its inverse.",
    formula=r"2^{ld/2}\,\operatorname{pool}^l x = cA_l,\quad x_l - \operatorname{embed}\operatorname{pool} x_l"
    r" = \sum_k d_{l+1,k}\,\psi_{l+1,k},\quad U x = x",
    kind="exact",
    control="max pooling and [1 2 1] blur in its place; the finest skip cut",
    functions=["multires.unet.HaarUNet"],
)
def c1(context: Context) -> Evidence:
    """Capture every activation over all fields and compare it with PyWavelets; keep a pyramid for the figure."""
    held_against = {
        "max pooling": partial(_haar_unet, lambda levels: HaarUNet(levels, maximum)),
        "[1 2 1] blur": partial(_haar_unet, lambda levels: HaarUNet(levels, blur)),
        "finest skip cut": partial(_haar_unet, _with_a_cut),
    }
    image = context.pictured
    levels = min(4, resolution(image))
    with torch.no_grad(), capture(net := HaarUNet(levels), ["pools.*", "skips.*"]) as record:
        net(image)
    arrays: dict[str, np.ndarray] = {}
    x = image[0, 0].numpy()
    for level in range(levels):
        arrays |= {f"{name}_{level}": record[f"{name}.{level}"].tensor[0, 0].numpy() for name in ("pools", "skips")}
        arrays[f"detail_{level}"], x = oracle.detail_part(x, 2), oracle.approximation(x, 2)
        arrays[f"approximation_{level}"] = x
    return Evidence(
        checks_over_fields(context, partial(_haar_unet, HaarUNet)),
        controls_over_fields(context, held_against),
        {name: value.astype(np.float32) for name, value in arrays.items()},
    )


@claim(
    "C4",
    "L2-optimality passes down: trained into V_j, a linear U-Net finds P_j of the best operator into V_J, at every resolution.",
    formula=r"\operatorname{argmin}_U \mathbb{E}\|U x - P_j w\|^2 = P_j\, C (C + s^2 I)^{-1},\qquad "
    r"w \sim N(0, C),\; x = w + s\,\epsilon",
    kind="convergence",
    control="the wrong target: the optimum into V_(j+1); the projection alone, which leaves the noise in; subsampling, and an"
    " embedding one cell off, in place of the network's own",
    functions=["multires.unet.LinearUNet", "multires.pooling.average"],
)
def c4(context: Context) -> Evidence:
    """Descend the exact expected loss for a known spectrum, and for the covariance of patches of the images."""
    cases = {
        "power spectrum 1 / (1 + k^2), d = 1": (wiener.with_spectrum(5, 0.5), 400),
        "covariance of patches, d = 2": (wiener.of_patches(_small_patches(context), 0.3), 1000),
    }
    checks, found, arrays = [], [], dict[str, np.ndarray]()
    for number, (name, (data, steps)) in enumerate(cases.items()):
        curve = []
        with wiener.one_thread():
            for step, maps in wiener.descend(data, steps, context.seed):
                if step % KEEP_EVERY == 0:
                    right, wrong = wiener.distances(data, maps)
                    curve.append((step, right))
        checks += [Check(f"distance from P_{j} W, {name}", value, OPTIMUM_BOUND) for j, value in enumerate(right)]
        found += [
            Control(f"distance of U_{j} from P_{j + 1} W, {name}", value, WRONG_TARGET_FLOOR) for j, value in enumerate(wrong)
        ]
        structure, broken = _structure(data, context)
        checks += [Check(f"{name}: {what}", value, BOUNDS[torch.float64]) for what, value in structure.items()]
        found += [Control(f"{name}: {what}", value, FLOOR) for what, value in broken.items()]
        finest = data.resolution
        noisy = wiener.distance(data.projections[finest], data.wiener)
        found.append(Control(f"{name}: P_{finest} alone, distance from P_{finest} W", noisy, WRONG_TARGET_FLOOR))
        arrays |= {f"steps_{number}": np.array([s for s, _ in curve]), f"distances_{number}": np.array([v for _, v in curve])}
    return Evidence(checks, found, arrays | {"cases": np.array(list(cases))})


def _structure(data: wiener.Gaussian, context: Context) -> tuple[Defects, Defects]:
    """How far the linear U-Net, at random weights, is from pooling by averages and embedding; and from two others.

    Its dense maps would make up for any other pooling, so the optimum alone does not show that it has this one.
    """
    d, found, broken = data.dimension, Defects(), Defects()
    net = LinearUNet(data.resolution, d).double()
    for weight in net.parameters():
        weight.data = context.normal(*weight.shape)
    with torch.no_grad(), capture(net, ["down.*", "up.*"], inputs=True) as record:
        outputs = net(data.shaped(data.identity))
    for j in range(data.resolution):
        wide = record[f"down.{data.resolution - j - 1}"].tensor.unflatten(1, (-1, *[2 ** (j + 1)] * d))
        truth = torch.from_numpy(oracle.approximation(wide.numpy(), d))
        pooled = record[f"up.{j}"].inputs[0][0].reshape(truth.shape)
        keep_worst(found, "pooled = approximations", gap(pooled, truth, wide))
        keep_worst(broken, "pooled = approximations: subsampling", gap(subsample(wide), truth, wide))
        detail = record[f"up.{j + 1}"].tensor.reshape(outputs[j + 1].shape)
        below = outputs[j].numpy()
        embedded, shifted = (detail + torch.from_numpy(oracle.repeat(x, d)) for x in (below, np.roll(below, 1, -1)))
        keep_worst(found, "output = embedded output below + skip", gap(outputs[j + 1], embedded, embedded))
        if j:  # a single cell has nowhere to go
            keep_worst(broken, "output = embedded output below + skip: shifted", gap(outputs[j + 1], shifted, embedded))
    return found, broken


def _small_patches(context: Context) -> Tensor:
    """Patches of 2^3 cells a side, or of half the images' side where that is less, each channel alone; PATCHES at most."""
    batch = context.images.batches[0]
    side = min(8, batch.shape[-1] // 2)
    cut = batch.flatten(0, 1).unfold(1, side, side // 2).unfold(2, side, side // 2).reshape(-1, 1, side, side)
    chosen = cut[torch.linspace(0, len(cut) - 1, min(PATCHES, len(cut))).long()]
    if not bool((chosen.flatten(1).amax(1) > chosen.flatten(1).amin(1)).any()):
        raise Skipped(
            f"{context.images.name}: in no patch of {side} x {side} cells does anything vary: there are no details to find"
        )
    return chosen


FUNCTIONS: dict[str, tuple[int, Function]] = {
    "exp(sin 2 pi x), d = 1": (1, lambda x: torch.exp(torch.sin(2 * torch.pi * x[..., 0]))),
    "sin(3x + 2y^2), d = 2": (2, lambda x: torch.sin(3 * x[..., 0] + 2 * x[..., 1] ** 2)),
}
RESOLUTIONS = {1: (list(range(2, 11)), 13), 2: (list(range(2, 7)), 8)}


@claim(
    "C7",
    "Truncation: with level-wise operators of norm at most L, a U-Net's output converges with its input, at the same rate.",
    formula=r"\|U f - U_J P_J f\| \le L\,\|f - P_J f\| = O(2^{-J})\qquad\text{for } f \in C^1,\ \sup_j \|T_j\| \le L",
    kind="convergence",
    control="operators whose norms grow like 2^j, so that they have no common bound",
    functions=["multires.spaces.restrict", "multires.haar.analysis", "multires.haar.synthesis"],
)
def c7(context: Context) -> Evidence:
    """Truncate random operators, linear and not, on functions given analytically."""
    checks, found, arrays = [], [], dict[str, np.ndarray]()
    for name, (d, f) in FUNCTIONS.items():
        resolutions, finest = RESOLUTIONS[d]
        for kind, nonlinear in (("linear", False), ("leaky ReLU", True)):
            operator = Operator(context.seed, nonlinear=nonlinear)
            t = truncation(f, d, resolutions, finest, operator, operator.bound)
            checks.append(Check(f"error / (L |f - P_J f|), {kind}, {name}", t.ratio(operator.bound), 1 + ROUNDING))
            checks.append(Check(f"|slope + 1|, {kind}, {name}", abs(t.slope + 1), SLOPE_BOUND))
            arrays |= {f"{kind} {name}": t.output, f"bound {name}": operator.bound * t.input, f"J {name}": np.array(resolutions)}
        growing = Operator(context.seed, growth=2)
        t = truncation(f, d, resolutions, finest, growing, 0)
        found.append(Control(f"|slope + 1|, norms growing like 2^j, {name}", abs(t.slope + 1), 3 * SLOPE_BOUND))
        found.append(Control(f"error / (L |f - P_J f|), norms growing like 2^j, {name}", t.ratio(growing.bound), 2))
        arrays[f"growing {name}"] = t.output
    return Evidence(checks, found, arrays | {"functions": np.array(list(FUNCTIONS))})
