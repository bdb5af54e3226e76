"""The studies `weight-sharing`, `state-norm` and `sharing-depth`: HVAEs that differ in their cells alone, all trained alike.

`own-k` takes k steps at each resolution but the coarsest with cells of their own, `shared-r` takes r with one cell for each
resolution, `normalised-k` is `own-k` with its state normalised after each step, `narrow-k` is `own-k` with cells that
are narrower inside, so that `narrow-5` is as deep as `shared-5`, has its encoder and hardly more parameters, and shares nothing.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from analysis import hvae_work
from analysis.runs import Run
from analysis.seeds import PLAIN, Row, interval, over, plain, with_interval
from multires import pretrained
from multires.configs import TrainingConfig
from multires.hvae_configs import HVAE_PRESETS, HVAEConfig, HVAERun, Resolution

SEEDS = (0, 1, 2)
PAIR, ITS_CONTROL = (PLAIN, "shared-5"), "narrow-5"  # of claim E3
PAIR_SEEDS = (*SEEDS, 3, 4)  # at the small size: three leave an interval as wide as what it is about
OWN, REPEATED = (3, 1, 2, 4), (3, 5, 2, 10)  # the runs that claims compare come first
NORMALISED = 3
DEEP = 5  # steps a resolution of the network that claim E3 is about, and of its control
NARROW = 0.22  # inner channels of its cells, as a share of the width: at every size some parameters more than the shared cells have
DECISIVE = ("own-3", "narrow-5", "shared-3", "shared-5", "normalised-3")

_SHORT = TrainingConfig(
    steps=2000, batch=16, learning_rate=4e-3, warmup=100, skip_above=10.0, ema=0.995, log_every=20, save_every=1000
)
BASES = {
    "small": HVAERun(
        HVAEConfig(
            (Resolution(16, width=16), Resolution(8), Resolution(4), Resolution(1)),
            bottleneck=0.5,
            border=1,
        ),
        _SHORT,
        "mnist",
        "dynamic",
        pooled=1,
    ),
    "digits": HVAERun(
        HVAEConfig(
            (Resolution(8), Resolution(4), Resolution(1)), width=24, bottleneck=0.5, likelihood="logistic-mixture", mixtures=5
        ),
        replace(_SHORT, steps=1000, save_every=500, ema=0.99, skip_above=100.0),
        "digits",
    ),
    "full": replace(
        HVAE_PRESETS["mnist"],
        model=replace(
            HVAE_PRESETS["mnist"].model,
            resolutions=(Resolution(32, width=16), Resolution(16), Resolution(8), Resolution(4), Resolution(1)),
        ),
        training=replace(HVAE_PRESETS["mnist"].training, steps=30_000, batch=128),
        free_nats=0.0,  # as at the other sizes
    ),
}
"""Of each size, its run with one step at each resolution: MNIST at 16 x 16, the digits at 8 x 8, MNIST at 32 x 32."""


def with_steps(run: HVAERun, steps: int, shared: bool, normalise: bool = False) -> HVAERun:
    """The run with so many steps at each resolution but the coarsest."""
    *finer, coarsest = run.model.resolutions
    finer = [replace(resolution, steps=steps, shared=shared) for resolution in finer]
    return replace(run, model=replace(run.model, resolutions=(*finer, coarsest), normalise=normalise))


def seeds(size: str, label: str) -> tuple[int, ...]:
    """The seeds of a network, the same ones first."""
    return PAIR_SEEDS if size == "small" and label in (*PAIR, ITS_CONTROL) else SEEDS


def with_seeds(run: HVAERun, label: str, seeds: tuple[int, ...]) -> dict[str, Run]:
    """The run once with each seed, by name."""
    return {f"{label}-{seed}": replace(run, training=replace(run.training, seed=seed)) for seed in seeds}


def _grid(size: str, networks: dict[str, HVAERun]) -> dict[str, Run]:
    """Each network once with each of its seeds; in one folder a run that several studies have is trained once."""
    return {name: run for label, net in networks.items() for name, run in with_seeds(net, label, seeds(size, label)).items()}


def _sharing(size: str) -> dict[str, Run]:
    networks: dict[str, HVAERun] = {}
    for k, r in zip(OWN, REPEATED, strict=True):
        networks |= {f"own-{k}": with_steps(BASES[size], k, False), f"shared-{r}": with_steps(BASES[size], r, True)}
    return _grid(size, networks)


def _norms(size: str) -> dict[str, Run]:
    own, normalised = (with_steps(BASES[size], NORMALISED, False, normalise) for normalise in (False, True))
    return _grid(size, {PLAIN: own, f"normalised-{NORMALISED}": normalised})


def _depth(size: str) -> dict[str, Run]:
    """The pair of claim E3, and a network as deep and about as small that shares nothing."""
    deep = with_steps(BASES[size], DEEP, False)
    narrow = replace(deep, model=replace(deep.model, cell_bottleneck=NARROW))
    own, shared = with_steps(BASES[size], NORMALISED, False), with_steps(BASES[size], DEEP, True)
    return _grid(size, {PLAIN: own, f"shared-{DEEP}": shared, f"narrow-{DEEP}": narrow})


SHARING: dict[str, Callable[[], dict[str, Run]]] = {size: partial(_sharing, size) for size in BASES}
NORMS: dict[str, Callable[[], dict[str, Run]]] = {size: partial(_norms, size) for size in BASES}
DEPTH: dict[str, Callable[[], dict[str, Run]]] = {size: partial(_depth, size) for size in BASES}


def weights(size: str, name: str) -> str | None:
    """The runs that claims compare ship, of the sizes that train on a CPU."""
    return f"{size}/{name}" if size != "full" and name.rpartition("-")[0] in DECISIVE else None


def rows(folders: dict[str, Path]) -> Iterator[Row]:
    """A row for each network over its seeds: parameters, depth, NLL with interval, KL, steps a second, peak memory of a step.

    The NLL is -ELBO over all test images, as measured at the end of each run. Speed is measured here, step by step in turns; memory
    in a process for each network.
    """
    folders_of: dict[str, list[Path]] = {}
    for name, folder in folders.items():
        folders_of.setdefault(name.rpartition("-")[0], []).append(folder)
    runs = {label: pretrained.load_hvae(of[0])[1] for label, of in folders_of.items()}
    device = "cuda" if torch.cuda.is_available() else "cpu"
    seconds = hvae_work.in_turns(runs, "training step", device)
    for label, run in runs.items():
        cards = [pretrained.card(folder) for folder in folders_of[label]]
        _, mib = hvae_work.alone(run, "training step", device=device)
        yield {
            "network": label,
            "seeds": [card["seed"] for card in cards],
            "parameters": cards[0]["parameters"],
            "depth": run.model.steps,
            "nll": [-card["elbo"]["nats"] for card in cards],
            "standard_errors": [card["elbo"]["standard_error"] for card in cards],
            "test_images": cards[0]["test_images"],
            "kl": [sum(card["kl"]) for card in cards],
            "interval": interval([-card["elbo"]["nats"] for card in cards]) if len(cards) > 1 else None,
            "training_steps": cards[0]["steps"],
            "steps_a_second": 1 / seconds[label],
            "peak_mib": mib,
        }


def table(rows: list[Row]) -> tuple[list[str], list[list[str]]]:
    """The rows as text, the networks with the fewest parameters first; the share and the difference are over `own-3`."""
    base = plain(rows)
    headings = ["network", "parameters", f"of {PLAIN}'s", "depth", "seeds", "NLL (95 % over seeds), nats", f"over {PLAIN}, paired"]
    shown = []
    for row in sorted(rows, key=lambda row: (row["parameters"], row["depth"])):
        peak = "-" if row["peak_mib"] is None else f"{row['peak_mib']:.0f}"
        share = f"{row['parameters'] / base['parameters']:.3f}" if base else "-"
        cost = with_interval(over(row, base), "+.2f") if base and row is not base else "-"
        counts = [f"{row['parameters']:,}", share, str(row["depth"]), str(len(row["seeds"]))]
        shown.append([row["network"], *counts, with_interval(row["nll"], ".2f"), cost, f"{row['steps_a_second']:.1f}", peak])
    return [*headings, "steps/s", "peak MiB"], shown
