"""Every probe of one HVAE: what its states tell, how it samples, how its steps amplify, and whether they can be refined."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from analysis import builders, gains, hvae_runs, inference, refinement, sampling
from analysis.basis import Identification
from analysis.clock import Clock
from analysis.evidence import Evidence
from analysis.filters import WAVELETS
from analysis.inference import Arrays, Inferred, Nats
from analysis.probes import ROUNDINGS
from analysis.state_basis import SOME, Bases
from multires import pretrained
from multires.errors import MultiresError
from multires.hvae import HVAE
from multires.hvae_configs import HVAERun

LEAST = 4  # images: two to fit on, two to score on
SEVERAL = 250  # images for what takes many passes
SAMPLES, ROWS, COLUMNS = 8, 8, 12


def open_network(weights: str, data: str | None) -> tuple[HVAE, Tensor]:
    """The HVAE of shipped weights, a run's folder or a .safetensors file, and test images prepared as its run says.

    A file without a card holds a state dict of openai/vdvae. Raises MultiresError for weights that cannot be read, and for images
    that the network does not take.
    """
    net, run = open_run(weights, data)
    return net, test_images(net, run)[0]


def open_run(weights: str, data: str | None) -> tuple[HVAE, HVAERun]:
    """The HVAE as `open_network` has it, and its run on the data that are named, or else on its own."""
    path = pretrained.path_of(weights)
    if path.exists() and not path.with_suffix(".json").exists():
        net = builders.openai(path, "put its card there, or name weights of an HVAE that have one")
        if data is None:
            raise MultiresError(f"{path}: a state dict says nothing of its images; name them with --data")
        return net, HVAERun(net.config, data=data)
    net, run = pretrained.load_hvae(weights)
    return net, replace(run, data=data or run.data)


def test_images(net: HVAE, run: HVAERun) -> tuple[Tensor, str]:
    """The test images of a run's data, and where they are cut from larger ones a sentence that says so."""
    parts = hvae_runs.images(run)
    test = parts[1]
    images = hvae_runs.held_out(run)
    with torch.no_grad():
        net.encode(images[:1])  # refuses other shapes before anything is computed or written
    whole = [f"{len(s):,} of {s.shape[2]} x {s.shape[3]}" for s in test.sources]
    if len(images) == sum(map(len, test.sources)):
        return images, ""
    return images, f"{run.data}: test images, {', '.join(whole)}, cut into {len(images):,} tiles of {test.side} x {test.side}"


class Sound:
    """Raises MultiresError where states or decoded images are not finite; sees whether the images differ that are scored on."""

    def __init__(self) -> None:
        self.differ = False

    def update(self, batch: Inferred) -> None:
        """Look at the states of a batch, and at the images they come to."""
        x = batch.decoded
        named = {f"state after step {k}": step.state for k, step in enumerate(batch.steps, 1)} | {"decoded image": x}
        for name, values in named.items():
            if not bool(values.isfinite().all()):
                raise MultiresError(f"the {name} is NaN or infinite on test images: probe weights that float32 can compute with")
        if batch.held_out:
            self.differ |= bool((x - x[:1]).abs().max() > ROUNDINGS * torch.finfo(x.dtype).eps * x.abs().max())

    def found(self) -> Arrays:
        """Nothing more."""
        return {}


class Probe:
    """One network's probes: `run` computes them, `found` holds what each came to."""

    def __init__(self, hvae: HVAE, images: Tensor, seed: int) -> None:
        if len(images) < LEAST:
            raise MultiresError(
                f"{len(images)} test images: probes fit on one half and score on the other, and need {LEAST} or more"
            )
        self.hvae, self.images, self.seed = hvae, images, seed
        self.several = images[:SEVERAL]
        self.found: dict[str, Arrays] = {}
        self._curves = [
            (index, count) for index in refinement.shared(hvae) for count in refinement.counts(hvae.config.resolutions[index].steps)
        ]

    @property
    def parts(self) -> int:
        """How often `run` yields."""
        batches = sum(-(-len(half) // inference.BATCH) for half in self.images.tensor_split(2))
        return batches + len(sampling.TEMPERATURES) + 2 + len(self._curves)

    def run(self) -> Iterator[None]:
        """Compute, yielding after each part."""
        yield from self._states()
        yield from self._sampling()
        yield from self._refinement()

    def _states(self) -> Iterator[None]:
        """KL, time and bases, in one pass of inference over all images."""
        sound, nats, clock, bases = readers = Sound(), Nats(self.hvae), Clock(self.hvae), Bases(self.hvae)
        for _ in inference.read(self.hvae, self.images, self.seed, readers):
            yield
        time = clock.found()
        time["growth"] = time["growth"].clip(-1, 1)  # a t-interval does not know where correlations end
        self.found |= {"nats": nats.found(), "time": time}
        if bases.steps:
            self.found["bases"] = ranked(bases.found(), sound.differ)

    def _sampling(self) -> Iterator[None]:
        """Samples at each temperature, images told in part; gains and gradients of the steps."""
        found = {
            "counts": np.array(sampling.counts(self.hvae)),
            "temperatures": sampling.TEMPERATURES,
            "elbo of images": self.found["nats"]["elbo"],
        }
        nats = []
        for t in sampling.TEMPERATURES:
            nats.append(inference.mean(sampling.elbo_of_samples(self.hvae, len(self.several), float(t), self.seed)))
            yield
        own, of_others = sampling.errors(self.hvae, self.several, self.seed)
        redrawn = sampling.redrawn(self.hvae, self.several, self.seed + 1)
        found |= {
            "elbo of samples": np.stack(nats),
            "elbo of redrawn": inference.mean(sampling.elbo(self.hvae, redrawn, self.seed)),
            "error": np.stack([inference.mean(e) for e in own.T]),
            "error, another image": np.stack([inference.mean(e) for e in of_others.T]),
        } | sampling.sheets(self.hvae, self.images[:ROWS], COLUMNS, self.seed)
        yield
        generator = torch.Generator().manual_seed(self.seed)
        found["gain"] = gains.cell_gains(self.hvae, SAMPLES, generator).numpy()
        shown = self.images[:SAMPLES].to(next(self.hvae.parameters()).device)
        found["gradient"] = gains.state_gradients(self.hvae, shown, generator).cpu().numpy()
        self.found["sampling"] = found
        yield

    def _refinement(self) -> Iterator[None]:
        """The ELBO with other numbers of steps, where one cell takes several."""
        found: dict[int, dict[int, Tensor]] = {}
        for index, count in self._curves:
            refined = refinement.refined(self.hvae, index, count)
            found.setdefault(index, {})[count] = refinement.elbo(refined, self.several, self.seed)
            yield
        if found:
            self.found["steps"] = {}
        for index, curve in found.items():
            r = self.hvae.config.resolutions[index]
            self.found["steps"] |= refinement.arrays(r, "refined", curve, curve[r.steps])

    def evidence(self, name: str) -> Evidence:
        """One probe's arrays as the figures of claims read them, with NaN, which is not drawn, for all that is not finite."""
        drawn = {key: np.where(np.isfinite(values), values, np.nan) for key, values in self.found[name].items()}
        drawn |= {key: values for key, values in self.found[name].items() if values.dtype.kind != "f"}
        judged_as = {"trained " + key: values for key, values in drawn.items()}
        return Evidence([], [], drawn | judged_as | {"sides": np.array(inference.sides(self.hvae))})

    def to_json(self) -> dict[str, Any]:
        """All numbers that were found, pictures left out; null for what is not finite."""
        numbers = {
            name: {key: _plain(values) for key, values in arrays.items() if not key.startswith("sheet")}
            for name, arrays in self.found.items()
        }
        if "bases" in numbers:
            numbers["bases"]["best"] = [WAVELETS[best] if best >= 0 else None for best in self.found["bases"]["best"]]
        about = {"images": len(self.images), "images of many passes": len(self.several), "seed": self.seed}
        return about | {"sides": inference.sides(self.hvae), "wavelets": list(WAVELETS)} | numbers


def ranked(found: Arrays, differ: bool) -> Arrays:
    """What bases leave unexplained, with the number of the best at each step: -1 where none stands out.

    NaN where all images that the network decodes are the same, so that there is nothing to explain.
    """
    scores = Identification(found["unexplained"], found["low"], found["high"])
    best = [
        WAVELETS.index(name) if name and values.min() < SOME else -1
        for name, values in zip(scores.best, scores.unexplained, strict=True)
    ]
    if not differ:
        best, found = [-1] * len(best), found | {key: np.full_like(found[key], np.nan) for key in ("unexplained", "low", "high")}
    return found | {"best": np.array(best)}


def _plain(values: np.ndarray) -> Any:
    finite = np.isfinite(values)
    return values.tolist() if finite.all() else np.where(finite, values, None).tolist()  # type: ignore[call-overload]
