r"""What comes through a network's sites: which approximations its activations hold, and which of the input's bands reach them.

`readouts` asks basis identification's question (`analysis.basis`) at any site. `survival` adds white noise within one Haar
band of the input at a time, $n_b = P_{k-1} n - P_k n$ for the details of level k, and takes the energy of what it changes in the
site's output, in each Haar band there. It is a derivative, so small noise is used, and the same random numbers each time.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from analysis.basis import approximations
from analysis.filters import WAVELETS
from analysis.probes import Ridge, Score
from analysis.tape import leaves, mapped
from multires.errors import MultiresError
from multires.pooling import average
from multires.spaces import embed

if TYPE_CHECKING:
    from analysis.auditing import Site

FEWEST = 4  # images, half of them to fit on
ROWS_A_CHANNEL = 2
NOISE = 0.05  # of the input's root mean square
PROBED = 2
DEEPEST = 6
CONSTANT = 1e-6  # of its largest number, below which what varies is rounding of float32
Table = dict[str, dict[str, float]]


def level_of(fine: tuple[int, ...], coarse: tuple[int, ...]) -> int | None:
    """How many levels lie between two grids; None where it is no whole number, or not the same along all axes."""
    ratios = {n / m for n, m in zip(fine, coarse, strict=True)} if len(fine) == len(coarse) else set()
    ratio = int(ratios.pop()) if len(ratios) == 1 and next(iter(ratios)).is_integer() else 0
    return ratio.bit_length() - 1 if ratio and ratio & (ratio - 1) == 0 else None


def _grey(x: Tensor) -> Tensor:
    return x.detach().double().mean(1, keepdim=True)


def readouts(
    image: Tensor, output: Any, coarse: list[Tensor], sites: "list[Site]", notes: list[str]
) -> list[dict[str, float] | None]:
    """Unexplained fractions for each site and wavelet: of the input's or the output's mean over channels, on the second half."""
    if len(image) < FEWEST:
        notes.append(f"{len(image)} images: read-outs need {FEWEST}, half of them to fit on")
        return [None] * len(sites)
    shown = next(
        (x for x in leaves(_plain(output)) if isinstance(x, Tensor) and x.ndim == image.ndim and len(x) == len(image)), None
    )
    if shown is None:
        notes.append("the model puts out no image: no read-outs in the decoder")
    found: list[dict[str, float] | None] = []
    few: set[int] = set()
    targets: dict[tuple[str, int], Tensor] = {}
    for site, features in zip(sites, coarse, strict=True):
        whole = image if site.side == "encoder" else shown
        level = None if whole is None else level_of(tuple(whole.shape[2:]), tuple(features.shape[2:]))
        if whole is None or not level or not features.isfinite().all() or not whole.isfinite().all():
            found.append(None)
            continue
        half = len(image) // 2
        if half * features[0, 0].numel() < ROWS_A_CHANNEL * features.shape[1]:
            few.add(2 * -(-ROWS_A_CHANNEL * features.shape[1] // features[0, 0].numel()))
            found.append(None)
            continue
        if (site.side, level) not in targets:
            targets[site.side, level] = approximations(_grey(whole), level)[-1].to(features.device)
        found.append(_unexplained(features, targets[site.side, level], half))
    if few:
        notes.append(f"{len(image)} images: {max(few)} would give read-outs at every site, which need two cells a channel or more")
    return found


def _unexplained(features: Tensor, targets: Tensor, half: int) -> dict[str, float] | None:
    if not float(targets[half:].std()) > CONSTANT * float(targets[half:].abs().max()):  # nothing to explain
        return None
    fit, score = Ridge(), Score()
    try:
        fit.update(features[:half], targets[:half])
        score.update(fit.solve()(features[half:]), targets[half:])
    except MultiresError:  # numbers too large to square
        return None
    best = score.unexplained.reshape(len(WAVELETS), -1).amin(1)
    return dict(zip(WAVELETS, best.tolist(), strict=True)) if best.isfinite().all() else None


def _plain(output: Any) -> Any:
    """Outputs of every kind as what `leaves` walks."""
    if hasattr(output, "__dataclass_fields__") and not isinstance(output, dict):
        return [getattr(output, name) for name in output.__dataclass_fields__]
    return output


def survival(
    outputs: Callable[[Any, Any], list[Tensor]], args: Any, kwargs: Any, image: Tensor, sites: "list[Site]", notes: list[str]
) -> list[Table | None]:
    """For each site and band of the input, the energy in each band of the site's output; the best input band's is 1 in all."""
    levels = [level_of(tuple(image.shape[2:]), site.after) for site in sites if site.side == "encoder"]
    deepest = min(max((level for level in levels if level), default=0), DEEPEST)
    if not deepest:
        notes.append("no site lies a whole number of levels below the input: no survival of bands")
        return [None] * len(sites)
    few = min(len(image), PROBED)
    x = image[:few]

    def at(point: Tensor) -> list[Tensor]:
        def given(item: Any) -> Any:
            several = isinstance(item, Tensor) and item.ndim and len(item) == len(image)
            return point if item is image else item[:few] if several else item

        return outputs(*mapped(given, (args, kwargs)))

    size = float(x.float().square().mean().sqrt()) or 1.0
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).to(x.device)
    before, gains = at(x), []
    for band in split(noise, deepest).values():
        shifted = x + (NOISE * size * band / band.square().mean().sqrt()).to(x.dtype)
        added = float((shifted.float() - x.float()).square().mean())  # what is left of it in the precision of the input
        changed = at(shifted)
        if [y.shape for y in changed] != [y.shape for y in before]:
            notes.append("noise leads the model another way: no survival of bands")
            return [None] * len(sites)
        gains.append([_energies(y - y0, x, deepest, added) for y, y0 in zip(changed, before, strict=True)])
    names = list(split(noise, deepest))
    return [_shares({name: gain[i] for name, gain in zip(names, gains, strict=True)}) for i in range(len(sites))]


def split(x: Tensor, levels: int, first: int = 1) -> dict[str, Tensor]:
    """The Haar bands of x as functions on its own grid: details d1, d2, ... (numbered from `first`) and the approximation a."""
    found, coarse = {}, x
    for level in range(1, levels + 1):
        down = average(coarse)
        found[f"d{first + level - 1}"] = embed(coarse - embed(down), level - 1)
        coarse = down
    return found | {"a": embed(coarse, levels)}


def _energies(change: Tensor, x: Tensor, deepest: int, added: float) -> dict[str, float]:
    """Energy per unit of noise, summed over channels; by band where the site lies a whole number of levels below the input."""
    level = level_of(tuple(x.shape[2:]), tuple(change.shape[2:]))
    bands = split(change, deepest - level, level + 1) if level is not None and level <= deepest else {"all": change}
    return {name: float(band.double().square().mean()) * change.shape[1] / added for name, band in bands.items()}


def _shares(gains: Table) -> Table | None:
    most = max(sum(row.values()) for row in gains.values())
    if not 0 < most < float("inf"):
        return None
    return {name: {band: value / most for band, value in row.items()} for name, row in gains.items()}
