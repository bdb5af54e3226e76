"""Claims E2 and E3: what an HVAE loses without the size of its state, and whether one cell can take all steps of a resolution."""

import numpy as np

from analysis import hvae_studies, pairs, reference, seeds
from analysis.evidence import Check, Context, Control, Evidence, claim

MOST_PARAMETERS = 0.5
PLAIN, NORMALISED, SMALLER, EQUAL, DEEPER = "own-3", "normalised-3", "own-1", "shared-3", "shared-5"


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
        """The 95 % t-interval over the seeds that both have of what the first costs more than the other."""
        return seeds.interval([a - b for a, b in zip(self.nll(label), self.nll(other), strict=False)])

    def parameters(self, label: str) -> int:
        """Parameters of the network."""
        net, _ = pairs.network(self.size, label, hvae_studies.SEEDS[0])
        return sum(parameter.numel() for parameter in net.parameters())

    def evidence(self, checks: list[Check], controls: list[Control], labels: tuple[str, ...], what: str) -> Evidence:
        """The evidence, with the arrays of its figure; the first network is what the others are held against."""
        arrays = {f"nll {label}": self.nll(label) for label in labels}
        arrays |= {f"over {label}": np.array(self.over(label, labels[0])) for label in labels[1:]}
        arrays |= {f"parameters {label}": np.array(self.parameters(label)) for label in labels}
        _, run = pairs.network(self.size, labels[0], hvae_studies.SEEDS[0])
        side = run.model.resolutions[0].size
        images = pairs.nll(self.size, labels[0], self._images).shape[1]
        about = f"{run.data} at {side} x {side}, {run.training.steps} training steps, {images} test images"
        return Evidence(checks, controls, arrays, f"{about}; {what}")


def _said(low_high: tuple[float, float]) -> str:
    return "{:+.2f} to {:+.2f}".format(*low_high)


@claim(
    "E2",
    "An HVAE uses the size of its state: normalising the state after each step costs likelihood.",
    formula=r"-\mathrm{ELBO}\big(Z \leftarrow Z / \|Z\|_{L^2}\big) > -\mathrm{ELBO}",
    kind="statistical",
    control="the same networks held against each other with their seeds changed round",
    functions=["multires.hvae.HVAE", "multires.bounds.bounds"],
)
def e2(context: Context) -> Evidence:
    """Three pairs with one training each, with and without normalised states; the whole interval has to lie above zero."""
    costs = Costs(None if context.full else reference.FIRST)
    low_high = costs.over(NORMALISED, PLAIN)
    plain = costs.nll(PLAIN)
    among = seeds.interval((np.roll(plain, 1) - plain).tolist())
    return costs.evidence(
        [Check("what normalising saves at most (95 % over seeds), nats", -low_high[0], 0.0, "float32")],
        [Control("what other seeds save at most, nats", -among[0], 0.0)],
        (PLAIN, NORMALISED),
        f"normalised over plain: {_said(low_high)} nats",
    )


@claim(
    "E3",
    "One cell repeated at each resolution, with at most half of the parameters and more steps in time, has a likelihood no worse.",
    formula=r"-\mathrm{ELBO}(\text{shared}, r) \le -\mathrm{ELBO}(\text{own}, k), \quad \#\theta_{\text{shared}} \le"
    r" \tfrac12 \#\theta_{\text{own}}, \quad r > k",
    kind="statistical",
    control="a network with as few parameters that shares none",
    functions=["multires.hvae.HVAE", "multires.hvae_configs.Resolution", "multires.bounds.bounds"],
)
def e3(context: Context) -> Evidence:
    """Pairs with one training each; the whole interval over seeds of the cost of sharing has to lie at or below zero."""
    costs = Costs(None if context.full else reference.FIRST)
    deeper, equal, smaller = (costs.over(label, PLAIN) for label in (DEEPER, EQUAL, SMALLER))
    share = costs.parameters(DEEPER) / costs.parameters(PLAIN)
    return costs.evidence(
        [
            Check("share of the parameters", share, MOST_PARAMETERS, "float32"),
            Check("what sharing costs at most (95 % over seeds), nats", deeper[1], 0.0, "float32"),
        ],
        [Control("what as few parameters cost at most without sharing, nats", smaller[1], 0.0)],
        (PLAIN, EQUAL, DEEPER, SMALLER),
        f"nats over own cells: shared, deeper {_said(deeper)}; shared, as deep {_said(equal)}; unshared, as small {_said(smaller)}",
    )
