"""The study `sharing-remedies`: on the digits, what else sharing could take to cost no likelihood, all with one training.

Against `own-3`, three steps a resolution with cells of their own, stand `shared-5`, with one cell a resolution, and what changes
one thing of it: more steps (`shared-10`), cells that are told the time (`-time`), twice and half the learning rate (`-fast`,
`-slow`, of own-3 too), and where the sharing sits: one cell for all resolutions but the coarsest (`one-5`), also as wide as half
of own-3's parameters allow (`one-5-wide`).
"""

from dataclasses import replace

from analysis.hvae_studies import BASES, PAIR_SEEDS, with_seeds, with_steps
from analysis.runs import Run
from multires.hvae_configs import HVAERun

WIDER = 28  # instead of 24: 0.49 of own-3's parameters


def grid() -> dict[str, Run]:
    """The runs, of five seeds each; those of a network that the study `weight-sharing` has too are its runs."""
    base = BASES["digits"]
    own, shared = with_steps(base, 3, shared=False), with_steps(base, 5, shared=True)
    one = _grouped(shared)
    networks = {
        "own-3": own,
        "shared-5": shared,
        "shared-10": with_steps(base, 10, shared=True),
        "shared-5-time": replace(shared, model=replace(shared.model, time_input=True)),
        "own-3-fast": _faster(own, 2.0),
        "shared-5-fast": _faster(shared, 2.0),
        "own-3-slow": _faster(own, 0.5),
        "shared-5-slow": _faster(shared, 0.5),
        "one-5": one,
        "one-5-wide": replace(one, model=replace(one.model, width=WIDER)),
    }
    return {name: run for label, network in networks.items() for name, run in with_seeds(network, label, PAIR_SEEDS).items()}


def _faster(run: HVAERun, factor: float) -> HVAERun:
    return replace(run, training=replace(run.training, learning_rate=factor * run.training.learning_rate))


def _grouped(run: HVAERun) -> HVAERun:
    """One cell for all resolutions but the coarsest."""
    *finer, coarsest = run.model.resolutions
    finer = [replace(resolution, group="finer") for resolution in finer]
    return replace(run, model=replace(run.model, resolutions=(*finer, coarsest)))
