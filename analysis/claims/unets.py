"""Claims C2, C3, C5 and C6: what trained U-Nets do, measured on the shipped weights and patches of real images."""

import copy
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from analysis import ablation, basis, basis_study, filters, oracle, shipped
from analysis.capture import capture
from analysis.evidence import Check, Context, Control, Evidence, Skipped, claim
from analysis.measure import BOUNDS, FLOOR, Defects, dtype_name, gap, keep_worst, relative, size
from analysis.reducers import Tensors
from multires import tasks
from multires.pooling import average, maximum
from multires.unet import HaarUNet, Pooling, UNet

MAX_POOLING_FLOOR = 0.1
SAME_FLOOR = 0.01  # that net's activations are smoother
OWN_BOUND = 1e-3  # a basis that the activations carry leaves less than this unexplained; without one they leave more
FIRST_LEVEL = 2  # at level 1 several filters give nearly the same
MANY_PATCHES, CONTROL_PATCHES = 1000, 64
UNTRAINED_SEEDS = (0, 1, 2)
EPS = torch.finfo(torch.float32).eps


class _Agreement:
    """How far what a site pools is from PyWavelets' approximation of what it was given, relative to that; channel by channel.

    Beside it, what max pooling makes of the same activation.
    """

    def __init__(self) -> None:
        self.worst = 0.0
        self._sums: Tensor | float = 0.0  # (pooled, max pooling, activation; channel)

    def update(self, outputs: Tensors, inputs: Tensors) -> None:
        (activation,), (pooled,) = inputs, outputs
        truth = torch.from_numpy(oracle.approximation(activation.numpy(), activation.ndim - 2))
        self.worst = float(np.max([self.worst, gap(pooled, truth, activation)]))
        parts = (pooled.double() - truth, maximum(activation).double() - truth, activation)
        self._sums = self._sums + torch.stack([size(part).square().sum(0) for part in parts])

    @property
    def channels(self) -> tuple[Tensor, Tensor]:
        """The distance of every channel, pooled and max-pooled, with all images taken together."""
        pooled, largest, whole = torch.as_tensor(self._sums)
        return (pooled / whole).sqrt(), (largest / whole).sqrt()


def _agreement(pooling: str, inputs: Tensor, dtype: torch.dtype) -> dict[str, _Agreement]:
    net = copy.deepcopy(shipped.network(pooling)[0]).to(dtype)
    with torch.inference_mode(), capture(net, "pools.*", inputs=True, reduce=_Agreement) as record:
        for x in inputs.split(basis.BATCH):
            net(x.to(dtype))
    return record


@claim(
    "C2",
    "At every pooling site of a trained average-pooling U-Net, what is pooled is PyWavelets' approximation of the activation.",
    formula=r"\operatorname{pool}(a) = 2^{-d/2}\, cA_1(a)\qquad\text{for every channel of every pooled activation } a",
    kind="exact",
    control="max pooling of the same activations, and the max-pooling net, at their median channels",
    functions=["multires.unet.UNet", "multires.pooling.average", "multires.pretrained.load_unet"],
)
def c2(context: Context) -> Evidence:
    """Capture what goes in and out of each pooling on 1,000 noisy patches, and on the first of them in float64."""
    net, run = shipped.network("average")
    (inputs, _), _ = shipped.pairs(context, run, fit_on=MANY_PATCHES)
    checks, controls, arrays = [], [], {}
    others = _agreement("max", inputs[:CONTROL_PATCHES], torch.float32)
    for site in sorted(others):
        typical = float(others[site].channels[0].median())
        controls.append(Control(f"{site}, median channel: max pooling", typical, MAX_POOLING_FLOOR))
    arrays["max"] = np.array([control.measured for control in controls])
    for dtype, bound in BOUNDS.items():  # float64 shows that what float32 leaves is rounding; convolving in it is slow
        found = _agreement("average", inputs[:CONTROL_PATCHES] if dtype == torch.float64 else inputs, dtype)
        checks += [Check(f"{site}, every channel", found[site].worst, bound, dtype_name(dtype)) for site in sorted(found)]
        arrays[dtype_name(dtype)] = np.array([found[site].worst for site in sorted(found)])
    what = "median channel: max pooling of the same activation"  # which an activation without structure would not tell apart
    controls += [Control(f"{site}, {what}", float(found[site].channels[1].median()), SAME_FLOOR) for site in sorted(found)]
    return Evidence(checks, controls, arrays | _pyramid(net, context), note=f"{len(inputs)} patches")


def _pyramid(net: UNet, context: Context) -> dict[str, np.ndarray]:
    """The pooled activations of one image, in the channel that varies most at each site, beside PyWavelets' approximations."""
    image = context.pictured.float()
    with torch.inference_mode(), capture(net, "pools.*", inputs=True) as record:
        net(image)
    arrays = {}
    for level in range(net.config.levels):
        kept = record[f"pools.{level}"]
        activation, pooled = kept.inputs[0][0][0], kept.tensor[0]
        channel = int(pooled.flatten(1).var(1).argmax())
        arrays[f"pooled_{level}"] = pooled[channel].numpy()
        arrays[f"pywavelets_{level}"] = oracle.approximation(activation[channel].numpy(), 2).astype(np.float32)
    return {"image": image[0, 0].numpy()} | arrays


def _split_defects(output: Tensor, target: Tensor, pool: Pooling) -> Defects:
    """|U x - w|^2 against the loss after pooling plus PyWavelets' detail losses, at each level: the worst over images.

    Relative to |U x - w| (|U x| + |w|): pooling rounds U x and w, whose sizes the loss does not see.
    """
    error = output.double() - target.double()
    scale = size(error) * (size(output) + size(target))
    x, d, found = error.numpy()[:, 0], error.ndim - 2, Defects()
    whole, details = size(error).square(), torch.zeros(len(error), 1, dtype=torch.float64)
    pooled = output, target
    for level in range(1, int(output.shape[-1]).bit_length()):
        x, bands = oracle.split(x, d)
        for band in bands.values():  # a coefficient at level l stands for a function of norm 2^(-l d/2)
            details += size(torch.from_numpy(band)[:, None]).square() * 2.0 ** (-level * d)
        pooled = pool(pooled[0]), pool(pooled[1])
        coarse = size(pooled[0].double() - pooled[1].double()).square()
        keep_worst(found, f"level {level}", relative((coarse + details - whole).abs(), scale))
    return found


@claim(
    "C3",
    "The L2 loss of a trained U-Net splits over resolutions: at every level into the loss after pooling and those of the details.",
    formula=r"\|U x - w\|^2 = \|\operatorname{pool}^l U x - \operatorname{pool}^l w\|^2 + \sum_{i \le l} \|d_i(U x - w)\|^2",
    kind="exact",
    control="max pooling in place of average pooling",
    functions=["multires.tasks.squared_distance", "multires.pooling.average"],
)
def c3(context: Context) -> Evidence:
    """Split the loss of every held-out patch, in both precisions; keep the split, trained and untrained, for the figure."""
    net, run = shipped.network("average")
    _, (inputs, target) = shipped.pairs(context, run)
    with torch.inference_mode():
        output, before = net(inputs), shipped.untrained("average")(inputs)
    double = output.double()  # the split is one of any two functions: what the network rounds has no part in it
    checks = []
    for dtype, y in ((torch.float64, double), (torch.float32, output)):
        for name, value in _split_defects(y, target.to(dtype), average).items():
            checks.append(Check(name, value, BOUNDS[dtype], dtype_name(dtype)))
    found = _split_defects(double, target.double(), maximum)
    controls = [Control(f"{name}: max pooling", value, FLOOR) for name, value in found.items()]
    whole = size(double - target.double()).square().mean()
    trained_on, _ = tasks.squared_distance(nn.Identity(), (double, target.double()))
    absolute = (double - target.double()).abs().mean()
    checks.append(Check("the loss of training is this one", float((trained_on / whole - 1).abs()), BOUNDS[torch.float64]))
    controls.append(Control("the loss of training is this one: absolute errors", float((absolute / whole - 1).abs()), FLOOR))
    arrays = {name: _shares(y - target) for name, y in (("trained", output), ("untrained", before), ("noise", inputs))}
    return Evidence(checks, controls, arrays)


def _shares(error: Tensor) -> np.ndarray:
    """The mean loss of the details at level 1, 2, ... and of the mean."""
    x, d, losses = error.double().numpy()[:, 0], error.ndim - 2, []
    for level in range(1, int(error.shape[-1]).bit_length()):
        x, bands = oracle.split(x, d)
        losses.append(sum(float((band**2).mean()) for band in bands.values()) * 2.0 ** (-level * d))
    return np.array([*losses, float((x**2).mean()) * 2.0 ** (-len(losses) * d)])


@claim(
    "C5",
    "The pooling filter fixes the basis: a U-Net's coarse activations carry the approximations of its own wavelet, not of others.",
    formula=r"\operatorname{argmin}_{w'} (1 - R^2(a_l \to cA_l^{w'}(x))) = w\quad\text{for pooling filter } w,\ l \ge 2",
    kind="statistical",
    control="max and strided pooling, which carry no basis; each filter under its neighbour's name",
    functions=["multires.unet.UNet", "multires.pooling.lowpass", "multires.pretrained.load_unet"],
)
def c5(context: Context) -> Evidence:
    """Identify the basis of each shipped network's encoder, trained and untrained; the decoder's is kept for the figure."""
    checks, controls, table = [], [], dict[str, np.ndarray]()
    poolings = ("average", *filters.WAVELETS[1:], "max", "strided")
    nets, runs = zip(*(shipped.network(pooling) for pooling in poolings), strict=True)
    (fit, _), (held, _) = shipped.pairs(context, runs[0])  # the task of all is one
    before = [basis_study.untrained(run) for run in runs]
    for label, of in {"trained": nets, **{name: [each[name] for each in before] for name in before[0]}}.items():
        share = 1 if label == "trained" else 2  # what is only drawn is measured on half of the patches
        found = basis.identify_each(of, runs[0].model.levels, fit[::share], held[::share])
        for side in found[0]:
            for name in ("unexplained", "low", "high"):
                table[f"{label}_{side}_{name}"] = np.array([getattr(each[side], name) for each in found])
    estimate, low, high = (table[f"trained_encoder_{name}"] for name in ("unexplained", "low", "high"))  # (pooling, level, wavelet)
    for row, pooling in enumerate(poolings):
        for level in range(FIRST_LEVEL - 1, estimate.shape[1]):
            what = f"level {level + 1}, {pooling}"
            if row < len(filters.WAVELETS):
                rivals = np.delete(low[row, level], row)
                checks.append(Check(f"own basis / best other, {what}", float(high[row, level, row] / rivals.min()), 1))
                checks.append(Check(f"own basis unexplained, {what}", float(high[row, level, row]), OWN_BOUND))
                wrong = (row + 1) % len(filters.WAVELETS)
                ratio = low[row, level, wrong] / np.delete(high[row, level], wrong).min()
                controls.append(Control(f"own basis / best other, {what}: taken for {filters.WAVELETS[wrong]}", float(ratio), 1))
            else:
                controls.append(Control(f"least unexplained of all bases, {what}", float(low[row, level].min()), OWN_BOUND))
    return Evidence(checks, controls, table | {"poolings": np.array(poolings), "wavelets": np.array(filters.WAVELETS)})


@claim(
    "C6",
    "Each skip brings its own sub-band: without the details of its activation at level l, a trained U-Net's output changes mostly"
    " in the details of level l + 1, the Haar U-Net's in them alone.",
    formula=r"U x - U_l x = d_{l+1}(x)\ \text{(Haar)},\qquad "
    r"\sum_{b \ne l+1} \|d_b (U x - U_l x)\|^2 < \|d_{l+1} (U x - U_l x)\|^2\ \text{(trained)}",
    kind="statistical",
    control="at every skip: the Haar U-Net with max pooling, the trained U-Net with max pooling, three U-Nets before training",
    functions=["multires.unet.HaarUNet", "multires.unet.UNet"],
)
def c6(context: Context) -> Evidence:
    """Change each skip in turn, in the closed-form twin and in trained networks, and measure where the output changes."""
    net, run = shipped.network("average")
    _, (inputs, clean) = shipped.pairs(context, run)
    levels = run.model.levels
    energies = ablation.band_energies(clean, levels)[:-1].sum(1)
    if bool((energies <= EPS**2 * clean.double().square().sum()).any()):
        raise Skipped(f"{context.images.name}: the patches have no details at level {int(energies.argmin()) + 1} to lose")
    twins = [HaarUNet(levels, pool) for pool in (average, maximum)]
    apart = [np.abs(_cut(each, clean.double()) - np.eye(levels, levels + 1)).max(1) for each in twins]
    found = {
        "average": ablation.ablate(net, net.skips, inputs),
        "max": ablation.ablate(shipped.network("max")[0], shipped.network("max")[0].skips, inputs),
    }
    for seed in UNTRAINED_SEEDS:
        before = basis_study.untrained(replace(run, training=replace(run.training, seed=seed)))["untrained"]
        found[f"untrained {seed}"] = ablation.ablate(before, before.skips, inputs[:CONTROL_PATCHES])
    ratios = {name: each.others_over_own(context.seed) for name, each in found.items()}
    checks, controls = [], []
    for level in range(levels):
        exact, trained = f"Haar U-Net: |shares - identity|, skip at level {level}", f"others / own band, skip at level {level}"
        checks += [Check(exact, apart[0][level], BOUNDS[torch.float64]), Check(trained, ratios["average"][level, 2], 1)]
        controls.append(Control(f"{exact}: max pooling", apart[1][level], FLOOR))
        controls += [Control(f"{trained}: {name}", each[level, 0], 1) for name, each in ratios.items() if name != "average"]
    arrays = {name: each.shares for name, each in found.items()} | {f"ratios {name}": each for name, each in ratios.items()}
    return Evidence(checks, controls, arrays | {"twin": _cut(twins[0], clean.double())})


def _cut(net: HaarUNet, clean: Tensor) -> np.ndarray:
    """The shares where each skip in turn passes nothing: in the Haar U-Net it has no more than details to pass."""
    return ablation.ablate(net, net.skips, clean, torch.zeros_like).shares
