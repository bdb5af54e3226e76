"""The study `unet-basis`: each pooling filter of the dictionary with several seeds, and which basis its activations carry."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn

from analysis import basis, filters, shipped, unet_runs
from analysis.probes import CKA
from analysis.runs import Run
from analysis.terminal import scientific
from multires import data, pretrained, tasks
from multires.configs import PRESETS, UNetRun
from multires.patches import split
from multires.unet import UNet

SEEDS = (0, 1, 2)
ORTHOGONAL = ("db2", "db3", "sym4", "coif1")
POOLINGS = ("average", *filters.WAVELETS[1:], "max", "strided")
LEVEL = 0.95
Row = dict[str, Any]


def grid() -> dict[str, Run]:
    """Every pooling filter of the dictionary, and max and strided pooling, with each seed; the first seed's runs come first."""
    return {f"{name}-{seed}": _run(name, seed) for seed in SEEDS for name in POOLINGS}


def synthesis_grid() -> dict[str, Run]:
    """The orthogonal filters with upsampling by their own synthesis, where the others have that of Haar: nearest neighbours."""
    runs = {f"{name}+synthesis-{seed}": _run(name, seed) for seed in SEEDS for name in ORTHOGONAL}
    return {name: replace(run, model=replace(run.model, upsampling="synthesis")) for name, run in runs.items()}


def _run(name: str, seed: int) -> UNetRun:
    preset = PRESETS["denoise"]
    return replace(
        preset,
        model=replace(preset.model, pooling=filters.pooling(name)),
        training=replace(preset.training, seed=seed, save_every=250),
    )


def rows(folders: dict[str, Path]) -> Iterator[Row]:
    """Identify the basis in each finished run; a row for each pooling, weights, side and level, over the seeds."""
    for pooling in dict.fromkeys(name.rpartition("-")[0] for name in folders):
        yield from _rows_of(pooling, [_measured(folder) for name, folder in folders.items() if name.rpartition("-")[0] == pooling])


def _measured(folder: Path) -> Row:
    net, run = pretrained.load_unet(folder)
    fit, held = shipped.samples(split(data.load(run.data), run.side), run.training.seed)
    generator = torch.Generator().manual_seed(run.training.seed)
    inputs, scored = tasks.pair(run.task, fit, generator)[0], tasks.pair(run.task, held, generator)[0]
    networks = {"trained": net, **untrained(run)}
    found = dict(zip(networks, basis.identify_each([*networks.values()], run.model.levels, inputs, scored), strict=True))
    cka = similarity(net, networks["untrained"], run.model.levels, scored)
    return {"seed": run.training.seed, "cka": cka, **found}


def untrained(run: UNetRun) -> dict[str, UNet]:
    """What a trained network is held against: itself before the first step, and all of it at random."""
    before = unet_runs.fresh(run)
    for part in (before.encoder, before.decoder):
        for level in range(len(part)):
            part[level] = nn.Identity()  # which the blocks are before the first step; convolving for it takes time
    return {"untrained": before, "random": unet_runs.fresh(run, random_blocks=True)}


def similarity(net: UNet, other: UNet, levels: int, inputs: Tensor) -> dict[tuple[basis.Side, int], float]:
    """Linear CKA of two networks' activations at each site that basis identification reads."""
    where = basis.sites(levels)
    found = {name: CKA() for name in where.values()}
    for _, ((_, here), (_, there)) in basis.activations([net, other], set(found), inputs):
        for name, cka in found.items():
            cka.update(here[name], there[name])
    return {key: found[name].value for key, name in where.items()}


def _rows_of(pooling: str, found: list[Row]) -> Iterator[Row]:
    own = _own(pooling)
    for weights in ("trained", "untrained", "random"):
        for side in ("encoder", "decoder"):
            for level in range(len(found[0][weights][side].unexplained)):
                tables = [each[weights][side] for each in found]
                best = [table.best[level] for table in tables]
                yield {
                    "pooling": pooling,
                    "weights": weights,
                    "side": side,
                    "level": level + 1,
                    "seeds": [each["seed"] for each in found],
                    "unexplained": {
                        wavelet: over_seeds([float(table.unexplained[level, k]) for table in tables])
                        for k, wavelet in enumerate(filters.WAVELETS)
                    },
                    "best": best,
                    "own_is_best": None if own is None else all(name == own for name in best),
                    "one_minus_cka": [1 - each["cka"][side, level + 1] for each in found] if weights == "trained" else None,
                }


def _own(pooling: str) -> str | None:
    """The wavelet of a pooling, if it has one."""
    name = pooling.partition("+")[0]
    return "haar" if name == "average" else name if name in filters.WAVELETS else None


def over_seeds(values: list[float]) -> dict[str, float | None]:
    """The geometric mean with its 95 % t-interval over seeds, taken on logarithms; no interval for one seed."""
    logs = np.log(values)
    half = float(stats.t.ppf((1 + LEVEL) / 2, len(logs) - 1) * stats.sem(logs)) if len(logs) > 1 else None
    mean = float(logs.mean())
    low, high = (None, None) if half is None else (float(np.exp(mean - half)), float(np.exp(mean + half)))
    return {"mean": float(np.exp(mean)), "low": low, "high": high}


def weights(_: str, name: str) -> str | None:
    """The first seed's weights ship, of the networks that claim C5 measures."""
    pooling, _, seed = name.rpartition("-")
    return f"unet-{pooling}" if int(seed) == SEEDS[0] and pooling in POOLINGS else None


HEADINGS = ("pooling", "side", "level", "seeds", "own: unexplained", "best other", "own best", "untrained", "1 - CKA")


def table(rows: list[Row]) -> tuple[tuple[str, ...], list[list[str]]]:
    """The rows as text: a line for each pooling, side and level, trained beside untrained."""
    before = {(row["pooling"], row["side"], row["level"]): row for row in rows if row["weights"] == "untrained"}
    shown = []
    for row in rows:
        if row["weights"] == "trained":
            key = row["pooling"], row["side"], row["level"]
            shown.append([row["pooling"], row["side"], str(row["level"]), str(len(row["seeds"])), *_compared(row, before[key])])
    return HEADINGS, shown


def _compared(row: Row, before: Row) -> list[str]:
    """Own basis, best other, whether its own is best with every seed, the same untrained, and how alike the two networks are."""
    own = _own(row["pooling"])
    values = row["unexplained"]
    other = min((name for name in values if name != own), key=lambda name: float(values[name]["mean"]))
    shown = f"{scientific(values[other]['mean'])} {other}"
    cka = scientific(float(np.mean(row["one_minus_cka"])))
    if own is None:
        return ["-", shown, "-", f"{scientific(min(v['mean'] for v in before['unexplained'].values()))}", cka]
    mean, low, high = (values[own][name] for name in ("mean", "low", "high"))
    interval = f" ({scientific(low)} to {scientific(high)})" if low is not None else ""
    old = before["unexplained"][own]["mean"]
    answers = {True: "yes", False: "no"}
    return [
        f"{scientific(mean)}{interval}",
        shown,
        answers[row["own_is_best"]],
        f"{scientific(old)} {answers[before['own_is_best']]}",
        cka,
    ]
