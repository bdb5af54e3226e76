"""The study `sharing-remedies`: on the digits, what else sharing could take to cost no likelihood.

Against `own-3`, three steps a resolution with cells of their own, stand `shared-5`, with one cell a resolution, and networks that
change one thing of it, all else alike: `ABOUT` says what.
"""

from dataclasses import replace

from analysis.hvae_studies import BASES, PAIR_SEEDS, with_seeds, with_steps
from analysis.runs import Run
from multires.hvae_configs import HVAERun

WIDER = 28  # instead of 24: about as many parameters as shared-5
ABOUT = {
    "shared-10": "ten steps instead of five",
    "-time": "cells are told the time of their step",
    "-lr2x, -lr0.5x": "twice and half the learning rate, of own-3 too",
    "one-5": "one cell for both finer resolutions",
    "one-5-wide": f"that cell with {WIDER} channels instead of 24",
}


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
        "own-3-lr2x": _at_rate(own, 2.0),
        "shared-5-lr2x": _at_rate(shared, 2.0),
        "own-3-lr0.5x": _at_rate(own, 0.5),
        "shared-5-lr0.5x": _at_rate(shared, 0.5),
        "one-5": one,
        "one-5-wide": replace(one, model=replace(one.model, width=WIDER)),
    }
    return {name: run for label, network in networks.items() for name, run in with_seeds(network, label, PAIR_SEEDS).items()}


def _at_rate(run: HVAERun, factor: float) -> HVAERun:
    return replace(run, training=replace(run.training, learning_rate=factor * run.training.learning_rate))


def _grouped(run: HVAERun) -> HVAERun:
    """One cell for all resolutions but the coarsest."""
    *finer, coarsest = run.model.resolutions
    finer = [replace(resolution, group="finer") for resolution in finer]
    return replace(run, model=replace(run.model, resolutions=(*finer, coarsest)))
