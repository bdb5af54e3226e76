"""Claims E2 and E3: what an HVAE loses without the size of its state, and whether one cell can take all steps of a resolution."""

import numpy as np

from analysis import hvae_studies, pairs, reference, seeds
from analysis.evidence import Check, Context, Control, Evidence, claim

MOST_PARAMETERS = 0.5
PLAIN, NORMALISED, EQUAL, DEEPER, NARROW = "own-3", "normalised-3", "shared-3", "shared-5", "narrow-5"


def level(count: int) -> float:
    """The level of an interval over so many seeds: more than were planned are a second look, which gets half of the error."""
    looks = 1 if count <= len(hvae_studies.SEEDS) else 2
    return 1 - (1 - seeds.LEVEL) / looks


class Costs:
    """What networks of the studies cost, nats an image: -ELBO, its differences between networks of one seed, their intervals."""

    def __init__(self, images: int | None) -> None:
        self.size = pairs.size()
        self._images = images

    def nll(self, label: str) -> np.ndarray:
        """-ELBO of the network of each seed, the mean over test images."""
        found: np.ndarray = pairs.nll(self.size, label, self._images).mean(1).numpy()
        return found

    def over(self, label: str, other: str) -> tuple[float, float]:
        """The t-interval over the seeds that both have of what the first costs more than the other, at `level`."""
        differences = [a - b for a, b in zip(self.nll(label), self.nll(other), strict=False)]
        return seeds.interval(differences, level(len(differences)))

    def parameters(self, label: str) -> int:
        """Parameters of the network."""
        net, _ = pairs.network(self.size, label, hvae_studies.SEEDS[0])
        return sum(parameter.numel() for parameter in net.parameters())

    def evidence(
        self, checks: list[Check], controls: list[Control], labels: tuple[str, ...], control: tuple[str, str], what: str
    ) -> Evidence:
        """The evidence, with the arrays of its figure; the first network is what the others are held against, `control` a pair."""
        arrays = {f"nll {label}": self.nll(label) for label in labels}
        arrays["control {} over {}".format(*control)] = np.array(self.over(*control))
        arrays |= {f"over {label}": np.array(self.over(label, labels[0])) for label in labels[1:]}
        arrays |= {f"parameters {label}": np.array(self.parameters(label)) for label in labels}
        _, run = pairs.network(self.size, labels[0], hvae_studies.SEEDS[0])
        side = run.model.resolutions[0].size
        images = pairs.nll(self.size, labels[0], self._images).shape[1]
        about = f"{run.data} at {side} x {side}, {run.training.steps:,} training steps, {images:,} test images, {pairs.DRAWS} draws"
        return Evidence(checks, controls, arrays, f"{about}; {what}")


def _said(low_high: tuple[float, float]) -> str:
    return "{:+.2f} to {:+.2f}".format(*low_high)


@claim(
    "E2",
    "An HVAE uses the size of its state: normalising the state after each step costs likelihood.",
    formula=r"-\mathrm{ELBO}\big(Z \leftarrow \sqrt C\, Z / \|Z\|_{L^2}\big) > -\mathrm{ELBO}",
    kind="statistical",
    control="another change of the cells, shared at equal depth, which leaves the state its size: normalising surely costs more",
    functions=["multires.hvae.HVAE", "multires.bounds.bounds"],
)
def e2(context: Context) -> Evidence:
    """Three pairs with one training each, with and without normalised states; the whole interval has to lie above zero."""
    costs = Costs(None if context.full else reference.FIRST)
    normalising, more = costs.over(NORMALISED, PLAIN), costs.over(NORMALISED, EQUAL)
    return costs.evidence(
        [Check("what normalising saves at most (95 % over seeds), nats", -normalising[0], 0.0, "float32")],
        [Control("what normalising costs more than sharing cells at least (95 % over seeds), nats", more[0], 0.0)],
        (PLAIN, NORMALISED, EQUAL),
        (NORMALISED, EQUAL),
        f"nats over own cells: normalised {_said(normalising)}; shared, as deep {_said(costs.over(EQUAL, PLAIN))};"
        f" normalised over shared {_said(more)}",
    )


@claim(
    "E3",
    "One cell repeated at each resolution, with at most half of the parameters and more steps in time, has a likelihood no worse.",
    formula=r"-\mathrm{ELBO}(\text{shared}, r) \le -\mathrm{ELBO}(\text{own}, k), \quad \#\theta_{\text{shared}} \le"
    r" \tfrac12 \#\theta_{\text{own}}, \quad r > k",
    kind="statistical",
    control="a network as deep and about as small that shares nothing, beside the shared one: it surely costs more",
    functions=["multires.hvae.HVAE", "multires.hvae_configs.Resolution", "multires.bounds.bounds"],
)
def e3(context: Context) -> Evidence:
    """Pairs with one training each; the whole interval over seeds of the cost of sharing has to lie at or below zero."""
    costs = Costs(None if context.full else reference.FIRST)
    deeper, equal, narrow = (costs.over(label, PLAIN) for label in (DEEPER, EQUAL, NARROW))
    unshared = costs.over(NARROW, DEEPER)
    share, count = costs.parameters(DEEPER) / costs.parameters(PLAIN), len(costs.nll(DEEPER))
    sure, second = f"{100 * level(count):g} % over {count} seeds", count > len(hvae_studies.SEEDS)
    return costs.evidence(
        [
            Check("share of the parameters", share, MOST_PARAMETERS, "float32"),
            Check(f"what sharing costs at most ({sure}), nats", deeper[1], 0.0, "float32"),
        ],
        [Control(f"what sharing nothing, as deep and as small, costs more at least ({sure}), nats", unshared[0], 0.0)],
        (PLAIN, EQUAL, DEEPER, NARROW),
        (NARROW, DEEPER),
        f"nats over own cells: shared, deeper {_said(deeper)}; shared, as deep as those {_said(equal)}; unshared, as deep and"
        f" about as small as the first {_said(narrow)}, over the first {_said(unshared)}; 95 % over three seeds"
        + (f", {sure}, a second look after three had not been enough" if second else ""),
    )
